"""The other side of `sandbox.py`: a nursery that forks workers, started by it and nobody else.

python -m mmcore.clean.child ROWS TABLES     (descriptors of two open files)
"""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import sys
from functools import partial
from pathlib import Path
from typing import IO

from mmcore.clean.sandbox import (
    MESSAGE,
    OUT_OF_MEMORY,
    Limits,
    Work,
    packed,
    read_tables,
    unpacked,
    write_tables,
)

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Keep a worker alive until the task closes the pipe."""
    rows, tables = (os.fdopen(int(number), "w+b", 0) for number in sys.argv[1:3])
    source, sink = os.dup(0), os.dup(1)
    _, length = unpacked(os.read(source, MESSAGE))
    rows.seek(0)
    work, limits = pickle.loads(rows.read(length))  # from our own parent
    _silence()
    os.write(sink, packed(b"r", 0))
    while True:
        worker = os.fork()
        if worker == 0:
            _serve(work, limits, (source, sink), rows, tables)
        status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        if status == 0:
            return
        os.write(sink, packed(b"x", status))


def _serve(
    work: Work, limits: Limits, pipe: tuple[int, int], rows: IO[bytes], tables: IO[bytes]
) -> None:
    """A worker: one answer for every message, until there is none. Never returns."""
    source, sink = pipe
    _die_with_parent()
    _limit_memory(limits)
    started = partial(_started, sink, limits)
    while message := os.read(source, MESSAGE):
        try:
            (given,) = read_tables(rows, unpacked(message)[1])
            sign, length = b"=", write_tables(tables, work(given, started))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except Exception as error:
            tables.seek(0)
            sign, length = b"!", tables.write(f"{type(error).__name__}: {error}".encode())
        _set_clocks(0, 0)
        os.write(sink, packed(sign, length))
    os._exit(0)


def _silence() -> None:
    """Decoders print what they think of a file: neither the pipe nor a log is the place for it."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)


def _die_with_parent() -> None:
    """Where the system can, end when the nursery ends; elsewhere the clocks see to it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit_memory(limits: Limits) -> None:
    """No core files, and at most so much private memory beyond what is mapped now."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm = Path("/proc/self/statm")
    pages = int(statm.read_text().split()[5]) if statm.exists() else 0
    most = pages * resource.getpagesize() + (limits.memory_mb << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _started(sink: int, limits: Limits) -> None:
    """A row begins: the kernel ends this process when the row takes too long."""
    _set_clocks(limits.cpu_seconds, limits.wall_seconds)
    os.write(sink, packed(b".", 0))


def _set_clocks(cpu_seconds: float, wall_seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    signal.setitimer(signal.ITIMER_REAL, wall_seconds)


if __name__ == "__main__":
    main()
