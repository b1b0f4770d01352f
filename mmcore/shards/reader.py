"""Reading shards back: any sample by number, any tar, or one rank's shares of the sample order.

    order = SampleOrder(store.sizes, seed=0)
    for share in read_shares(order, work, cursor=0, global_batch=256, rank=0, world=2):
        train(share.result)
        checkpoint(share.next_cursor)

`work` turns the visits of a share into whatever is trained on: it reads the samples, decodes their
images as the last step and collates them. It runs in threads, ahead of the training.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from mmcore.shards.members import (
    IMAGE_EXTENSIONS,
    OnProblem,
    Problem,
    RawSample,
    ShardError,
    fail,
    read_tar,
)
from mmcore.shards.order import SampleOrder, Visits, rank_share
from mmcore.shards.store import SampleStore, Skipped, read_samples

__all__ = [
    "IMAGE_EXTENSIONS",
    "OnProblem",
    "Problem",
    "RawSample",
    "SampleStore",
    "ShardError",
    "Share",
    "Skipped",
    "ahead",
    "fail",
    "read_raw",
    "read_samples",
    "read_shares",
    "read_tar",
]

T = TypeVar("T")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Share(Generic[T]):
    """What one rank reads of one global batch; `next_cursor` is where the next batch begins."""

    result: T
    next_cursor: int


def read_shares(
    order: SampleOrder,
    work: Callable[[Visits], T],
    cursor: int,
    global_batch: int,
    rank: int = 0,
    world: int = 1,
    threads: int = 1,
    depth: int = 4,
) -> Generator[Share[T], None, None]:
    """The endless shares of rank `rank` of `world` from `cursor` on, in order.

    work: visits -> what is wanted of them; runs in `threads` threads (0: in the caller's) and at
    most `depth` shares ahead, which bounds the memory. Close the iterator to stop the threads.
    """

    def one(start: int) -> Share[T]:
        visits = order.slice(*rank_share(start, global_batch, rank, world))
        return Share(work(visits), start + global_batch)

    return ahead(one, itertools.count(cursor, global_batch), threads, depth)


def ahead(
    work: Callable[[Item], T], items: Iterable[Item], threads: int, depth: int
) -> Generator[T, None, None]:
    """`map(work, items)` in `threads` threads (0: in the caller's), at most `depth` results ahead.

    Results come in the order of the items; an error is raised where its result would have come.
    """
    if threads == 0:
        yield from map(work, items)
        return
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_raw(
    store: SampleStore, numbers: Iterable[int], skipped: Skipped
) -> list[tuple[int, RawSample]]:
    """(number, sample) of those that can be read, in order; the others go to `skipped`."""
    found = []
    for number in numbers:
        try:
            found.append((number, store.raw(number)))
        except ShardError as error:
            skipped.add(number, error.problem)
    return found
