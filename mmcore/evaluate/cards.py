"""Which examples the report card shows: a fair sample of each task, and its worst."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mmcore.evaluate.predictions import Predictions
from mmcore.evaluate.task_scores import TaskScores

_SHOWN_IMAGES = 5
_SHOWN_QUESTIONS = 6
_SHOWN_TAGS = 6
_WORST = 3
# Orders equal scores by confidence without ever reordering different ones.
_SURE = 1e-6


@dataclass(frozen=True)
class Found:
    """One retrieved image."""

    number: int
    right: bool
    rank: int


@dataclass(frozen=True)
class Line:
    """One thing the model said about an image."""

    query: str
    output: str
    truth: str
    right: bool | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Card:
    """One image with what was said about it; for retrieval, a query with what was found."""

    number: int
    title: str = ""
    score: float | None = None
    lines: tuple[Line, ...] = ()
    found: tuple[Found, ...] = ()
    chips: tuple[Line, ...] = field(default=())


@dataclass(frozen=True)
class Cards:
    """Cards of one task: `fair` evenly spread over the examples, `worst` by the model's score."""

    fair: tuple[Card, ...]
    worst: tuple[Card, ...]


def task_cards(scores: TaskScores, predictions: Predictions, most: int) -> Cards:
    """At most `most` fair cards of a task, and the worst few that are not among them."""
    make = _MAKERS[scores.task]
    if scores.task == "retrieval":
        values = np.array([row.model for row in scores.rows])
        fair = _spread(len(scores.rows), most)
    else:
        values = _image_scores(scores)
        fair = _spread(len(scores.examples), most)
    best = np.inf if scores.task == "caption" else 1 - _SURE
    order = [int(index) for index in np.argsort(values, kind="stable") if values[index] < best]
    worst = [index for index in order if index not in set(fair)][: min(_WORST, most)]
    return Cards(
        tuple(make(scores, predictions, index) for index in fair),
        tuple(make(scores, predictions, index) for index in worst),
    )


def _retrieval(scores: TaskScores, predictions: Predictions, index: int) -> Card:
    """A caption as query: the first images found, and the right one if it is not among them."""
    row = scores.rows[index]
    ranking = np.argsort(
        -(predictions.image_embeddings @ predictions.text_embeddings[index]), kind="stable"
    )
    cluster = scores.examples[row.image].cluster
    right = [
        scores.examples[image].cluster == cluster
        or row.query in scores.examples[image].labels.captions
        for image in ranking
    ]
    shown = list(range(min(_SHOWN_IMAGES, len(ranking))))
    first = right.index(True)
    if first not in shown:
        shown.append(first)
    found = tuple(
        Found(scores.examples[ranking[place]].number, right[place], place + 1) for place in shown
    )
    number = scores.examples[row.image].number
    return Card(number, title=row.query, score=row.model, found=found)


def _caption(scores: TaskScores, _: Predictions, index: int) -> Card:
    row, example = scores.rows[index], scores.examples[index]
    truth = " · ".join(example.labels.captions[:2])
    return Card(example.number, score=row.model, lines=(Line("", row.output, truth),))


def _vqa(scores: TaskScores, _: Predictions, index: int) -> Card:
    rows = [row for row in scores.rows if row.image == index]
    lines = tuple(
        Line(row.query, row.output, row.truth, row.model > 0, row.confidence)
        for row in (rows[i] for i in _spread(len(rows), _SHOWN_QUESTIONS))
    )
    score = sum(row.model for row in rows) / len(rows)
    return Card(scores.examples[index].number, score=score, lines=lines)


def _tags(scores: TaskScores, predictions: Predictions, index: int) -> Card:
    example = scores.examples[index]
    truth = {tag.strip().casefold() for tag in example.labels.tags}
    values = predictions.tags_image[index]
    best = np.argsort(-values, kind="stable")[:_SHOWN_TAGS]
    said = [predictions.tag_names[column] for column in best]
    chips = [
        Line("", name, "", name.strip().casefold() in truth, float(values[column]))
        for name, column in zip(said, best, strict=True)
    ]
    missed = sorted(truth - {name.strip().casefold() for name in said})
    chips += [Line("", "", tag) for tag in missed[:_SHOWN_TAGS]]
    return Card(example.number, score=scores.rows[index].model, chips=tuple(chips))


def _sentiment(scores: TaskScores, _: Predictions, index: int) -> Card:
    row = scores.rows[index]
    line = Line(row.query, row.output, row.truth, row.model > 0, row.confidence)
    return Card(scores.examples[index].number, lines=(line,))


_MAKERS: dict[str, Callable[[TaskScores, Predictions, int], Card]] = {
    "retrieval": _retrieval,
    "caption": _caption,
    "vqa": _vqa,
    "tags": _tags,
    "sentiment": _sentiment,
}


def _spread(count: int, most: int) -> list[int]:
    """At most `most` indexes, evenly spread over `count`."""
    shown = min(count, most)
    return [index * count // shown for index in range(shown)]


def _image_scores(scores: TaskScores) -> np.ndarray:
    """Mean score of every image; among equals the more confident mistakes come first."""
    total, sure, rows = (np.zeros(len(scores.examples)) for _ in range(3))
    for row in scores.rows:
        total[row.image] += row.model
        sure[row.image] += row.confidence
        rows[row.image] += 1
    return total / rows - _SURE * sure / rows
