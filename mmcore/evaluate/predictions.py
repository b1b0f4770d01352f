"""What a model says about a block of examples, gathered once and scored later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmcore.evaluate.examples import Example
from mmcore.evaluate.records import SENTIMENTS

Floats = NDArray[np.float32]


class Vocabularies(Protocol):
    @property
    def tags(self) -> Sequence[str]: ...
    @property
    def answers(self) -> Sequence[str]: ...


class Predictor(Protocol):
    """What evaluation needs of a model (`mmcore.models.load_model` gives one)."""

    @property
    def labels(self) -> Vocabularies: ...

    def decode(self, images: list[bytes]) -> Any: ...
    def encode_images(self, images: Any) -> Floats: ...
    def encode_texts(self, texts: list[str]) -> Floats: ...
    def caption(self, images: Any) -> list[str]: ...
    def answer(self, images: Any, questions: list[str]) -> list[tuple[str, float]]: ...
    def tags(self, images: Any, texts: list[str] | None) -> Floats: ...
    def sentiment(self, images: Any, texts: list[str] | None) -> Floats: ...


@dataclass(frozen=True)
class Predictions:
    """Outputs in the order of the examples that have a label for the task.

    image_embeddings: float32 [captioned images, D]; text_embeddings: float32 [captions, D];
    captions: [described images]; answers, blind_answers: (answer, confidence) per question;
    tags_image, tags_text: float32 [tagged images, V], names in tag_names;
    sentiment_*: float32 [images with a sentiment, 3].
    """

    image_embeddings: Floats
    text_embeddings: Floats
    captions: list[str]
    answers: list[tuple[str, float]]
    blind_answers: list[tuple[str, float]]
    tags_image: Floats
    tags_text: Floats
    sentiment_both: Floats
    sentiment_image: Floats
    sentiment_text: Floats
    tag_names: tuple[str, ...]


def predict(predictor: Predictor, examples: Sequence[Example], images: list[bytes]) -> Predictions:
    """Ask the model everything the examples have a label for; one encoded image per example.

    A model trained without questions answers each with "" and confidence 0.
    """
    decoded = predictor.decode(images)
    captioned = [i for i, e in enumerate(examples) if e.labels.captions]
    described = [i for i, e in enumerate(examples) if e.describe]
    tagged = [i for i, e in enumerate(examples) if e.labels.tags]
    felt = [i for i, e in enumerate(examples) if e.labels.sentiment]
    texts = [caption for i in captioned for caption in examples[i].labels.captions]
    names = tuple(predictor.labels.tags)
    answers, blind = _ask(predictor, examples, decoded)
    no_tags, no_feeling = _empty(len(names)), _empty(len(SENTIMENTS))
    felt_texts = _texts(examples, felt)
    return Predictions(
        image_embeddings=predictor.encode_images(decoded[captioned]) if captioned else _empty(0),
        text_embeddings=predictor.encode_texts(texts) if texts else _empty(0),
        captions=predictor.caption(decoded[described]) if described else [],
        answers=answers,
        blind_answers=blind,
        tags_image=predictor.tags(decoded[tagged], None) if tagged else no_tags,
        tags_text=predictor.tags(None, _texts(examples, tagged)) if tagged else no_tags,
        sentiment_both=_feel(predictor, decoded, felt, felt_texts),
        sentiment_image=predictor.sentiment(decoded[felt], None) if felt else no_feeling,
        sentiment_text=predictor.sentiment(None, felt_texts) if felt else no_feeling,
        tag_names=names,
    )


def _ask(
    predictor: Predictor, examples: Sequence[Example], decoded: Any
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Answers with the image, and without it."""
    questions = [q.question for e in examples for q in e.labels.questions]
    if not questions or not predictor.labels.answers:
        silence = [("", 0.0)] * len(questions)
        return silence, silence
    asked = [i for i, e in enumerate(examples) for _ in e.labels.questions]
    return predictor.answer(decoded[asked], questions), predictor.answer(None, questions)


def _feel(predictor: Predictor, decoded: Any, felt: Sequence[int], texts: list[str]) -> Floats:
    """Sentiment of image and text together; of the image alone where there is no text."""
    scores = np.zeros((len(felt), len(SENTIMENTS)), np.float32)
    read = [row for row, text in enumerate(texts) if text]
    seen = [row for row, text in enumerate(texts) if not text]
    if read:
        both = decoded[[felt[row] for row in read]]
        scores[read] = predictor.sentiment(both, [texts[row] for row in read])
    if seen:
        scores[seen] = predictor.sentiment(decoded[[felt[row] for row in seen]], None)
    return scores


def concatenate(blocks: Sequence[Predictions]) -> Predictions:
    """Blocks of one model, in order, as one."""
    joined: dict[str, Any] = {}
    for field in fields(Predictions):
        values = [getattr(block, field.name) for block in blocks]
        if field.name == "tag_names":
            joined[field.name] = values[0]
        elif isinstance(values[0], list):
            joined[field.name] = [item for value in values for item in value]
        else:
            filled = [value for value in values if len(value)] or values[:1]
            joined[field.name] = np.concatenate(filled)
    return Predictions(**joined)


def _texts(examples: Sequence[Example], chosen: Sequence[int]) -> list[str]:
    return [examples[i].text or "" for i in chosen]


def _empty(width: int) -> Floats:
    return np.zeros((0, width), np.float32)
