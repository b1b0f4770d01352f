"""Where the training loop gets its samples: from memory, or from the shards as they are visited.

Both give the same arrays for the same visits. What fits in memory is read and decoded once; a set
beyond it is streamed, and a worker then holds the indexes, the vocabularies and some batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmcore.errors import UserError
from mmcore.models.images import decode_image
from mmcore.models.labels import Labels
from mmcore.models.text import TextTokenizer
from mmcore.shards.order import Visits
from mmcore.shards.reader import Problem, SampleStore, ShardError, Skipped
from mmcore.shards.replay import Order
from mmcore.train.data import LabelTable, build_table
from mmcore.train.settings import TaskVisits

ONCE = TaskVisits()
_RATE_SAMPLES = 4096  # enough for the share of samples that have a tag

Pixels = Callable[[NDArray[np.int64]], NDArray[Any]]
"""Sample numbers [B] -> uint8 [B, S, S, 3]; or, in place of uint8, a frozen tower's features,
float16 [B, G, G, W] (mmcore.models.tower)."""


@dataclass(frozen=True)
class Rows:
    """Some visits: pixels uint8 [B, S, S, 3] or features, labels of B samples, image_weights
    float32 [B]."""

    pixels: NDArray[Any]
    labels: LabelTable
    image_weights: NDArray[np.float32]


class Samples(Protocol):
    """What the loop needs to know of its data."""

    @property
    def order(self) -> Order:
        """Which sample stands where in the stream."""

    @property
    def threads(self) -> int:
        """Threads in which reading ahead pays; 0 where everything is in memory."""

    def __len__(self) -> int: ...

    def tag_rates(self) -> NDArray[np.float32]:
        """Share of the samples with known tags that have each tag: float32 [V]."""

    def some_labels(self) -> LabelTable:
        """Labels enough to measure how common and how sure they are; the same on every rank."""

    def read(self, visits: Visits) -> Rows:
        """Pixels and labels; a sample that cannot be read has weights of 0. Threads may call it."""


@dataclass(frozen=True)
class MemorySamples:
    """Everything in memory. valid: bool [N], False where the picture cannot be read."""

    table: LabelTable
    pixels: Pixels
    order: Order
    valid: NDArray[np.bool_] | None = None
    task_visits: TaskVisits = ONCE
    threads: int = 0

    def __len__(self) -> int:
        return len(self.table)

    def tag_rates(self) -> NDArray[np.float32]:
        return self.table.tag_rates()

    def some_labels(self) -> LabelTable:
        return self.table

    def read(self, visits: Visits) -> Rows:
        numbers = visits.samples
        valid = np.ones(len(numbers), bool) if self.valid is None else self.valid[numbers]
        table = self.table.take(numbers)
        return _rows(self.pixels(numbers), table, valid, visits, self.task_visits)


@dataclass(frozen=True)
class StreamedSamples:
    """Nothing in memory: one ranged read a visit gives the picture and its labels."""

    store: SampleStore
    labels: Labels
    tokenizer: TextTokenizer
    max_tokens: int
    size: int
    order: Order
    skipped: Skipped
    task_visits: TaskVisits = ONCE
    threads: int = 1

    def __len__(self) -> int:
        return len(self.store)

    def tag_rates(self) -> NDArray[np.float32]:
        return self.some_labels().tag_rates()

    def some_labels(self) -> LabelTable:
        """Those of the first 4,096 visits of the order."""
        numbers = self.order.slice(0, min(len(self), _RATE_SAMPLES)).samples
        return self._table(read_records(self.store, self.skipped, numbers), numbers)

    def read(self, visits: Visits) -> Rows:
        numbers = visits.samples
        pixels = np.zeros((len(numbers), self.size, self.size, 3), np.uint8)
        valid = np.zeros(len(numbers), bool)
        records: list[dict[str, Any]] = []
        for row, number in enumerate(numbers.tolist()):
            records.append({})
            try:
                sample = self.store[number]
                pixels[row] = decode_image(sample.jpg, self.size)
            except (ShardError, UserError) as error:
                self.skipped.add(number, as_problem(error, self.store.where(number)))
                continue
            records[row], valid[row] = sample.labels, True
        table = self._table(records, numbers)
        return _rows(pixels, table, valid, visits, self.task_visits)

    def _table(self, records: Iterable[dict[str, Any]], numbers: NDArray[np.int64]) -> LabelTable:
        return build_table(records, self.labels, self.tokenizer, self.max_tokens, numbers.tolist())


def read_records(
    store: SampleStore, skipped: Skipped, numbers: Iterable[int] | None = None
) -> Iterator[dict[str, Any]]:
    """The labels of samples (None: all), one in memory at a time; {} where one is unreadable."""
    for number in range(len(store)) if numbers is None else numbers:
        try:
            record = store[int(number)].labels
        except ShardError as error:
            skipped.add(int(number), error.problem)
            record = {}
        yield record


def count_visits(records: Iterable[dict[str, Any]], visits: TaskVisits) -> NDArray[np.uint8] | None:
    """Visits that an epoch makes to each sample: uint8 [N]; None where all are visited once.

    A sample is visited as often as the most visited task that it has labels for.
    """
    if visits == ONCE:
        return None
    tasks = (
        ("captions", visits.captions),
        ("caption", visits.captions),
        ("qa", visits.questions),
        ("tags", visits.tags),
        ("sentiment", visits.sentiment),
    )
    often = [max([1, *(n for name, n in tasks if record.get(name))]) for record in records]
    return np.array(often, np.uint8)


def as_problem(error: ShardError | UserError, where: str) -> Problem:
    """Why a sample is skipped."""
    if isinstance(error, ShardError):
        return error.problem
    return Problem(where, "decode_error", str(error))


def _rows(
    pixels: NDArray[Any],
    table: LabelTable,
    valid: NDArray[np.bool_],
    visits: Visits,
    often: TaskVisits,
) -> Rows:
    """A visit counts for the tasks that ask for so many visits, and for none if it is not valid."""
    repeats = visits.repeats
    masked = table.masked(
        captions=valid & (repeats < often.captions),
        questions=valid & (repeats < often.questions),
        tags=valid & (repeats < often.tags),
        sentiment=valid & (repeats < often.sentiment),
    )
    return Rows(pixels, masked, (valid & (repeats == 0)).astype(np.float32))
