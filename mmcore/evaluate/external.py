"""Evaluate a model on data from outside: a folder with `annotations.jsonl`, or WebDataset tars.

Runs in this process, a block of images at a time, so memory does not grow with the data.
"""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from mmcore.annotated import ANNOTATIONS, OutsideFolder, read_image, tar_members
from mmcore.errors import UserError
from mmcore.evaluate.examples import Example, labels_of_sample
from mmcore.evaluate.predictions import Predictions, Predictor, concatenate, predict
from mmcore.evaluate.records import Labels, RecordCounts, read_records
from mmcore.evaluate.summary import plain_scores
from mmcore.evaluate.tasks import score_tasks

_BLOCK = 64
_PREFERRED_SPLITS = ("test", "val")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """One image with its labels, before the model has seen it."""

    name: str
    image: bytes
    labels: Labels
    text: str | None
    split: str | None
    cluster: str | None = None


@dataclass(frozen=True)
class ExternalEvaluation:
    """scores: task to its scores; split: the one used, None for all; counts: what was read."""

    scores: dict[str, Any]
    split: str | None
    images: int
    counts: RecordCounts


def evaluate_path(predictor: Predictor, path: Path, *, split: str | None = None) -> dict[str, Any]:
    """Scores of a model on a folder with `annotations.jsonl`, a `.tar`, or a folder of `.tar`s.

    split: which records to use; default: test if any record says so, else val, else all.
    Returns task (`retrieval`, `caption`, `vqa`, `tags`, `sentiment`) to scores; a task is absent
    where the data has no labels for it. Records that were left out are logged as one warning;
    UserError where nothing usable is left.
    """
    done = evaluate_external(predictor, path, split=split)
    left_out = done.counts.bad.total()
    if left_out:
        _logger.warning(
            "%s: %d of %d records left out: %s",
            path,
            left_out,
            done.counts.read,
            _listed(done.counts),
        )
    return done.scores


def evaluate_external(
    predictor: Predictor, path: Path, *, split: str | None = None
) -> ExternalEvaluation:
    """`evaluate_path` with the split it chose and the count of every reason."""
    chosen = split or _find_split(path)
    counts = RecordCounts()
    items = (item for item in _items(path, counts) if chosen is None or item.split == chosen)
    examples: list[Example] = []
    blocks: list[Predictions] = []
    while block := list(islice(items, _BLOCK)):
        made = [_example(item, len(examples) + i) for i, item in enumerate(block)]
        blocks.append(predict(predictor, made, [item.image for item in block]))
        examples += made
    if not any(example.labels.any() for example in examples):
        where = f" in split {chosen}" if chosen else ""
        raise UserError(
            f"{path} holds no labelled image{where} that can be used ({counts.read} records read; "
            f"left out: {_listed(counts) or 'none'})."
        )
    scores = plain_scores(score_tasks(examples, concatenate(blocks)))
    return ExternalEvaluation(scores, chosen, len(examples), counts)


def _example(item: Item, number: int) -> Example:
    digest = sha256(item.image).hexdigest()
    describe = bool(item.labels.captions)
    return Example(number, digest, item.cluster or digest, item.labels, item.text, describe)


def _items(path: Path, counts: RecordCounts) -> Iterator[Item]:
    """Usable records with a readable image, in order."""
    found = _tar_items(path, counts) if _tars(path) else _folder_items(path, counts)
    for item in found:
        reason = _image_problem(item.image)
        if reason is None:
            yield item
        else:
            counts.bad[reason] += 1


def _find_split(path: Path) -> str | None:
    """The split to use by default. Reads labels only, no image is decoded."""
    tars = _tars(path)
    seen: Iterable[str | None]
    if tars:
        # Our shards say the split in the file name; other tars have no splits.
        seen = [_split_of_tar(tar) for tar in tars]
    else:
        with _open_annotations(path) as lines:
            seen = Counter(record.split for record in read_records(lines, RecordCounts()))
    return next((name for name in _PREFERRED_SPLITS if name in set(seen)), None)


def _folder_items(path: Path, counts: RecordCounts) -> Iterator[Item]:
    folder = path if path.is_dir() else path.parent
    members = tar_members(folder)
    with _open_annotations(path) as lines:
        for record in read_records(lines, counts):
            try:
                image = read_image(folder, record.image, members)
            except OutsideFolder:
                counts.bad["outside_folder"] += 1
            except OSError:
                counts.bad["missing_file"] += 1
            else:
                yield Item(record.image, image, record.labels, record.text, record.split)


def _tar_items(path: Path, counts: RecordCounts) -> Iterator[Item]:
    from mmcore.shards.reader import Problem, read_tar

    def count(problem: Problem) -> None:
        counts.read += 1
        counts.bad[problem.reason] += 1

    for tar in _tars(path):
        with tar.open("rb") as file:
            for sample in read_tar(file, tar.name, count):
                counts.read += 1
                labels = labels_of_sample(sample.labels)
                text = sample.text.strip() or None
                if not labels.captions and text:
                    # Foreign shards have a text and no JSON: the text is the caption.
                    labels = Labels((text,), labels.questions, labels.tags, labels.sentiment)
                split = sample.labels.get("split") or _split_of_tar(tar)
                cluster = sample.labels.get("cluster")
                yield Item(sample.key, sample.jpg, labels, text, split, cluster)


def _split_of_tar(tar: Path) -> str | None:
    name = tar.name.split("-", 1)[0]
    return name if name in ("train", "val", "test") else None


def _tars(path: Path) -> list[Path]:
    """Tars at the path; none where it is a folder with annotations."""
    if path.is_dir():
        return [] if (path / ANNOTATIONS).exists() else sorted(path.glob("*.tar"))
    return [path] if path.suffix == ".tar" else []


def _open_annotations(path: Path) -> io.BufferedReader:
    file = path / ANNOTATIONS if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"{path} is neither a folder with {ANNOTATIONS}, nor a .tar, nor a folder of .tar "
            "files: give one of these with --on."
        )
    return file.open("rb")


def _image_problem(data: bytes) -> str | None:
    """Why an image cannot be used, or None; decodes at a fraction of the size where it can."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (64, 64))
            image.load()
    except Image.DecompressionBombError:
        return "too_many_pixels"
    except (OSError, ValueError, SyntaxError):
        return "not_an_image"
    return None


def _listed(counts: RecordCounts) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.bad.items()))
