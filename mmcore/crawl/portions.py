"""Hosts that are crawled in portions, one after the other, and what earlier portions asked for.

A portion holds the answers about its own images only. A redirect may lead to an image of another
portion: whether that was asked for already is told by 8 bytes an image, and the answer itself is
read again from the journal.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd
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
        self._hashes = _hashes(answered_images(journal, self.interrupted))

    def add(self, urls: Iterable[str]) -> None:
        """Note the images that a portion was answered for; its journal must be durable."""
        new = _hashes(pa.array(urls, pa.string()))
        self._hashes = np.union1d(self._hashes, new)

    def recall(self, url: str, spill: Spill) -> Kept | None:
        """The answer about an image of another portion; None where it was not asked for."""
        wanted = pa.array([url], pa.string())
        [code] = _hashes(wanted)
        place = np.searchsorted(self._hashes, code)
        if place == len(self._hashes) or self._hashes[place] != code:
            return None
        return read_journal(self._journal, [host_of(url)], spill, wanted).get(("image", url))


def _hashes(urls: pa.Array) -> npt.NDArray[np.uint64]:
    """Sorted 64-bit hashes, the same in every process."""
    return np.unique(pd.util.hash_array(urls.to_numpy(zero_copy_only=False)))
