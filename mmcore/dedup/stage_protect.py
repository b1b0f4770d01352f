"""Evaluation sets on the lake: signatures and text keys, made once and kept until a set changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.cluster import map_parts
from mmcore.dedup import protected, texts
from mmcore.lake import Dataset, DatasetWriter, Lake, Part

IMAGES, TEXTS = "protected_images", "protected_texts"
_PARTS_PER_FILE = 100_000


@dataclass(frozen=True)
class Protect:
    """Evaluation sets, and how their images are measured: by clean's own function, which this stage
    does not know, from rows of `raw` to rows with `sha256, pixels, phash, thumb`."""

    paths: tuple[Path, ...] = ()
    measure: Callable[[pa.Table], tuple[pa.Table, pa.Table]] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """Of `measure`: where they change, images are measured again."""


@dataclass(frozen=True)
class Protected:
    """Datasets `protected_images` and `protected_texts`, or None where nothing is protected."""

    images: Dataset | None = None
    texts: Dataset | None = None

    @property
    def datasets(self) -> list[Dataset]:
        return [dataset for dataset in (self.images, self.texts) if dataset is not None]


def protect(lake: Lake, asked: Protect) -> Protected:
    """Read the evaluation sets, unless that is done. UserError where a path is no such set."""
    if not asked.paths or asked.measure is None:
        return Protected()
    files = [file for path in asked.paths for file in protected.files(path)]
    config = {
        "protect": [str(path) for path in asked.paths],
        "stamp": protected.stamp(files),
        "measure": asked.settings,
    }
    made = [lake.reusable(name, None, config, []) for name in (IMAGES, TEXTS)]
    if all(made):
        return Protected(*made)
    writers = lake.writer(IMAGES), lake.writer(TEXTS)
    task = partial(_read, asked.measure, *writers)
    done = map_parts(task, list(enumerate(files)), description="protect", unit="images")
    datasets = []
    for number, writer in enumerate(writers):
        parts = [part for one in done for part in one.parts[number]]
        datasets.append(writer.commit(parts, [], config, {"sets": len(asked.paths)}))
    return Protected(*datasets)


@dataclass(frozen=True)
class _Read:
    rows: int
    parts: tuple[list[Part], list[Part]]


def _read(
    measure: Callable[[pa.Table], tuple[pa.Table, pa.Table]],
    images: DatasetWriter,
    said: DatasetWriter,
    item: tuple[int, Path],
) -> _Read:
    """Ray task: signatures and text keys of one file of a set, a block at a time."""
    number, file = item
    parts: tuple[list[Part], list[Part]] = [], []
    for block, (raw, lines) in enumerate(protected.in_blocks(protected.read(file))):
        index = number * _PARTS_PER_FILE + block
        facts, _ = measure(raw)
        rows = facts.filter(pc.is_valid(facts["phash"])).select(protected.SIGNATURES.names)
        keys = pc.unique(texts.text_key(pa.array(lines, pa.string())))
        parts[0].append(images.write_table(index, rows.cast(protected.SIGNATURES)))
        parts[1].append(said.write_table(index, pa.table([keys], schema=protected.KEYS)))
    return _Read(sum(part.rows for part in parts[0]), parts)
