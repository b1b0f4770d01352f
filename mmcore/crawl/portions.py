"""Hosts that are crawled in portions, one after the other, and what earlier portions asked for.

A portion holds the answers about its own images only. A redirect may lead to an image of another
portion: whether that was asked for already is told by 8 bytes an image, and the answer itself is
read again from the journal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmcore.crawl.answers import Kept
from mmcore.crawl.journal import JournalFolder, answered_images, read_journal
from mmcore.crawl.spill import Spill
from mmcore.crawl.urls import host_of


class Portions:
    """The image URLs that a task's portions were answered for, in this run or one that was killed
    before it. Their answers are in the journal."""

    def __init__(self, journal: JournalFolder) -> None:
        self._journal = journal
        self.interrupted = frozenset(journal.segments())
        """Segments of the run that was killed: this run's own hold nothing a portion asks again."""
        self._runs = [_hashes(answered_images(journal, self.interrupted).to_pylist())]
        """Sorted, each more than twice the next: few to search, and no hash is merged often."""

    def add(self, urls: Iterable[str]) -> None:
        """Note the images that a portion was answered for; its journal must be durable."""
        self._runs.append(_hashes(urls))
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            self._runs[-2:] = [np.union1d(self._runs[-2], self._runs[-1])]

    def recall(self, url: str, spill: Spill) -> Kept | None:
        """The answer about an image of another portion; None where it was not asked for."""
        code = np.uint64(_hash(url))
        if not any(_holds(run, code) for run in self._runs):
            return None
        wanted = pa.array([url], pa.string())
        return read_journal(self._journal, [host_of(url)], spill, wanted).get(("image", url))


def _hashes(urls: Iterable[str]) -> npt.NDArray[np.uint64]:
    """Sorted 64-bit hashes; a microsecond each, where asking for an image takes hundreds."""
    return np.unique(np.fromiter(map(_hash, urls), np.uint64))


def _holds(run: npt.NDArray[np.uint64], code: np.uint64) -> bool:
    place = np.searchsorted(run, code)
    return bool(place < len(run) and run[place] == code)


def _hash(url: str) -> int:
    return int.from_bytes(hashlib.blake2b(url.encode(), digest_size=8).digest())
