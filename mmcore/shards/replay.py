"""An order that visits new samples and, spread evenly among them, some of the earlier ones.

Both are streams of their own (`mmcore.shards.order`). Of every `new + replayed` places of the
combined stream, `replayed` belong to the stream of earlier samples, as evenly spaced as a line
drawn on squared paper (Bresenham): the number of replays before a place is its integer part. So an
epoch visits every new sample once and the next `replayed` earlier ones, different from epoch to
epoch until all have been replayed equally often, and a place needs nothing but itself: the cursor
of a training is one number here as well, whatever the number of ranks.

Rehearsal of a share of the old data is what continued training needs not to forget it
(Robins 1995; at scale Ibrahim 2024, arXiv:2403.08763).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mmcore.errors import UserError
from mmcore.shards.order import SampleOrder, Visits


class Order(Protocol):
    """Which sample stands where in the endless stream of a training."""

    @property
    def epoch_length(self) -> int:
        """Visits of one epoch."""

    @property
    def fingerprint(self) -> str:
        """Cursors of orders with equal fingerprints mean the same."""

    def slice(self, start: int, stop: int) -> Visits:
        """Visits at places start..stop-1."""

    def place(self, cursor: int) -> tuple[int, int]:
        """The (epoch, place within the epoch) at which a cursor stands."""


@dataclass(frozen=True, eq=False)
class ReplayOrder:
    """The samples of `earlier` (numbers 0..first-1), a share of them, among those of `new`.

    first: number of the first new sample, to which the numbers of `new` are added. replay:
    replayed visits for each visit of a new sample. `UserError` where there is nothing new.
    """

    earlier: SampleOrder
    new: SampleOrder
    first: int
    replay: float

    def __post_init__(self) -> None:
        if not self.new.epoch_length:
            raise UserError("there are no new samples to train on")
        if self.replayed and not self.earlier.epoch_length:
            raise UserError("there are no earlier samples to replay")

    @property
    def replayed(self) -> int:
        """Visits of earlier samples in an epoch."""
        return round(self.replay * self.new.epoch_length)

    @property
    def epoch_length(self) -> int:
        """Visits of one epoch: every visit of new samples, and the replayed ones."""
        return self.new.epoch_length + self.replayed

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything the order depends on."""
        parts = [self.earlier.fingerprint, self.new.fingerprint, str(self.first), repr(self.replay)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def slice(self, start: int, stop: int) -> Visits:
        """Visits at places start..stop-1 of the endless stream of epochs."""
        if not 0 <= start <= stop:
            raise UserError(f"a stream needs 0 <= start <= stop, not start={start}, stop={stop}")
        places = np.arange(start, stop + 1, dtype=np.int64)
        before = places * self.replayed // self.epoch_length  # replays before each place
        is_replay = np.diff(before) > 0
        samples = np.empty(stop - start, np.int64)
        repeats = np.empty(stop - start, np.uint8)
        first, last = int(before[0]), int(before[-1])
        for order, mask, cut, offset in (
            (self.earlier, is_replay, (first, last), 0),
            (self.new, ~is_replay, (start - first, stop - last), self.first),
        ):
            if cut[0] < cut[1]:
                visits = order.slice(*cut)
                samples[mask] = visits.samples + offset
                repeats[mask] = visits.repeats
        return Visits(samples, repeats)

    def place(self, cursor: int) -> tuple[int, int]:
        """The (epoch, place within the epoch) at which a cursor stands."""
        return divmod(cursor, self.epoch_length)
