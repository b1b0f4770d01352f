"""One question to a model about one image and one text, as plain data (`mmcore predict`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmcore.errors import UserError
from mmcore.models.decoding import Search
from mmcore.models.predictor import Predictor

TASKS = ("caption", "vqa", "tags", "sentiment", "match")
_TAGS_SHOWN = 10


@dataclass(frozen=True)
class Writing:
    """How a caption or an answer is written.

    search: how its words are chosen (None: greedy); language: of a caption (None: the model's
    first); answers: write answers in the decoder's own words, do not choose them from the list.
    """

    search: Search | None = None
    language: str | None = None
    answers: bool = False


def ask(
    predictor: Predictor,
    task: str,
    image: bytes | None,
    text: str | None,
    writing: Writing | None = None,
) -> dict[str, Any]:
    """The model's answer, e.g. `{"caption": …}` or `{"answer": …, "confidence": …}`; an answer in
    its own words has no confidence.

    caption needs an image; vqa a text (the question), and without an image it guesses; match both;
    tags and sentiment either or both. UserError where one is missing, the image cannot be decoded,
    or the task writes nothing that ``writing`` could be about.
    """
    writing = writing or Writing()
    _check(task, image, text)
    _check_writing(task, writing, predictor.labels.writes_answers)
    images = None if image is None else [image]
    texts = None if text is None else [text]
    if task == "caption":
        return {"caption": predictor.caption(images or [], writing.language, writing.search)[0]}
    if task == "vqa" and writing.answers:
        return {"answer": predictor.write_answers(images, texts or [], writing.search)[0]}
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


def search_of(
    num_beams: int | None, top_p: float | None, temperature: float | None, seed: int | None
) -> Search | None:
    """The search that options named as in `transformers` ask for; None where none is given.

    More than one beam is beam search; a top_p or temperature is nucleus sampling. UserError where
    both are asked for, or a seed where nothing is drawn.
    """
    drawn = {
        name: value
        for name, value in (("top_p", top_p), ("temperature", temperature), ("seed", seed))
        if value is not None
    }
    if num_beams is not None and drawn:
        raise UserError(
            "Give either --num-beams, which searches, or --top-p, --temperature and --seed, which "
            "draw words by chance."
        )
    if set(drawn) == {"seed"}:
        raise UserError("--seed is for words drawn by chance: give --top-p or --temperature too.")
    if drawn:
        return Search.model_validate({"kind": "nucleus", **drawn})
    return None if num_beams is None else Search(kind="beam", beams=num_beams)


def _check(task: str, image: bytes | None, text: str | None) -> None:
    if task not in TASKS:
        raise UserError(f"There is no task {task!r}: choose one of {', '.join(TASKS)}.")
    if image is None and task in ("caption", "match"):
        raise UserError(f"Task {task} needs --image.")
    if text is None and task in ("vqa", "match"):
        raise UserError(f"Task {task} needs --text.")
    if image is None and text is None:
        raise UserError(f"Task {task} needs --image, --text or both.")


def _check_writing(task: str, writing: Writing, taught: bool) -> None:
    if writing.answers and task != "vqa":
        raise UserError(f"--write is for task vqa: leave it out for {task}.")
    if writing.answers and not taught:
        raise UserError(
            "This model is not known to write answers: leave --write out, or train one with "
            "train.loss_weights.generative_vqa above 0."
        )
    if writing.language is not None and task != "caption":
        raise UserError(f"--language is for task caption: leave it out for {task}.")
    if writing.search is not None and not (task == "caption" or writing.answers):
        raise UserError(
            "--num-beams, --top-p, --temperature and --seed are for what the model writes: task "
            "caption, and vqa with --write."
        )
