"""From a place in the global sample stream to the tensors of one training step.

Everything random about a visit (which caption, which questions, which augmentation) is a hash of
the seed and the visit's position in the stream, so it does not depend on the number of ranks and a
resumed run repeats it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmcore.models.config import BOS, EOS
from mmcore.shards.order import mix64
from mmcore.train.samples import Samples

AUGMENT_COLUMNS = 16


@dataclass(frozen=True)
class Batch:
    """One rank's share of a step: B samples, Q questions about them.

    pixels uint8 [B, 3, S, S]; captions [B, T], caption_weight [B] (0: no caption),
    caption_text [B] (a hash of the text), language [B]; questions [U, T] (distinct ones),
    question_text [Q] (row of the question), question_image [Q] (row of the sample), answer [Q],
    question_weight [Q]; tags [B, V], tag_weight [B]; sentiment [B], sentiment_weight [B];
    cluster [B]; image_weight [B] (0: the picture cannot be read, or is here for some tasks only);
    uniform float32 [B, AUGMENT_COLUMNS] in [0, 1).
    """

    pixels: Tensor
    captions: Tensor
    caption_weight: Tensor
    caption_text: Tensor
    language: Tensor
    questions: Tensor
    question_text: Tensor
    question_image: Tensor
    answer: Tensor
    question_weight: Tensor
    tags: Tensor
    tag_weight: Tensor
    sentiment: Tensor
    sentiment_weight: Tensor
    cluster: Tensor
    image_weight: Tensor
    uniform: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        if device.type == "cpu":
            return self
        return Batch(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))

    def with_a_question(self) -> Batch:
        """The same batch; if it has no question, with one of weight 0 about its first picture."""
        if len(self.answer):
            return self
        return replace(
            self,
            questions=self.questions.new_tensor([[BOS, EOS]]),
            question_text=self.question_text.new_zeros(1),
            question_image=self.question_image.new_zeros(1),
            answer=self.answer.new_zeros(1),
            question_weight=self.question_weight.new_zeros(1),
        )


def uniforms(
    seed: int, positions: NDArray[np.int64], salt: int, columns: int
) -> NDArray[np.float64]:
    """Hashed numbers in [0, 1): float64 [len(positions), columns]."""
    key = mix64(np.array([seed % 2**63], np.uint64)) ^ mix64(np.array([salt], np.uint64))
    visit = mix64(positions.astype(np.uint64) ^ key)
    bits = mix64(visit[:, None] ^ mix64(np.arange(columns, dtype=np.uint64))[None])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def make_batch(samples: Samples, seed: int, start: int, stop: int, questions: int) -> Batch:
    """The visits at positions start..stop-1 of the stream, each with up to ``questions``."""
    found = samples.read(samples.order.slice(start, stop))
    table = found.labels
    positions = np.arange(start, stop)
    caption = _choose_one(table.caption_weights, uniforms(seed, positions, 1, 1)[:, 0])
    row = np.arange(len(positions))
    text = table.captions[row, caption].astype(np.int64)
    weights = table.question_weights
    asked_row, asked = _choose_some(
        weights, uniforms(seed, positions, 2, weights.shape[1]), questions
    )
    # many pictures are asked the same: a question is encoded once a batch
    question = table.questions[asked_row, asked].astype(np.int64)
    identity = table.texts.identity[question]
    _, first, which = np.unique(identity, return_index=True, return_inverse=True)
    uniform = uniforms(seed, positions, 3, AUGMENT_COLUMNS).astype(np.float32)
    return Batch(
        pixels=torch.from_numpy(found.pixels).permute(0, 3, 1, 2),
        captions=torch.from_numpy(table.texts.rows(text)),
        caption_weight=torch.from_numpy(table.caption_weights[row, caption]),
        caption_text=torch.from_numpy(table.texts.identity[text]),
        language=torch.from_numpy(table.caption_languages[row, caption].astype(np.int64)),
        questions=torch.from_numpy(table.texts.rows(question[first])),
        question_text=torch.from_numpy(which.astype(np.int64)),
        question_image=torch.from_numpy(asked_row),
        answer=torch.from_numpy(table.answers[asked_row, asked].astype(np.int64)),
        question_weight=torch.from_numpy(weights[asked_row, asked]),
        tags=torch.from_numpy(table.tags),
        tag_weight=torch.from_numpy(table.tag_weights),
        sentiment=torch.from_numpy(table.sentiment.astype(np.int64)),
        sentiment_weight=torch.from_numpy(table.sentiment_weights),
        cluster=torch.from_numpy(table.clusters),
        image_weight=torch.from_numpy(found.image_weights),
        uniform=torch.from_numpy(uniform),
    )


def _choose_one(weights: NDArray[np.float32], u: NDArray[np.float64]) -> NDArray[np.int64]:
    """A column of each row of weights [B, C], by weight; column 0 where all are 0."""
    total = np.cumsum(weights, axis=1, dtype=np.float64)
    chosen = (total <= (u * total[:, -1])[:, None]).sum(axis=1)
    return np.where(total[:, -1] > 0, np.minimum(chosen, weights.shape[1] - 1), 0)


def _choose_some(
    weights: NDArray[np.float32], u: NDArray[np.float64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Up to ``most`` distinct columns of each row, by weight (exponential-clock sampling).

    Returns the rows [Q] and the columns [Q].
    """
    with np.errstate(divide="ignore"):
        keys = np.where(weights > 0, -np.log1p(-u) / weights, np.inf)
    order = np.argsort(keys, axis=1, kind="stable")[:, :most]
    used = np.isfinite(np.take_along_axis(keys, order, axis=1))
    rows = np.broadcast_to(np.arange(len(weights))[:, None], order.shape)
    return rows[used].astype(np.int64), order[used].astype(np.int64)
