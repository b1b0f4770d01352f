"""What the champion adds to a day's labels: `generated@DAY`, an examination, and the labels joined.

Each part of the labels is looked at once, where the bytes are; scores and a bounded sample go on.
The sample says what a score is worth (matching.py) and whether a training set gets better with what
was generated (probe.py): only then is it used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mmcore.lake import Dataset, DatasetWriter, Lake, Part
from mmcore.weak.draws import image_hashes
from mmcore.weak.examination import Sample, examined
from mmcore.weak.generated import (
    Champion,
    Seen,
    Thresholds,
    generated_rows,
    joined,
)
from mmcore.weak.matching import Calibration

NAME = "generated"

InTrain = Callable[[pa.Array, pa.Array], NDArray[np.bool_]]
"""Clusters and the splits they were asked for to whether each will be trained on."""

_SAMPLE = 20_000  # images that the examination is made of; on the driver


class Bootstrap(BaseModel):
    """What a champion may add to the labels of later days."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        True, description="Let the champion filter captions and label what pages leave unlabelled."
    )
    min_match: float = Field(
        0.5, ge=0, le=1, description="Least probability that a caption belongs to its image."
    )
    min_probability: float = Field(
        0.95, ge=0.5, le=1, description="Least probability of a generated tag or sentiment."
    )

    @property
    def limits(self) -> Thresholds:
        return Thresholds(self.min_match, self.min_probability)


@dataclass(frozen=True)
class Bootstrapped:
    """The day's labels with what was generated: parts of `pairs`, parents and metadata."""

    parts: list[Part]
    parents: list[Dataset]
    metadata: dict[str, Any]


def bootstrap(
    lake: Lake,
    labels: Dataset,
    normalized: Dataset,
    champion: Champion,
    in_train: InTrain,
    config: Bootstrap,
    writer: DatasetWriter,
) -> Bootstrapped:
    """Parts of `pairs`, written with `writer`, one for each part of the labels of pages."""
    from mmcore.cluster import map_parts

    generated = _generated(lake, labels, normalized, champion, in_train, config)
    told = generated.metadata
    right = Calibration.load(told["matching"]) if told["matching"] else None
    allowed = tuple(v["kind"] for v in told["examination"] if v["used"])
    join = partial(
        _join, labels, generated, champion.name, in_train, right, allowed, config, writer
    )
    parts = map_parts(join, list(range(len(labels.parts))), description="joined", unit="images")
    metadata = {"champion": champion.name, "examination": _table(told["examination"])}
    return Bootstrapped(parts, [labels, generated], metadata)


def _table(verdicts: list[dict[str, Any]]) -> dict[str, Any]:
    return {v["kind"]: {k: x for k, x in v.items() if k != "kind"} for v in verdicts}


def _join(
    labels: Dataset,
    generated: Dataset,
    champion: str,
    in_train: InTrain,
    right: Calibration | None,
    allowed: tuple[str, ...],
    config: Bootstrap,
    writer: DatasetWriter,
    index: int,
) -> Part:
    """Ray task: one part of the labels with what the champion may add."""
    table = labels.read_part(index).combine_chunks()
    train = _trained(table, in_train)
    rows = generated.read_part(index)
    done = joined(table, rows, allowed, champion, right, config.limits, train)
    return writer.write_table(index, done)


def _trained(table: pa.Table, in_train: InTrain) -> NDArray[np.bool_]:
    return in_train(table["cluster"].combine_chunks(), table["split"].combine_chunks())


# --- asking the model -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Looked:
    part: Part
    rows: int
    sample: Sample


def _generated(
    lake: Lake,
    labels: Dataset,
    normalized: Dataset,
    champion: Champion,
    in_train: InTrain,
    config: Bootstrap,
) -> Dataset:
    from mmcore.cluster import map_parts

    day, parents = labels.manifest.partition, [labels, normalized]
    settings = config.model_dump(mode="json") | {"champion": champion.digest}
    done = lake.reusable(NAME, day, settings, parents)
    if done is not None:
        return done
    writer = lake.writer(NAME, day)
    where = _where(labels, normalized)
    share = min(1.0, _SAMPLE / max(1, labels.rows))
    look = partial(_look, labels, normalized, champion, in_train, share, writer)
    tasks = [(i, where.get(i, [])) for i in range(len(labels.parts))]
    looked = map_parts(look, tasks, description="generated", unit="images")
    right, verdicts = examined([one.sample for one in looked], config.limits)
    metadata = {
        "funnel": {"images": sum(one.rows for one in looked)},
        "champion": champion.name,
        "matching": right.dump() if right else None,
        "examination": [verdict.row() for verdict in verdicts],
    }
    return writer.commit([one.part for one in looked], parents, settings, metadata)


def _where(labels: Dataset, normalized: Dataset) -> dict[int, list[int]]:
    """For each part of the labels the parts of `normalized` that hold its images."""
    keys = [part["sha256"].combine_chunks() for part in labels.iter_parts(["sha256"])]
    owner = np.repeat(np.arange(len(keys)), [len(k) for k in keys])
    every = pa.concat_arrays([pa.array([], pa.string()), *keys])
    found: dict[int, list[int]] = {}
    for number, part in enumerate(normalized.iter_parts(["sha256"])):
        here = pc.index_in(part["sha256"].combine_chunks(), every).drop_null().to_numpy()
        for index in np.unique(owner[here]).tolist():
            found.setdefault(index, []).append(number)
    return found


def _look(
    labels: Dataset,
    normalized: Dataset,
    champion: Champion,
    in_train: InTrain,
    share: float,
    writer: DatasetWriter,
    task: tuple[int, list[int]],
) -> _Looked:
    """Ray task: what the champion says of one part."""
    index, parts = task
    table = labels.read_part(index).combine_chunks()
    images = _bytes(normalized, parts, table["sha256"].combine_chunks())
    captions = table["captions"].combine_chunks()
    seen = champion.look(images, captions.flatten().field("text").to_pylist())
    rows = generated_rows(table["sha256"].combine_chunks(), captions, seen)
    hashes = image_hashes(table["cluster"].combine_chunks(), 0)
    chosen = _trained(table, in_train) & (
        image_hashes(table["sha256"].combine_chunks(), 1) / 2**64 < share
    )
    return _Looked(
        writer.write_table(index, rows), len(rows), _sample(table, rows, hashes, seen, chosen)
    )


def _bytes(normalized: Dataset, parts: list[int], wanted: pa.Array) -> list[bytes]:
    """Encoded images in the order wanted."""
    found: list[bytes | None] = [None] * len(wanted)
    for number in parts:
        table = normalized.read_part(number, ["sha256", "image"])
        at = pc.index_in(table["sha256"].combine_chunks(), wanted)
        rows = table.filter(at.is_valid())
        for place, image in zip(at.drop_null().to_pylist(), rows["image"].to_pylist(), strict=True):
            found[place] = image
    return [image for image in found if image is not None]


def _sample(
    table: pa.Table, rows: pa.Table, hashes: NDArray, seen: Seen, chosen: NDArray[np.bool_]
) -> Sample:
    keep = pa.array(chosen)
    sizes = pc.list_value_length(table["captions"].combine_chunks()).to_numpy()
    return Sample(
        table.filter(keep),
        rows.filter(keep),
        hashes[chosen],
        seen.image[chosen],
        seen.text[np.repeat(chosen, sizes)],
        seen.caption_vector[chosen],
    )
