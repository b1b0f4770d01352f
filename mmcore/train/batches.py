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
from mmcore.train.data import LabelTable
from mmcore.train.samples import Samples

AUGMENT_COLUMNS = 24


@dataclass(frozen=True)
class Batch:
    """One rank's share of a step: B samples, Q questions about them.

    pixels uint8 [B, 3, S, S]; captions [B, T], caption_weight [B] (0: no caption),
    caption_text [B] (a hash of the text), language [B]; more_captions [M, T], more_weight [M],
    more_text [M]: M = (captions - 1) * B further captions, first one of every sample, then another
    of every sample ...; questions [U, T] (distinct ones),
    question_text [Q] (row of the question), question_image [Q] (row of the sample), answer [Q],
    question_weight [Q]; tags [B, V], tag_weight [B]; sentiment [B], sentiment_weight [B];
    cluster [B]; image_weight [B] (0: the picture cannot be read, or is here for some tasks only);
    sides, colours bool [B], whether texts of the sample tell left from right or name colours;
    uniform float32 [B, AUGMENT_COLUMNS] in [0, 1); number [B], the samples' numbers.
    """

    pixels: Tensor
    captions: Tensor
    caption_weight: Tensor
    caption_text: Tensor
    language: Tensor
    more_captions: Tensor
    more_weight: Tensor
    more_text: Tensor
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
    sides: Tensor
    colours: Tensor
    uniform: Tensor
    number: Tensor

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


def make_batch(
    samples: Samples, seed: int, start: int, stop: int, questions: int, captions: int = 1
) -> Batch:
    """The visits at positions start..stop-1 of the stream, each with up to ``questions`` and
    ``captions``."""
    visits = samples.order.slice(start, stop)
    found = samples.read(visits)
    table = found.labels
    positions = np.arange(start, stop)
    uniform = uniforms(seed, positions, 3, AUGMENT_COLUMNS).astype(np.float32)
    return Batch(
        pixels=torch.from_numpy(found.pixels).permute(0, 3, 1, 2),
        **_captions(table, seed, positions, captions),
        **_questions(table, seed, positions, questions),
        tags=torch.from_numpy(table.tags),
        tag_weight=torch.from_numpy(table.tag_weights),
        sentiment=torch.from_numpy(table.sentiment.astype(np.int64)),
        sentiment_weight=torch.from_numpy(table.sentiment_weights),
        cluster=torch.from_numpy(table.clusters),
        image_weight=torch.from_numpy(found.image_weights),
        sides=torch.from_numpy(table.sides),
        colours=torch.from_numpy(table.colours),
        uniform=torch.from_numpy(uniform),
        number=torch.tensor(visits.samples),
    )


def _captions(
    table: LabelTable, seed: int, positions: NDArray[np.int64], most: int
) -> dict[str, Tensor]:
    """The caption fields of a batch."""
    weights = table.caption_weights
    chosen, used = _ranked(weights, uniforms(seed, positions, 1, weights.shape[1]), most)
    row = np.arange(len(positions))[:, None]
    # [captions, B], so that the first of every sample stand together
    text = np.where(used, table.captions[row, chosen], 0).T.astype(np.int64)
    weight = (weights[row, chosen] * used).T
    identity = table.texts.identity[text]
    fields = {
        "captions": table.texts.rows(text[0]),
        "caption_weight": weight[0],
        "caption_text": identity[0],
        "language": table.caption_languages[row[:, 0], chosen[:, 0]].astype(np.int64),
        "more_captions": table.texts.rows(text[1:].ravel()),
        "more_weight": weight[1:].ravel(),
        "more_text": identity[1:].ravel(),
    }
    return {name: torch.from_numpy(values) for name, values in fields.items()}


def _questions(
    table: LabelTable, seed: int, positions: NDArray[np.int64], most: int
) -> dict[str, Tensor]:
    """The question fields of a batch."""
    weights = table.question_weights
    row, asked = _choose_some(weights, uniforms(seed, positions, 2, weights.shape[1]), most)
    # many pictures are asked the same: a question is encoded once a batch
    question = table.questions[row, asked].astype(np.int64)
    identity = table.texts.identity[question]
    _, first, which = np.unique(identity, return_index=True, return_inverse=True)
    fields = {
        "questions": table.texts.rows(question[first]),
        "question_text": which.astype(np.int64),
        "question_image": row,
        "answer": table.answers[row, asked].astype(np.int64),
        "question_weight": weights[row, asked],
    }
    return {name: torch.from_numpy(values) for name, values in fields.items()}


def _ranked(
    weights: NDArray[np.float32], u: NDArray[np.float64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """``most`` distinct columns of each row of weights [B, C] in a random order in which heavier
    ones tend to come first (exponential clocks): the first is drawn by weight.

    Returns columns int64 [B, most] and which of them have a weight, bool [B, most].
    """
    with np.errstate(divide="ignore"):
        keys = np.where(weights > 0, -np.log1p(-u) / weights, np.inf)
    order = np.argsort(keys, axis=1, kind="stable")[:, :most]
    used = np.isfinite(np.take_along_axis(keys, order, axis=1))
    missing = most - order.shape[1]
    if missing > 0:
        order, used = (np.pad(part, ((0, 0), (0, missing))) for part in (order, used))
    return order, used


def _choose_some(
    weights: NDArray[np.float32], u: NDArray[np.float64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Up to ``most`` distinct columns of each row, by weight: the rows [Q] and the columns [Q]."""
    order, used = _ranked(weights, u, most)
    rows = np.broadcast_to(np.arange(len(weights))[:, None], order.shape)
    return rows[used].astype(np.int64), order[used].astype(np.int64)
