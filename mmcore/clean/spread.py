"""Tables on their way from one set of tasks to another: an Arrow file with one batch per receiver.

A sender writes one file, a receiver reads its batch of every file: what is read is what is needed,
however many tasks there are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.clean.sites import COUNTS, Counts
from mmcore.lake.storage import Storage


@dataclass(frozen=True)
class TextWay:
    """Where a day's texts are while they are measured; `tasks` senders, as many receivers."""

    storage: Storage
    folder: str
    tasks: int

    def write_rows(self, index: int, rows: pa.Table) -> None:
        """The prepared rows of one group."""
        alone = np.zeros(rows.num_rows, np.int64)
        self._write("rows", index, to_bytes(rows, alone, 1))

    def read_rows(self, index: int) -> pa.Table:
        """What `write_rows` wrote."""
        return self._read("rows", index, 0)

    def send_pairs(self, index: int, pairs: pa.Table) -> None:
        """One group's pairs, each to the receiver of its key."""
        receiver = of_hash(pairs["key"].to_numpy(), self.tasks)
        self._write("pairs", index, to_bytes(pairs, receiver, self.tasks))

    def receive_pairs(self, receiver: int) -> list[pa.Table]:
        """All pairs of one receiver's keys."""
        return [self._read("pairs", sender, receiver) for sender in range(self.tasks)]

    def write_counts(self, index: int, counts: pa.Table) -> None:
        """What is repeated among one receiver's keys."""
        self._write("counts", index, to_bytes(counts, np.zeros(len(counts), np.int64), 1))

    def gather_counts(self) -> None:
        """All counts into one file, one table in memory at a time: every task will read them."""
        tables = (self._read("counts", index, 0) for index in range(self.tasks))
        self._write("all_counts", 0, _file(tables, COUNTS))

    def read_all_counts(self) -> Counts:
        """Everything that is repeated on any site."""
        with self.storage.open(self._key("all_counts", 0)) as file:
            return Counts.of_tables([pa.ipc.open_file(file).read_all()])

    def send_texts(self, index: int, measured: pa.Table) -> None:
        """One group's measured texts, each to the receiver of its image."""
        receiver = of_hex(measured["sha256"], self.tasks)
        self._write("texts", index, to_bytes(measured, receiver, self.tasks))

    def receive_texts(self, receiver: int) -> list[pa.Table]:
        """All measured texts of one receiver's images."""
        return [self._read("texts", sender, receiver) for sender in range(self.tasks)]

    def _write(self, name: str, index: int, data: bytes) -> None:
        self.storage.write(self._key(name, index), data)

    def _read(self, name: str, index: int, batch: int) -> pa.Table:
        with self.storage.open(self._key(name, index)) as file:
            return pa.Table.from_batches([pa.ipc.open_file(file).get_batch(batch)])

    def _key(self, name: str, index: int) -> str:
        return f"{self.folder}/{name}-{index:05d}.arrow"


def to_bytes(table: pa.Table, receiver: npt.NDArray[np.int64], receivers: int) -> bytes:
    """Arrow IPC file of a table: batch i holds, in their order, the rows whose receiver is i."""
    order = np.argsort(receiver, kind="stable")
    bounds = np.searchsorted(receiver[order], np.arange(receivers + 1))
    table = table.take(pa.array(order)).combine_chunks()
    shares = (table.slice(a, b - a) for a, b in itertools.pairwise(bounds))
    return _file(shares, table.schema)


def of_hex(keys: pa.ChunkedArray, receivers: int) -> npt.NDArray[np.int64]:
    """The receiver of each hex digest: equal ranges of the first 32 bits, in order."""
    heads = "".join(pc.utf8_slice_codeunits(keys, 0, 8).to_pylist())
    digits = np.frombuffer(heads.encode(), np.uint8).reshape(len(keys), 8).astype(np.int64)
    values = np.where(digits >= ord("a"), digits - ord("a") + 10, digits - ord("0"))
    return (values @ (16 ** np.arange(7, -1, -1)) * receivers) >> 32


def of_hash(keys: npt.NDArray[np.uint64], receivers: int) -> npt.NDArray[np.int64]:
    """The receiver of each 64-bit hash: equal ranges, in order."""
    return ((keys >> np.uint64(32)).astype(np.int64) * receivers) >> 32


def _file(batches: Iterable[pa.Table], schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(sink, schema, options=options) as file:
        for table in batches:
            file.write_batch(_batch(table))
    return bytes(sink.getvalue())


def _batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
