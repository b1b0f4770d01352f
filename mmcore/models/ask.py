"""One question to a model about one image and one text, as plain data (`mmcore predict`)."""

from __future__ import annotations

from typing import Any

from mmcore.errors import UserError
from mmcore.models.predictor import Predictor

TASKS = ("caption", "vqa", "tags", "sentiment", "match")
_TAGS_SHOWN = 10


def ask(predictor: Predictor, task: str, image: bytes | None, text: str | None) -> dict[str, Any]:
    """The model's answer, e.g. `{"caption": …}` or `{"answer": …, "confidence": …}`.

    caption needs an image; vqa a text (the question) and an image; match both; tags and sentiment
    either or both. UserError where one is missing or the image cannot be decoded.
    """
    _check(task, image, text)
    images = None if image is None else [image]
    texts = None if text is None else [text]
    if task == "caption":
        return {"caption": predictor.caption(images or [])[0]}
    if task == "vqa":
        answer, confidence = predictor.answer(images, texts or [])[0]
        return {"answer": answer, "confidence": round(confidence, 4)}
    if task == "tags":
        row = predictor.tags(images, texts)[0]
        best = row.argsort(kind="stable")[::-1][:_TAGS_SHOWN]
        return {"tags": {predictor.labels.tags[i]: round(float(row[i]), 4) for i in best}}
    if task == "sentiment":
        row = predictor.sentiment(images, texts)[0]
        names = predictor.labels.sentiment
        return {
            "sentiment": names[int(row.argmax())],
            "probabilities": {n: round(float(p), 4) for n, p in zip(names, row, strict=True)},
        }
    return {"match": round(float(predictor.match(images or [], texts or [])[0]), 4)}


def _check(task: str, image: bytes | None, text: str | None) -> None:
    if task not in TASKS:
        raise UserError(f"There is no task {task!r}: choose one of {', '.join(TASKS)}.")
    if image is None and task in ("caption", "vqa", "match"):
        raise UserError(f"Task {task} needs --image.")
    if text is None and task in ("vqa", "match"):
        raise UserError(f"Task {task} needs --text.")
    if image is None and text is None:
        raise UserError(f"Task {task} needs --image, --text or both.")
