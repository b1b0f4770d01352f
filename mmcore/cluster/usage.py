"""What a block of work cost: wall time, CPU-seconds and peak memory of the whole process tree."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

_SECONDS_BETWEEN_SAMPLES = 0.5


@dataclass
class Usage:
    """Filled while the block runs; final when it ends."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    """User and system time of this process and its descendants; sampled, so a descendant's last
    half second may be missing. The sampling itself is not counted."""
    peak_memory_mb: float = 0.0
    """Largest sum of private and shared memory (PSS where the kernel tells it, else RSS)."""


@contextlib.contextmanager
def measured() -> Iterator[Usage]:
    """Measure the block; embedded Ray's workers are descendants, a remote cluster's are not."""
    usage, stop = Usage(), threading.Event()
    start = time.monotonic()
    before = _cpu_by_process()
    latest = dict(before)
    watching = 0.0

    def _sample() -> None:
        nonlocal watching
        while not stop.wait(_SECONDS_BETWEEN_SAMPLES):
            latest.update(_cpu_by_process())
            usage.peak_memory_mb = max(usage.peak_memory_mb, tree_memory_mb())
            watching = time.thread_time()  # looking at twenty processes is not the block's work

    thread = threading.Thread(target=_sample, name="usage", daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        stop.set()
        thread.join()
        latest.update(_cpu_by_process())
        usage.wall_seconds = time.monotonic() - start
        used = sum(s - before.get(key, 0.0) for key, s in latest.items())
        usage.cpu_seconds = max(0.0, used - watching)
        usage.peak_memory_mb = max(usage.peak_memory_mb, tree_memory_mb())


def _tree() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def _cpu_by_process() -> dict[tuple[int, float], float]:
    """CPU-seconds by (pid, start time): a pid alone may be used twice."""
    seconds = {}
    for process in _tree():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            times = process.cpu_times()
            seconds[process.pid, process.create_time()] = times.user + times.system
    return seconds


def tree_memory_mb() -> float:
    """Memory of this process and its descendants in MiB, pages shared between them counted once."""
    total = 0
    for process in _tree():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.rss)
    return total / 2**20
