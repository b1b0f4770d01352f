"""The global sample order: a pure function of (snapshot, seed, epoch).

Samples are numbered 0..n-1 in storage order. An epoch permutes the shards, lays their samples side
by side, cuts that line into windows of equal length and shuffles each window. Only the shards of
one or two windows are read at a time, which object storage and a local cache need; a set that fits
in one window is shuffled as a whole. Any stretch of the order is computed from its place alone,
with memory for one window.

Training reads the endless concatenation of epochs 0, 1, 2, ... as one stream. The place in that
stream is the cursor: one integer, (epoch, place) in one, the same for every rank and every world
size. A global batch is a slice of the stream and rank r of w reads the r-th contiguous piece of it,
so a run that is killed at a cursor and resumed on another number of ranks goes on with exactly the
samples it would have seen.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmcore.errors import UserError

WINDOW = 1 << 16
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_REPEAT_BITS = np.uint64(48)
_REMEMBERED = 4  # windows: a batch may span two, and readers run ahead


def mix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser, a bijection on uint64 whose output bits look independent.

    Our own rather than `numpy.random`, whose permutations may change between NumPy versions.
    """
    z = values + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


class Visits(NamedTuple):
    """A stretch of the stream.

    samples: int64 [k], sample numbers. repeats: uint8 [k], how often the same epoch visits the
    sample apart from its first visit, counted from 0 (the first visit) up.
    """

    samples: NDArray[np.int64]
    repeats: NDArray[np.uint8]


class _Layout(NamedTuple):
    """The shards of an epoch in its order, and where each one's visits end on the line."""

    shards: NDArray[np.int64]
    ends: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SampleOrder:
    """The order of one snapshot.

    shards: int64, the number of samples in each shard, in storage order. window: most samples that
    are shuffled together. visits: uint8 [n], how often an epoch visits each sample (None: once).
    Threads may share one. `UserError` where the numbers make no sense.
    """

    shards: NDArray[np.int64]
    seed: int
    window: int = WINDOW
    visits: NDArray[np.uint8] | None = None
    _starts: NDArray[np.int64] = field(init=False, repr=False)
    _lengths: NDArray[np.int64] = field(init=False, repr=False)
    _layouts: dict[int, _Layout] = field(init=False, repr=False, default_factory=dict)
    _windows: dict[tuple[int, int], Visits] = field(init=False, repr=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        if self.window < 1:
            raise UserError(f"a shuffle window must hold at least 1 sample, not {self.window}")
        starts = np.concatenate([[0], np.cumsum(self.shards)]).astype(np.int64)
        lengths = np.asarray(self.shards, np.int64)
        if self.visits is not None:
            if len(self.visits) != starts[-1] or (self.visits < 1).any():
                raise UserError("every sample of the shards needs a number of visits of 1 or more")
            total = np.concatenate([[0], np.cumsum(self.visits, dtype=np.int64)])
            lengths = np.diff(total[starts])
        object.__setattr__(self, "_starts", starts)
        object.__setattr__(self, "_lengths", lengths)

    @property
    def epoch_length(self) -> int:
        """Visits of one epoch: the number of samples, or more where some are visited more often."""
        return int(self._lengths.sum())

    def slice(self, start: int, stop: int) -> Visits:
        """Visits at places start..stop-1 of the endless stream of epochs."""
        length = self.epoch_length
        if length == 0:
            raise UserError("there are no samples to draw from; check that the split is not empty")
        if not 0 <= start <= stop:
            raise UserError(f"a stream needs 0 <= start <= stop, not start={start}, stop={stop}")
        pieces = []
        while start < stop:
            epoch, place = divmod(start, length)
            number = place * self._count // length
            while self._bound(number + 1) <= place:  # the division above may round down
                number += 1
            first, last = self._bound(number), self._bound(number + 1)
            end = min(last - first, stop - epoch * length - first)
            found = self._window(epoch, number)
            cut = slice(place - first, end)
            pieces.append(Visits(found.samples[cut], found.repeats[cut]))
            start = epoch * length + first + end
        if len(pieces) == 1:
            return pieces[0]
        empty = Visits(np.empty(0, np.int64), np.empty(0, np.uint8))
        parts = [empty, *pieces]
        return Visits(
            np.concatenate([part.samples for part in parts]),
            np.concatenate([part.repeats for part in parts]),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything the order depends on: cursors of equal orders mean the same."""
        digest = hashlib.sha256(json.dumps([self.seed, self.window]).encode())
        digest.update(self._starts.astype("<i8").tobytes())
        if self.visits is not None:
            digest.update(self.visits.tobytes())
        return digest.hexdigest()

    def place(self, cursor: int) -> tuple[int, int]:
        """The (epoch, place within the epoch) at which a cursor stands."""
        if self.epoch_length == 0:
            raise UserError("there are no samples to draw from; check that the split is not empty")
        return divmod(cursor, self.epoch_length)

    @property
    def _count(self) -> int:
        """Number of windows."""
        return max(1, -(-self.epoch_length // self.window))

    def _bound(self, number: int) -> int:
        """Where window `number` begins: all windows are equally long, give or take one."""
        return self.epoch_length * number // self._count

    def _window(self, epoch: int, number: int) -> Visits:
        with self._lock:  # threads that read ahead ask for the same window at once
            return _remembered(
                self._windows, (epoch, number), lambda: self._shuffled(epoch, number)
            )

    def _shuffled(self, epoch: int, number: int) -> Visits:
        line = self._line(epoch, self._bound(number), self._bound(number + 1))
        identity = line.samples.astype(np.uint64) | (line.repeats.astype(np.uint64) << _REPEAT_BITS)
        order = _by_hash(identity ^ _key(self.seed, epoch))
        samples, repeats = line.samples[order], line.repeats[order]
        samples.setflags(write=False)
        repeats.setflags(write=False)
        return Visits(samples, repeats)

    def _line(self, epoch: int, first: int, last: int) -> Visits:
        """Places first..last-1 of the epoch before its windows are shuffled."""
        shards, ends = self._layout(epoch)
        left = int(np.searchsorted(ends, first, side="right"))
        right = int(np.searchsorted(ends, last, side="left")) + 1
        here = shards[left:right]
        samples = _ranges(self._starts[here], self._starts[here + 1])
        offset = first - int(ends[left] - self._lengths[here[0]]) if len(here) else 0
        if self.visits is None:
            taken = samples[offset : offset + last - first]
            return Visits(taken, np.zeros(len(taken), np.uint8))
        often = self.visits[samples].astype(np.int64)
        repeats = _ranges(np.zeros_like(often), often).astype(np.uint8)
        cut = slice(offset, offset + last - first)
        return Visits(np.repeat(samples, often)[cut], repeats[cut])

    def _layout(self, epoch: int) -> _Layout:
        return _remembered(self._layouts, epoch, lambda: self._permuted(epoch))

    def _permuted(self, epoch: int) -> _Layout:
        # another key than the samples': shard 3 and sample 3 must not share their fate
        key = mix64(_key(self.seed, epoch))
        shards = _by_hash(np.arange(len(self.shards), dtype=np.uint64) ^ key)
        return _Layout(shards, np.cumsum(self._lengths[shards]))


def sample_order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """A full shuffle of 0..n-1: int64 [n]. What `SampleOrder` does within one window."""
    if n < 0 or epoch < 0:
        raise UserError(f"a sample order needs n >= 0 and epoch >= 0, not n={n}, epoch={epoch}")
    return _by_hash(np.arange(n, dtype=np.uint64) ^ _key(seed, epoch))


def rank_share(cursor: int, global_batch: int, rank: int, world: int) -> tuple[int, int]:
    """Where in the stream rank `rank` of `world` begins and ends in the global batch at `cursor`.

    The shares of ranks 0..world-1, one after the other, are the global batch. A batch that reaches
    the end of an epoch goes on in the next one, so every batch is full, no rank ever has a step
    more than another, and nothing is dropped.
    """
    if world < 1 or not 0 <= rank < world:
        raise UserError(f"rank must lie in 0..world-1, not rank={rank}, world={world}")
    if global_batch < world:
        raise UserError(
            f"a global batch of {global_batch} cannot feed {world} workers; "
            "raise the batch size or use fewer workers"
        )
    first = cursor + global_batch * rank // world
    return first, cursor + global_batch * (rank + 1) // world


def _key(seed: int, epoch: int) -> NDArray[np.uint64]:
    return mix64(mix64(np.array([seed % 2**64], np.uint64)) ^ np.array([epoch], np.uint64))


def _by_hash(distinct: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Indices that sort distinct numbers by their hashes: int64 [k].

    The index stands in the low bits of the sorted numbers, where it also breaks ties: sorting plain
    numbers is several times faster than an argsort, and the same on any machine.
    """
    low = np.uint64((1 << max(1, len(distinct) - 1).bit_length()) - 1)
    packed = (mix64(distinct) & ~low) | np.arange(len(distinct), dtype=np.uint64)
    packed.sort()
    return (packed & low).astype(np.int64)


def _ranges(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.int64]:
    """start..stop-1 of every pair, one after the other."""
    lengths = stops - starts
    before = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)


def _remembered(cache: dict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    if key not in cache:
        while len(cache) >= _REMEMBERED:  # the oldest goes
            del cache[next(iter(cache))]
        cache[key] = make()
    return cache[key]
