"""Days of images that never were pixels: signatures as clean writes them, with known copies.

A picture is a number; its signatures are random but for the number. Copies have their own bytes and
pixels, a hash a few bits off and a thumbnail with a little noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mmcore.clean.occurrences import TEXTS
from mmcore.clean.stage import CLEANED
from mmcore.dedup.stage import Config, run
from mmcore.lake import Dataset, Lake
from tests.clean.helpers import write_crawled


@dataclass(frozen=True)
class Shown:
    """Copy number `copy` of a picture; copies up to 9 are near copies of the first."""

    picture: int
    copy: int = 0
    side: int = 400

    @property
    def sha256(self) -> str:
        return hashlib.sha256(f"{self.picture}/{self.copy}/{self.side}".encode()).hexdigest()

    @property
    def phash(self) -> int:
        original = np.random.default_rng(self.picture).integers(0, 2**64, dtype=np.uint64)
        return int(original) ^ (1 << 7 * (self.copy - 1) if self.copy else 0)

    @property
    def thumb(self) -> bytes:
        small = np.random.default_rng([1, self.picture]).integers(30, 220, (16, 16, 3))
        noise = np.random.default_rng([self.copy, self.picture]).integers(-2, 3, (16, 16, 3))
        return (small + noise * bool(self.copy)).astype(np.uint8).tobytes()


def write_day(
    lake: Lake,
    day: str,
    shown: Sequence[Shown],
    crawled: Sequence[Mapping[str, Any]] = (),
    rows_per_part: int = 40,
    said: Sequence[tuple[Shown, str]] = (),
) -> None:
    """`cleaned`, `texts` and `crawled` of a day; `crawled` has a row an image unless given. `said`
    are alt texts."""
    rows = [
        {
            "sha256": image.sha256,
            "kept": True,
            "reason": "ok",
            "width": image.side,
            "height": image.side,
            "phash": image.phash,
            "thumb": image.thumb,
            "pixels": hashlib.sha256(image.sha256.encode()).hexdigest(),
        }
        for image in sorted(set(shown), key=lambda image: image.sha256)
    ]
    writer = lake.writer("cleaned", day)
    parts = [
        writer.write_table(
            number, pa.Table.from_pylist(rows[start : start + rows_per_part], schema=CLEANED)
        )
        for number, start in enumerate(range(0, max(len(rows), 1), rows_per_part))
    ]
    writer.commit(parts, [], {})
    write_crawled(lake, day, crawled or [{"sha256": image.sha256} for image in shown])
    writer = lake.writer("texts", day)
    spoken = [
        {"sha256": image.sha256, "role": "alt", "text": text, "kept": True, "places": 1}
        for image, text in sorted(said, key=lambda pair: (pair[0].sha256, pair[1]))
    ]
    slices = [
        spoken[start : start + rows_per_part] for start in range(0, len(spoken), rows_per_part)
    ]
    tables = [pa.Table.from_pylist(some, schema=TEXTS) for some in slices or [[]]]
    writer.commit([writer.write_table(*pair) for pair in enumerate(tables)], [], {})


def night(lake: Lake, day: str, shown: Sequence[Shown], **options: Any) -> Dataset:
    """Write a day and deduplicate it."""
    said = options.pop("said", ())
    write_day(lake, day, shown, options.pop("crawled", ()), options.pop("rows_per_part", 40), said)
    return run(lake, day, options.pop("config", Config()), **options)


def by_image(dataset: Dataset, shown: Sequence[Shown]) -> list[dict[str, Any]]:
    """The rows of some images, in their order."""
    rows = {row["sha256"]: row for row in dataset.read().to_pylist()}
    return [rows[image.sha256] for image in shown]
