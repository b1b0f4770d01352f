"""Evaluate the candidate of a day: scores with intervals, per-example scores, the report card."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from mmcore.errors import UserError
from mmcore.lake import Dataset, Lake

if TYPE_CHECKING:
    from mmcore.evaluate.examples import Candidate, Example, ExampleSet
    from mmcore.evaluate.predictions import Predictions, Predictor
    from mmcore.evaluate.records import Labels
    from mmcore.evaluate.results import ScoredModel
    from mmcore.shards.reader import SampleStore

    Loader = Callable[[Path], Predictor]

# Images decoded at once: bounds a task's memory, whatever the number of questions per image.
_CHUNK = 64
# Splits in the order they are tried: a test split may be empty on a small corpus.
_SPLITS = ("test", "val")


class Config(BaseModel):
    """How a candidate is scored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_images: int = Field(1000, ge=1, description="Test images to use; the rest is left out.")
    max_captions_per_image: int = Field(5, ge=1, description="Reference captions per image.")
    max_caption_images: int = Field(300, ge=1, description="Images the model describes.")
    max_questions_per_image: int = Field(10, ge=1, description="Questions asked per image.")
    min_checked: int = Field(
        20, ge=1, description="Images with gold labels from which weaker labels are ignored."
    )
    replicates: int = Field(1000, ge=100, le=100_000, description="Resamples of an interval.")
    tasks: int = Field(2, ge=1, description="Ray tasks, each with its own copy of the model.")
    pictures: int = Field(6, ge=1, le=30, description="Examples per task in the report card.")


@dataclass(frozen=True)
class _Inputs:
    """What is evaluated on, and what happened on the way there."""

    examples: ExampleSet
    store: SampleStore
    notes: dict[str, Any]


@dataclass(frozen=True)
class _Block:
    """The examples of one Ray task."""

    store: SampleStore
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class _Answered:
    rows: int
    predictions: Predictions


def run(
    lake: Lake,
    day: str,
    config: Config,
    *,
    gold: Path | None = None,
    champion: Path | None = None,
    seed: int = 0,
    load: Loader | None = None,
) -> Dataset:
    """Write `evaluation@DAY` for `candidate@DAY` and return it.

    gold: JSONL of checked labels; champion: folder of the model to compare with, on the same
    images; load: turns a model's folder into a predictor (default: `mmcore.models.load_model`,
    one torch thread). Raises UserError where there is nothing to evaluate on.
    """
    candidate, shards = lake.dataset("candidate", day), lake.up_to("shards", day)
    origins = [*lake.up_to("crawled", day), *lake.up_to("deduplicated", day)] if gold else []
    parents = [candidate, *shards, *origins]
    rival = _folder_files(champion) if champion else None
    settings = {
        "config": config.model_dump(),
        "seed": seed,
        "gold": _file_digest(gold) if gold else None,
        "champion": _files_digest(rival) if rival else None,
        "loader": f"{load.__module__}.{load.__qualname__}" if load else None,
    }
    done = lake.reusable("evaluation", day, settings, parents)
    if done is not None:
        return done
    inputs = _inputs(lake, day, config, shards, gold)
    files = {part.file: candidate.read_file(part.file) for part in candidate.parts}
    model = _score(candidate.label, candidate.digest, files, inputs, config, load)
    other = None
    if rival:
        other = _score("champion", _files_digest(rival), rival, inputs, config, load)
    return _commit(lake, day, config, seed, inputs, model, other, parents, settings)


def _commit(
    lake: Lake,
    day: str,
    config: Config,
    seed: int,
    inputs: _Inputs,
    model: ScoredModel,
    champion: ScoredModel | None,
    parents: list[Dataset],
    settings: dict[str, Any],
) -> Dataset:
    from mmcore.evaluate.report import Report, render
    from mmcore.evaluate.results import collect_scores, examples_parquet

    scores = {
        "day": day,
        "seed": seed,
        **collect_scores(inputs.examples, model, champion, config.replicates, seed),
        "inputs": inputs.notes,
        "parents": [{"label": parent.label, "digest": parent.digest} for parent in parents],
    }
    report = Report(
        scores=scores,
        tasks=model.tasks,
        predictions=model.predictions,
        picture=lambda number: inputs.store[number].jpg,
        pictures=config.pictures,
    )
    writer = lake.writer("evaluation", day, format="files")
    files = {
        "scores.json": json.dumps(scores, indent=1, ensure_ascii=False).encode() + b"\n",
        "examples.parquet": examples_parquet(model.tasks, champion.tasks if champion else {}),
        "report.html": render(report).encode("utf-8", "replace"),
    }
    parts = [writer.write_file(name, data) for name, data in files.items()]
    funnel = {"available": inputs.notes["available"], "images": scores["images"]}
    metadata = {"funnel": funnel | scores["examples"], "scores": scores["scores"]}
    return writer.commit(parts, parents, settings, metadata)


def _inputs(
    lake: Lake, day: str, config: Config, shards: list[Dataset], gold: Path | None
) -> _Inputs:
    """The examples of the test split (or val, where test is empty), with their labels chosen."""
    from mmcore.evaluate.examples import candidate_from_sample, choose_labels
    from mmcore.shards.reader import SampleStore, ShardError

    checked, first, notes = _gold_labels(lake, day, gold)
    store, split = SampleStore.open([], _SPLITS[0]), _SPLITS[0]
    for split in _SPLITS:
        store = SampleStore.open(shards, split)
        if len(store):
            break
    # Keys are hashes, so the first in their order are a fair and lasting choice.
    keys = store.keys
    order = sorted(range(len(keys)), key=lambda number: (keys[number] not in first, keys[number]))
    candidates: list[Candidate] = []
    problems: Counter[str] = Counter()
    for number in order[: config.max_images]:
        try:
            candidates.append(candidate_from_sample(number, store[number], checked))
        except ShardError as error:
            problems[error.problem.reason] += 1
    examples = choose_labels(
        candidates,
        split,
        min_checked=config.min_checked,
        max_captions=config.max_captions_per_image,
        max_questions=config.max_questions_per_image,
        max_described=config.max_caption_images,
    )
    if not any(example.labels.any() for example in examples.examples):
        raise UserError(
            f"There is nothing to evaluate on up to {day}: no image of the test or val split has a "
            "label; raise shards.test or give a gold file with `gold` in the recipe."
        )
    notes |= {"available": len(store), "unreadable": dict(sorted(problems.items()))}
    return _Inputs(examples, store, notes)


def _gold_labels(
    lake: Lake, day: str, gold: Path | None
) -> tuple[dict[str, Labels], frozenset[str], dict[str, Any]]:
    """Gold labels by cluster, keys of the samples they are about, and the counts of the file."""
    if gold is None:
        return {}, frozenset(), {"gold": None}
    from mmcore.evaluate.gold import find_images, join_clusters, read_gold
    from mmcore.evaluate.records import RecordCounts

    counts = RecordCounts()
    records = read_gold(gold, counts)
    crawled = (
        table
        for dataset in lake.up_to("crawled", day)
        for table in dataset.iter_parts(["image_url", "sha256"])
    )
    images = find_images(records, gold.absolute().parent, crawled)

    def clusters() -> Any:
        for dataset in lake.up_to("deduplicated", day):
            yield from dataset.iter_parts(["sha256", "cluster"])

    labels, members = join_clusters(records, images, clusters, counts)
    # A sample's key is the first 20 digits of its image's sha256 (docs/datasets.md).
    return labels, frozenset(sha[:20] for sha in members), {"gold": counts.to_dict()}


def _score(
    label: str,
    digest: str,
    files: Mapping[str, bytes],
    inputs: _Inputs,
    config: Config,
    load: Loader | None,
) -> ScoredModel:
    """Ask one model about all examples, in blocks on Ray, and score what it says."""
    import ray

    from mmcore.cluster import map_parts
    from mmcore.evaluate.predictions import concatenate
    from mmcore.evaluate.results import ScoredModel
    from mmcore.evaluate.tasks import score_tasks

    examples = inputs.examples.examples
    size = max(1, -(-len(examples) // config.tasks))
    blocks = [
        _Block(inputs.store, examples[start : start + size])
        for start in range(0, len(examples), size)
    ]
    answer = partial(_answer, ray.put(dict(files)), load)
    answered = map_parts(answer, blocks, description="evaluate", unit="images")
    predictions = concatenate([block.predictions for block in answered])
    return ScoredModel(label, digest, predictions, score_tasks(examples, predictions))


def _answer(files: Any, load: Loader | None, block: _Block) -> _Answered:
    """Load the model once and ask it about a block, a bounded number of images at a time."""
    import ray

    from mmcore.evaluate.predictions import concatenate, predict

    with TemporaryDirectory() as folder:
        for name, data in ray.get(files).items():
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        predictor = (load or _load_model)(Path(folder))
    done = []
    for start in range(0, len(block.examples), _CHUNK):
        chunk = block.examples[start : start + _CHUNK]
        images = [block.store[example.number].jpg for example in chunk]
        done.append(predict(predictor, chunk, images))
    return _Answered(len(block.examples), concatenate(done))


def _load_model(folder: Path) -> Predictor:
    import torch

    from mmcore.models import load_model

    # Tasks share the machine; one thread each also keeps sums, and so scores, the same everywhere.
    torch.set_num_threads(1)
    return load_model(folder)


def _folder_files(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        raise UserError(f"There is no model folder {folder}.")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _files_digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"There is no gold file {path}: correct `gold` in the recipe.")
    return hashlib.sha256(path.read_bytes()).hexdigest()
