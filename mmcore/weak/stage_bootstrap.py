"""What the champion adds to a day's labels: `generated@DAY`, an examination, and the labels joined.

Each part of the labels is looked at once, where the bytes are; scores and a bounded sample go on.
The sample says what a score is worth (matching.py) and whether a training set gets better with what
was generated (probe.py): only then is it used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mmcore.errors import MmcoreError
from mmcore.lake import Dataset, DatasetWriter, Lake, Part
from mmcore.weak.draws import image_hashes
from mmcore.weak.examination import Sample, examined
from mmcore.weak.generated import (
    TASK_OF,
    LabelingModel,
    Seen,
    Thresholds,
    generated_rows,
    joined,
)
from mmcore.weak.matching import Calibration
from mmcore.weak.retracted import Retracted, made_by
from mmcore.weak.stage_inputs import parts_with
from mmcore.weak.stage_retract import retracted

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
class Labeler:
    """A champion, and which images the next model is trained on; `splits` changes with that."""

    champion: LabelingModel
    in_train: InTrain
    splits: tuple[float, ...] = ()


def bootstrap(lake: Lake, labels: Dataset, labeler: Labeler, config: Bootstrap) -> Dataset:
    """Write `pairs@DAY` from the labels of pages: with what the champion adds, where that passed.

    A champion that was retracted adds nothing.
    """
    from mmcore.cluster import map_parts, say

    day = labels.manifest.partition
    champion, (listed, bad) = labeler.champion, retracted(lake)
    normalized = lake.dataset("normalized", day)
    generated = None
    if bad.has(champion.name):
        say("pairs", f"{champion.name} is retracted: it adds no labels")
    else:
        generated = _generated(lake, labels, normalized, labeler, config)
    parents = [labels, *([generated] if generated else []), *([listed] if listed else [])]
    settings = config.model_dump(mode="json") | {"splits": list(labeler.splits)}
    done = lake.reusable("pairs", day, settings, parents)
    if done is not None:
        return done
    writer = lake.writer("pairs", day)
    allowed = _allowed(generated, champion.name, bad)
    join = partial(_join, labels, generated, labeler, allowed, config, writer)
    parts = map_parts(join, list(range(len(labels.parts))), description="joined", unit="images")
    added = Counter[str]()
    for part in parts:
        added += part.added
    told = {"champion": champion.name, "added": dict(sorted(added.items()))}
    told["examination"] = _table(generated.metadata["examination"]) if generated else {}
    metadata = labels.metadata | {"bootstrap": told}
    return writer.commit([part.part for part in parts], parents, settings, metadata)


def _allowed(generated: Dataset | None, champion: str, bad: Retracted) -> tuple[str, ...]:
    """The kinds that passed their examination and are not retracted for their task."""
    if generated is None:
        return ()
    passed = (v["kind"] for v in generated.metadata["examination"] if v["used"])
    return tuple(kind for kind in passed if not bad.has(f"{TASK_OF[kind]}/{champion}"))


@dataclass(frozen=True)
class _Joined:
    part: Part
    rows: int
    added: Counter[str]


def _table(verdicts: list[dict[str, Any]]) -> dict[str, Any]:
    return {v["kind"]: {k: x for k, x in v.items() if k != "kind"} for v in verdicts}


def _join(
    labels: Dataset,
    generated: Dataset | None,
    labeler: Labeler,
    allowed: tuple[str, ...],
    config: Bootstrap,
    writer: DatasetWriter,
    index: int,
) -> _Joined:
    """Ray task: one part of the labels with what the champion may add."""
    table = labels.read_part(index).combine_chunks()
    before, name = table, labeler.champion.name
    if generated is not None and allowed:
        told = generated.metadata["matching"]
        right = Calibration.load(told) if told else None
        train = _trained(table, labeler.in_train)
        rows = generated.read_part(index).combine_chunks()
        table = joined(table, rows, allowed, name, right, config.limits, train)
    added = Counter(
        {k.partition("/")[0]: n for k, n in made_by(table).items() if k.partition("/")[2] == name}
    )
    added["captions_left_out"] = _captions(before) + added["caption"] - _captions(table)
    return _Joined(writer.write_table(index, table), table.num_rows, added)


def _captions(table: pa.Table) -> int:
    return pc.sum(pc.list_value_length(table["captions"])).as_py() or 0


def _trained(table: pa.Table, in_train: InTrain) -> NDArray[np.bool_]:
    return in_train(table["cluster"].combine_chunks(), table["split"].combine_chunks())


# --- asking the model -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Looked:
    part: Part
    rows: int
    sample: Sample


def _generated(
    lake: Lake, labels: Dataset, normalized: Dataset, labeler: Labeler, config: Bootstrap
) -> Dataset:
    from mmcore.cluster import map_parts

    day, parents = labels.manifest.partition, [labels, normalized]
    settings = config.model_dump(mode="json") | {"champion": labeler.champion.digest}
    settings["splits"] = list(labeler.splits)
    done = lake.reusable(NAME, day, settings, parents)
    if done is not None:
        return done
    writer = lake.writer(NAME, day)
    where = _where(labels, normalized)
    share = min(1.0, _SAMPLE / max(1, labels.rows))
    look = partial(_look, labels, normalized, labeler, share, writer)
    tasks = [(i, where.get(i, [])) for i in range(len(labels.parts))]
    looked = map_parts(look, tasks, description="generated", unit="images")
    right, verdicts = examined([one.sample for one in looked], config.limits)
    metadata = {
        "funnel": {"images": sum(one.rows for one in looked)},
        "champion": labeler.champion.name,
        "matching": right.dump() if right else None,
        "examination": [verdict.row() for verdict in verdicts],
    }
    return writer.commit([one.part for one in looked], parents, settings, metadata)


def _where(labels: Dataset, normalized: Dataset) -> dict[int, list[int]]:
    """For each part of the labels the parts of `normalized` that hold its images."""
    keys = [part["sha256"].combine_chunks() for part in labels.iter_parts(["sha256"])]
    every = pa.concat_arrays([pa.array([], pa.string()), *keys])
    owner = np.repeat(np.arange(len(keys)), [len(k) for k in keys])
    images = pa.table({"sha256": every, "part": pa.array(owner, pa.int64())})
    return parts_with(normalized, images)


def _look(
    labels: Dataset,
    normalized: Dataset,
    labeler: Labeler,
    share: float,
    writer: DatasetWriter,
    task: tuple[int, list[int]],
) -> _Looked:
    """Ray task: what the champion says of one part."""
    index, parts = task
    table = labels.read_part(index).combine_chunks()
    images = _bytes(normalized, parts, table["sha256"].combine_chunks())
    captions = table["captions"].combine_chunks()
    seen = labeler.champion.look(images, captions.flatten().field("text").to_pylist())
    rows = generated_rows(table["sha256"].combine_chunks(), captions, seen)
    hashes = image_hashes(table["cluster"].combine_chunks(), 0)
    chosen = _trained(table, labeler.in_train) & (
        image_hashes(table["sha256"].combine_chunks(), 1) / 2**64 < share
    )
    return _Looked(
        writer.write_table(index, rows), len(rows), _sample(table, rows, hashes, seen, chosen)
    )


def _bytes(normalized: Dataset, parts: list[int], wanted: pa.Array) -> list[bytes]:
    """Encoded images in the order wanted; MmcoreError where one is not there."""
    found: list[bytes | None] = [None] * len(wanted)
    for number in parts:
        table = normalized.read_part(number, ["sha256", "image"])
        at = pc.index_in(table["sha256"].combine_chunks(), wanted)
        rows = table.filter(at.is_valid())
        for place, image in zip(at.drop_null().to_pylist(), rows["image"].to_pylist(), strict=True):
            found[place] = image
    there = [image for image in found if image is not None]
    if len(there) < len(found):
        missing = wanted[found.index(None)].as_py()
        raise MmcoreError(
            f"{len(found) - len(there)} images, such as {missing}, have labels but no normalised "
            "bytes: run clean and the stages after it again for this day."
        )
    return there


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
