"""Two processes, or more, that train together, without Ray."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mmcore.train.ranks import Ranks

# A rank is forked from a process that has imported these and done nothing else: importing torch
# and what an optimizer needs of it takes seconds.
_IMPORTED = ["pytest", "torch._dynamo", "tests.conftest", "tests.train.world", "mmcore.train.rank"]


def on_two_ranks(work: Callable[..., None], folder: Path, *arguments: Any, world: int = 2) -> None:
    """Call ``work(ranks, *arguments)`` in two processes (``world``: or more) with torch.distributed
    (gloo) between them. They meet in a file of ``folder``; an error in one of them is raised
    here."""
    multiprocessing.set_forkserver_preload(_IMPORTED)
    store = f"file://{folder}/store-{work.__name__}"
    given = (world, work, store, arguments)
    mp.start_processes(_rank, given, nprocs=world, start_method="forkserver")  # type: ignore[no-untyped-call]


def _rank(
    rank: int, world: int, work: Callable[..., None], store: str, arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store, rank=rank, world_size=world)
    work(Ranks(rank, world), *arguments)
    dist.destroy_process_group()
