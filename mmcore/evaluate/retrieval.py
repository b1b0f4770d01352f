"""Retrieval: from a caption to its image and from an image to its captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcore.evaluate.baselines import chance_reciprocal_rank
from mmcore.evaluate.captions import tokenize_caption
from mmcore.evaluate.examples import Example
from mmcore.evaluate.metrics import chance_recall, retrieval_ranks
from mmcore.evaluate.predictions import Predictions
from mmcore.evaluate.task_scores import Metrics, Row, TaskScores, per_image

RECALLS = (1, 5, 10)


def score_retrieval(examples: tuple[Example, ...], predictions: Predictions) -> TaskScores:
    """Text to image over every caption, image to text over the distinct captions.

    Right for a caption: its image, and any image of the same cluster or with the same caption.
    """
    texts = [text for example in examples for text in example.labels.captions]
    owner = np.repeat(np.arange(len(examples)), [len(e.labels.captions) for e in examples])
    first, text_row = _distinct(texts)
    images_of_text, texts_of_image = _right_pairs(examples, owner, text_row)
    gallery = predictions.text_embeddings[first]
    t2i = retrieval_ranks(
        gallery[text_row], predictions.image_embeddings, [images_of_text[t] for t in text_row]
    )
    i2t = retrieval_ranks(predictions.image_embeddings, gallery, texts_of_image)
    t2i_right = np.array([len(images_of_text[t]) for t in text_row])
    i2t_right = np.array([len(rows) for rows in texts_of_image])
    every_image = np.arange(len(examples))
    model = {
        **_rank_metrics("image_to_text", i2t, every_image, len(examples)),
        **_rank_metrics("text_to_image", t2i, owner, len(examples)),
    }
    chance = {
        **_chance_metrics("image_to_text", i2t_right, len(first), every_image, len(examples)),
        **_chance_metrics("text_to_image", t2i_right, len(examples), owner, len(examples)),
    }
    expected = chance_reciprocal_rank(t2i_right, len(examples))
    rows = tuple(
        Row(int(image), "reciprocal_rank", 1 / (1 + int(rank)), float(blind), text, "", "")
        for image, rank, blind, text in zip(owner, t2i, expected, texts, strict=True)
    )
    plain = {
        "image_to_text.median_rank": float(np.median(i2t)) + 1,
        "text_to_image.median_rank": float(np.median(t2i)) + 1,
    }
    return TaskScores("retrieval", examples, model, plain, {"chance": chance}, rows)


def _distinct(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First position of every distinct text (by its words), and each text's row among them."""
    rows: dict[Any, int] = {}
    first: list[int] = []
    row_of: list[int] = []
    for position, text in enumerate(texts):
        key = tokenize_caption(text) or text
        if key not in rows:
            rows[key] = len(first)
            first.append(position)
        row_of.append(rows[key])
    return np.array(first), np.array(row_of)


def _right_pairs(
    examples: Sequence[Example], owner: NDArray[np.int64], text_row: NDArray[np.int64]
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Right images of every distinct text, and right distinct texts of every image."""
    members: dict[str, list[int]] = {}
    for image, example in enumerate(examples):
        members.setdefault(example.cluster, []).append(image)
    images: list[set[int]] = [set() for _ in range(int(text_row.max()) + 1)]
    for image, text in zip(owner, text_row, strict=True):
        images[text].update(members[examples[image].cluster])
    texts: list[list[int]] = [[] for _ in examples]
    for text, right in enumerate(images):
        for image in right:
            texts[image].append(text)
    return [np.array(sorted(right)) for right in images], [np.array(rows) for rows in texts]


def _rank_metrics(
    prefix: str, ranks: NDArray[np.int64], owner: NDArray[np.int64], images: int
) -> Metrics:
    values = {f"{prefix}.r@{k}": (ranks < k).astype(np.float64) for k in RECALLS}
    values[f"{prefix}.mrr"] = np.reciprocal(1.0 + ranks.astype(np.float64))
    return {name: per_image(value, owner, images) for name, value in values.items()}


def _chance_metrics(
    prefix: str,
    right: NDArray[np.int64],
    gallery: int,
    owner: NDArray[np.int64],
    images: int,
) -> Metrics:
    values = {f"{prefix}.r@{k}": chance_recall(right, gallery, k) for k in RECALLS}
    values[f"{prefix}.mrr"] = chance_reciprocal_rank(right, gallery)
    return {name: per_image(value, owner, images) for name, value in values.items()}
