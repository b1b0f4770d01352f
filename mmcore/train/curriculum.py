"""A training that begins with the labels its sources are surest of (Bengio 2009).

At first only the surer half of each task's labels counts; over a share of the budget the threshold
falls until all do. It is a quantile of the confidences, not a confidence: sources differ in how
sure they ever are, and a task must not wait for labels that do not exist. The progress it goes by
is the one that all ranks agreed on in the step before, so they agree on every weight, and so does
a run that is resumed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmcore.train.batches import Batch
from mmcore.train.data import LabelTable

_AT_FIRST = 0.5  # share of each task's labels that is left out in the beginning


@dataclass(frozen=True)
class Curriculum:
    """share: of the budget, over which the labels come in. The others: float32, the confidences
    above 0 of each task's labels, ascending; an image's tags are as sure as the least sure."""

    share: float
    captions: NDArray[np.float32]
    questions: NDArray[np.float32]
    tags: NDArray[np.float32]
    sentiment: NDArray[np.float32]

    @classmethod
    def of(cls, table: LabelTable, share: float) -> Curriculum:
        """The confidences of these labels."""
        tags = _least(torch.from_numpy(table.tags)).numpy()
        return cls(
            share,
            np.sort(table.caption_weights[table.caption_weights > 0]),
            np.sort(table.question_weights[table.question_weights > 0]),
            np.sort(tags[table.tag_weights > 0]),
            np.sort(table.sentiment_weights[table.sentiment_weights > 0]),
        )

    def __call__(self, batch: Batch, progress: float) -> Batch:
        """The batch with a weight of 0 where a label is not sure enough yet; progress: 0..1."""
        left_out = _AT_FIRST * (1 - progress / self.share) if self.share else 0.0
        if left_out <= 0:
            return batch
        captions, questions = batch.caption_weight, batch.question_weight
        tags, sentiment = _least(batch.tags), batch.sentiment_weight
        least, more = _threshold(self.captions, left_out), batch.more_weight
        return replace(
            batch,
            caption_weight=captions * (captions >= least),
            more_weight=more * (more >= least),
            question_weight=questions * (questions >= _threshold(self.questions, left_out)),
            tag_weight=batch.tag_weight * (tags >= _threshold(self.tags, left_out)),
            sentiment_weight=sentiment * (sentiment >= _threshold(self.sentiment, left_out)),
        )


def _threshold(confidences: NDArray[np.float32], left_out: float) -> float:
    """A confidence that occurs, so that of labels that are all alike none is left out; every step
    asks, and they are sorted already."""
    if not len(confidences):
        return 0.0
    return float(confidences[int((len(confidences) - 1) * left_out)])


def _least(tags: Tensor) -> Tensor:
    """Confidences [N, V], 0 where there is no such tag -> the least above 0 [N]; inf without."""
    return torch.where(tags > 0, tags, torch.full_like(tags, torch.inf)).amin(dim=1)
