"""Which sample was learned from in which step, by which rank: a record for audits and tests.

The ledger travels in the checkpoint, beside the weights. After a crash both go back to the same
step, so it always tells what these very weights have seen: a step that was lost is in neither.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from mmcore.train.ranks import Ranks

LEDGER = pa.schema([("step", pa.int64()), ("rank", pa.int64()), ("sample", pa.int64())])
"""sample: its number in the snapshot, in storage order (mmcore.shards.reader)."""


class Ledger:
    """Grows by one row a visit, 24 bytes. All ranks hold the same rows."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []

    def add(self, step: int, samples: Sequence[Tensor], ranks: Ranks) -> None:
        """Record the samples [B] of each part of a step that was applied. All ranks call it."""
        for part in samples:
            about = torch.tensor([step, ranks.rank]).expand(len(part), 2)
            self._rows.append(ranks.gather(torch.cat([about, part.cpu()[:, None]], dim=1)))

    def table(self) -> Tensor:
        """Every row so far: int64 [visits, 3], columns as in ``LEDGER``."""
        if len(self._rows) != 1:
            self._rows = [torch.cat([torch.empty(0, 3, dtype=torch.int64), *self._rows])]
        return self._rows[0]

    def restore(self, table: Tensor) -> None:
        """Go back to what ``table`` gave."""
        self._rows = [table]

    def parquet(self) -> bytes:
        """The rows as a Parquet file."""
        columns = [pa.array(column.numpy()) for column in self.table().T.contiguous()]
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(columns, schema=LEDGER), sink)
        return sink.getvalue()
