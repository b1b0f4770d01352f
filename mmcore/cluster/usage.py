"""What a block of work cost: wall time, CPU-seconds and peak memory of the whole process tree."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

_SECONDS_BETWEEN_SAMPLES = 0.5
_GROWTH = 1.02  # of what is resident, before its shared pages are counted again


@dataclass
class Usage:
    """Filled while the block runs; final when it ends."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    """User and system time of this process and its descendants; sampled, so a descendant's last
    half second may be missing. The sampling itself is not counted."""
    peak_memory_mb: float = 0.0
    """Largest sum of private and shared memory (PSS where the kernel tells it, else RSS), looked at
    whenever two percent more is resident than before: asking for it walks every page, and twice a
    second that took a training of two workers 8 % of its speed."""


@contextlib.contextmanager
def measured() -> Iterator[Usage]:
    """Measure the block; embedded Ray's workers are descendants, a remote cluster's are not."""
    usage, stop = Usage(), threading.Event()
    start = time.monotonic()
    before, _ = _look()
    latest = dict(before)
    watching = 0.0

    def _sample() -> None:
        nonlocal watching
        most_resident = 0.0
        while not stop.wait(_SECONDS_BETWEEN_SAMPLES):
            cpu, resident = _look()
            latest.update(cpu)
            if resident > _GROWTH * most_resident:
                most_resident = resident
                usage.peak_memory_mb = max(usage.peak_memory_mb, tree_memory_mb())
            watching = time.thread_time()  # looking at twenty processes is not the block's work

    thread = threading.Thread(target=_sample, name="usage", daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        stop.set()
        thread.join()
        latest.update(_look()[0])
        usage.wall_seconds = time.monotonic() - start
        used = sum(s - before.get(key, 0.0) for key, s in latest.items())
        usage.cpu_seconds = max(0.0, used - watching)
        usage.peak_memory_mb = max(usage.peak_memory_mb, tree_memory_mb())


def _tree() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def _look() -> tuple[dict[tuple[int, float], float], int]:
    """CPU-seconds by (pid, start time), as a pid alone may be used twice; and the bytes that are
    resident, shared ones once for each process."""
    seconds, resident = {}, 0
    for process in _tree():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            times = process.cpu_times()
            seconds[process.pid, process.create_time()] = times.user + times.system
            resident += process.memory_info().rss
    return seconds, resident


def tree_memory_mb() -> float:
    """Memory of this process and its descendants in MiB, pages shared between them counted once."""
    total = 0
    for process in _tree():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.rss)
    return total / 2**20
