"""A few held-out samples, the same throughout a training, and what the model says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcore.models.artifact import Artifact
from mmcore.models.fusion_model import FusionModel
from mmcore.models.labels import SENTIMENTS, Labels
from mmcore.models.predictor import Predictor
from mmcore.models.text import TextTokenizer
from mmcore.shards.reader import SampleStore
from mmcore.train.contact_sheet import Card, Said, draw_sheet
from mmcore.train.progress import Record
from mmcore.train.vocabulary import answer_key, caption_language

SHOWN = 8
_LOOKED_AT = 128  # samples that the shown ones are chosen from
_TAGS = 4  # likeliest, of each picture


@dataclass(frozen=True)
class Exhibit:
    """A picture as stored and what is known of it; an empty field is not labelled."""

    picture: bytes
    caption: str
    question: str
    answer: str
    tags: tuple[str, ...]
    sentiment: str


def choose(records: Sequence[dict[str, Any]], most: int = SHOWN) -> list[int]:
    """Numbers of the samples to show: those with labels for most tasks first, one of a cluster,
    otherwise in the order given."""
    kinds = ("captions", "qa", "tags", "sentiment")
    labelled = [sum(bool(record.get(kind)) for kind in kinds) for record in records]
    order = sorted(range(len(records)), key=lambda number: -labelled[number])
    chosen: dict[str, int] = {}
    for number in order:
        chosen.setdefault(str(records[number].get("cluster") or f"row-{number}"), number)
    return list(chosen.values())[:most]


def exhibits(store: SampleStore, numbers: Sequence[int], language: str) -> tuple[Exhibit, ...]:
    """The samples to show among the first of these, which can be read; captions in the language
    that the model will write, where there are such."""
    samples = [store[number] for number in numbers[:_LOOKED_AT]]
    chosen = choose([sample.labels for sample in samples])
    return tuple(
        exhibit(samples[number].jpg, samples[number].labels, place, language)
        for place, number in enumerate(chosen)
    )


def exhibit(picture: bytes, record: dict[str, Any], number: int, language: str) -> Exhibit:
    """A sample as it is shown; its number decides which of several questions is asked."""
    captions, pairs = record.get("captions") or [{}], record.get("qa") or [{}]
    captions = [c for c in captions if c and caption_language(c) == language] or captions
    pair = pairs[number % len(pairs)]
    return Exhibit(
        picture,
        captions[0].get("text", ""),
        pair.get("question", ""),
        answer_key(pair.get("answer", "")),
        tuple(tag["tag"] for tag in record.get("tags") or ()),
        (record.get("sentiment") or {}).get("label", ""),
    )


def cards(exhibits: Sequence[Exhibit], model: Predictor) -> list[Card]:
    """What the model says of each picture beside what is known of it."""
    if not exhibits:
        return []
    images = model.decode([shown.picture for shown in exhibits])
    captions = model.caption(images)
    tags, feelings = model.tags(images), model.sentiment(images)
    answers: list[tuple[str, float]] = [("", 0.0)] * len(exhibits)
    if model.labels.answers:
        answers = model.answer(images, [shown.question for shown in exhibits])
    found = []
    for row, shown in enumerate(exhibits):
        likeliest = np.argsort(-tags[row], kind="stable")[:_TAGS]
        feeling = int(feelings[row].argmax())
        found.append(
            Card(
                shown.picture,
                Said(captions[row], shown.caption),
                shown.question,
                Said(answers[row][0], shown.answer, answers[row][1]),
                tuple(
                    (name, float(tags[row, tag]), name in shown.tags)
                    for tag in likeliest
                    for name in [model.labels.tags[tag]]
                ),
                Said(SENTIMENTS[feeling], shown.sentiment, float(feelings[row, feeling])),
            )
        )
    return found


class Gallery:
    """Shows the exhibits with a model's opinion of them, as often as asked; none: shows nothing.

    No picture is worth a training: one that cannot be made is said and left out.
    """

    def __init__(
        self,
        exhibits: Sequence[Exhibit],
        labels: Labels,
        tokenizer: TextTokenizer,
        report: Callable[[Record], None],
        say: Callable[[str], None],
        tower: bytes | None = None,
    ) -> None:
        self._tower = tower
        self._exhibits, self._labels, self._tokenizer = exhibits, labels, tokenizer
        self._report, self._say = report, say
        self._painter = ThreadPoolExecutor(1, "painter")  # drawing takes longer than a step

    def show(self, model: FusionModel, samples: int) -> None:
        """Ask the model now; the picture is drawn and reported from a thread."""
        found = self._ask(model)
        self._painter.submit(self._draw, found, samples)

    def close(self, model: FusionModel, samples: int) -> bytes | None:
        """Report and return the last picture, after those that are still being drawn."""
        last = self._painter.submit(self._draw, self._ask(model), samples)
        self._painter.shutdown()
        return last.result()

    def _ask(self, model: FusionModel) -> list[Card]:
        try:
            artifact = Artifact(model, self._labels, self._tokenizer, self._tower)
            return cards(self._exhibits, Predictor(artifact))
        except Exception as error:
            self._say(f"no picture of predictions: {error}")
            return []

    def _draw(self, found: list[Card], samples: int) -> bytes | None:
        if not found:
            return None
        try:
            png = draw_sheet(f"after {samples:,} samples", found)
        except Exception as error:
            self._say(f"no picture of predictions: {error}")
            return None
        self._report({"predictions": png, "samples": samples})
        return png
