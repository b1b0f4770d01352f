"""Work on untrusted bytes in a process of its own, which may crash or hang alone.

A decoder is a large piece of C that reads what strangers wrote. It runs in a worker process with
bounds on memory and time that the kernel enforces, so a bomb, a crash or an endless loop costs one
row, and the process of the task never looks at the bytes. Between the two stands a nursery
(`child.py`): it has imported everything and forks a new worker in milliseconds when one dies.

Tables pass through two memory files, as Arrow IPC streams. The pipes carry messages of nine bytes,
which arrive whole or not at all: a sign and a number. To the worker: `w` and the length of the
rows. From it: `.` before each row, then `=` and the length of the tables, or `!` and that of a
message where the work itself raised. From the nursery: `r` when it is ready, `x` and the status of
a worker that died. Nothing that comes back is unpickled.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

import numpy as np
import pyarrow as pa

from mmcore.errors import MmcoreError

OUT_OF_MEMORY = 77  # exit status of a worker that could not get memory
MESSAGE = 9

Tables = tuple[pa.Table, ...]
Work = Callable[[pa.Table, Callable[[], None]], Tables]
"""Rows to tables; calls its second argument before it touches each row. Must pickle."""


class Limits(NamedTuple):
    """What one row may take."""

    cpu_seconds: float
    wall_seconds: float
    memory_mb: int
    """Private memory of a worker beyond what it has when it is ready."""


class Lost(Exception):
    """A worker ended while it was at row `index` of what it was given."""

    def __init__(self, index: int, reason: str, detail: str, *, final: bool) -> None:
        super().__init__(f"row {index}: {reason}: {detail}")
        self.index, self.reason, self.detail = index, reason, detail
        self.final = final
        """Whether the row is known to be at fault, so that nobody need try it again."""


class Sandbox:
    """Runs `work` in a process that is started when it is needed and again when it dies."""

    def __init__(self, work: Work, limits: Limits) -> None:
        self._task = pickle.dumps((work, limits))
        self._limits = limits
        self._nursery: Nursery | None = None

    def map(self, rows: pa.Table, lost: Callable[[pa.Table, str, str], Tables]) -> list[Tables]:
        """What `work` makes of `rows`, in their order, in as many pieces as it took.

        A row that a worker dies of alone becomes `lost(row, reason, detail)`; the rows around it
        are worked on as if it were not there.
        """
        if rows.num_rows == 0:
            return []
        try:
            return [self._run(rows)]
        except Lost as what:
            k, alone = what.index, rows.num_rows == 1
            row = rows.slice(k, 1)
            if alone or what.final:
                this = [lost(row, what.reason, what.detail)]
            else:  # a second chance: it may have been another's doing, such as a machine's memory
                this = self.map(row, lost)
            before, after = rows.slice(0, k), rows.slice(k + 1)
            return self.map(before, lost) + this + self.map(after, lost)

    def close(self) -> None:
        """End the processes, if there are any."""
        if self._nursery is not None:
            self._nursery.end()
            self._nursery = None

    def _run(self, rows: pa.Table) -> Tables:
        if self._nursery is None:
            self._nursery = Nursery(self._task)
            weakref.finalize(self, self._nursery.end)
        nursery = self._nursery
        at = -1
        nursery.give(rows)
        while True:
            sign, number = nursery.hear()
            if sign == b".":
                at += 1
            elif sign == b"=":
                return nursery.take(number)
            elif sign == b"!":
                raise MmcoreError(f"Work on images failed: {nursery.message(number)}")
            else:
                if not nursery.alive:
                    self.close()
                raise self._lost(number, max(0, at))

    def _lost(self, status: int, index: int) -> Lost:
        """Why a worker is gone, by its exit status or the negative number of its signal."""
        if status == -signal.SIGPROF:
            took = f"more than {self._limits.cpu_seconds:g} CPU seconds"
            return Lost(index, "decoder_hung", took, final=True)
        if status == -signal.SIGALRM:
            took = f"more than {self._limits.wall_seconds:g} seconds"
            return Lost(index, "decoder_hung", took, final=True)
        if status == OUT_OF_MEMORY:
            took = f"more than {self._limits.memory_mb} MiB"
            return Lost(index, "out_of_memory", took, final=False)
        died = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return Lost(index, "decoder_crashed", died, final=False)


class Nursery:
    """The process that keeps a worker ready, seen from the task."""

    def __init__(self, task: bytes) -> None:
        self._rows, self._tables = _memory_file(), _memory_file()
        files = (self._rows.fileno(), self._tables.fileno())
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mmcore.clean.child", *map(str, files)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=files,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        self._rows.write(task)
        self._say(b"w", len(task))
        if self.hear()[0] != b"r":
            raise MmcoreError("The process that decodes images did not start.")

    def give(self, rows: pa.Table) -> None:
        """Hand rows to the worker."""
        self._say(b"w", write_tables(self._rows, (rows,)))

    def hear(self) -> tuple[bytes, int]:
        """The next message; the nursery's own death counts as its worker's."""
        assert self._process.stdout is not None
        message = self._process.stdout.read(MESSAGE)
        if len(message or b"") < MESSAGE:
            return b"x", self._process.wait()
        return unpacked(message)

    @property
    def alive(self) -> bool:
        """Whether the nursery is there to fork another worker."""
        return self._process.poll() is None

    def take(self, length: int) -> Tables:
        """The tables of an answer."""
        return read_tables(self._tables, length)

    def message(self, length: int) -> str:
        """The text of an answer."""
        self._tables.seek(0)
        return self._tables.read(length).decode(errors="replace")

    def end(self) -> None:
        """Close the pipes, which ends an idle worker, and kill what is not idle."""
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._rows, self._tables):
            if file is not None:
                file.close()

    def _say(self, sign: bytes, number: int) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `hear` says so
            self._process.stdin.write(packed(sign, number))


def chunks(rows: pa.Table, sizes: str, most_rows: int, most_bytes: int) -> Iterator[pa.Table]:
    """Consecutive slices of `rows`, bounded in rows and in the sum of the column `sizes`; a row
    that is larger stands alone."""
    ends = np.cumsum(rows[sizes].fill_null(0).to_numpy())
    start = 0
    while start < rows.num_rows:
        before = ends[start - 1] if start else 0
        fitting = int(np.searchsorted(ends, before + most_bytes, side="right"))
        stop = min(max(fitting, start + 1), start + most_rows)
        yield rows.slice(start, stop - start)
        start = stop


def _memory_file() -> IO[bytes]:
    """Without a buffer: two processes share it and its position."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("mmcore"), "w+b", 0)
    return tempfile.TemporaryFile(buffering=0)


def packed(sign: bytes, number: int) -> bytes:
    """A message of nine bytes."""
    return sign + number.to_bytes(MESSAGE - 1, "little", signed=True)


def unpacked(message: bytes) -> tuple[bytes, int]:
    """What `packed` packed."""
    return message[:1], int.from_bytes(message[1:], "little", signed=True)


def write_tables(file: IO[bytes], tables: Tables) -> int:
    """Write tables from the start of a file; the length of all."""
    file.seek(0)
    for table in tables:
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    return file.tell()


def read_tables(file: IO[bytes], length: int) -> Tables:
    """Read what `write_tables` wrote."""
    file.seek(0)
    source = pa.BufferReader(file.read(length))
    tables = []
    while source.tell() < length:
        tables.append(pa.ipc.open_stream(source).read_all())
    return tuple(tables)
