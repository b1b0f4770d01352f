"""The images of a day, on Ray: a few numbers each to the driver, thumbnails to scratch files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmcore.cluster import map_parts
from mmcore.dedup import images, verify
from mmcore.dedup.history import THUMB_BYTES, thumbs_of
from mmcore.dedup.images import Facts, Images
from mmcore.dedup.index import arrow_file
from mmcore.dedup.runs import Indices
from mmcore.dedup.stage_shuffle import groups
from mmcore.dedup.verify import Thumbs
from mmcore.lake import Dataset, DatasetWriter, Storage

_THUMBS_PER_FILE = 16_000


@dataclass(frozen=True)
class Thumbnails:
    """Files of the day's thumbnails; `starts` are the places at which each file begins.

    Scratch: written beside the index of the day while it is made, and removed.
    """

    storage: Storage
    folder: str
    starts: Indices

    def read(self, places: npt.NDArray[np.integer]) -> Thumbs:
        """uint8 [n, 16, 16, 3] of ascending places. One file is open at a time."""
        found = np.empty((len(places), verify.EDGE, verify.EDGE, 3), np.uint8)
        files = np.searchsorted(self.starts, places, "right") - 1
        edges = np.flatnonzero(np.diff(files, prepend=-1, append=-1)).tolist()
        for low, high in pairwise(edges):
            file = int(files[low])
            with self.storage.open(f"{self.folder}/{file:05d}.arrow") as source:
                column = pa.ipc.open_file(source).get_batch(0)["thumb"]
                found[low:high] = thumbs_of(column)[places[low:high] - self.starts[file]]
        return found

    def any_order(self, places: npt.NDArray[np.integer]) -> Thumbs:
        """As `read`, of places in any order."""
        distinct, where = np.unique(places, return_inverse=True)
        return self.read(distinct)[where]

    def remove(self) -> None:
        """Delete the files."""
        self.storage.delete(self.folder)


def read(writer: DatasetWriter, cleaned: Dataset) -> tuple[Images, Thumbnails]:
    """The images clean kept, and their thumbnails in scratch files; remove these in the end."""
    folder = f"{writer.folder}/thumbnails"
    items = list(enumerate(groups(cleaned, _THUMBS_PER_FILE)))
    task = partial(_read, writer.storage, folder, cleaned)
    done = map_parts(task, items, description="dedup images", unit="images")
    starts = np.cumsum([0, *(one.rows for one in done)])[: max(1, len(done))]
    day = images.ranked(images.joined([one.facts for one in done]))
    return day, Thumbnails(writer.storage, folder, starts)


@dataclass(frozen=True)
class _Read:
    rows: int
    facts: Facts


def _read(storage: Storage, folder: str, cleaned: Dataset, item: tuple[int, list[int]]) -> _Read:
    """Ray task: facts of the images of a few parts; their thumbnails go to one file."""
    number, parts = item
    tables = [cleaned.read_part(part, [*images.COLUMNS, "thumb"]) for part in parts]
    rows = pa.concat_tables(table.filter(table["kept"]) for table in tables)
    thumbs = rows.select(["thumb"]).cast(pa.schema([("thumb", pa.binary(THUMB_BYTES))]))
    storage.write(f"{folder}/{number:05d}.arrow", arrow_file(thumbs))
    return _Read(rows.num_rows, Facts.of(rows))
