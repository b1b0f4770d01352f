"""The weighted sum of task losses on one batch.

alpha * image reconstruction (MSE) + beta * contrastive, and beside them matching, caption,
questions, tags and sentiment. Every loss is a sum over valid labels, weighted with their
confidence; dividing by the *global* weight and by the loss of a guess (ln B, ln V, ln C ...) makes
1.0 "knows nothing" for each of them, so that weights of one are a fair start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcore.models.config import PAD, ModelConfig
from mmcore.models.fusion_model import FusionModel, normalise_pixels
from mmcore.models.layers import Encoded
from mmcore.train.augment import augment
from mmcore.train.batches import Batch
from mmcore.train.contrastive import contrastive_sum, hard_negatives
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LossWeights

TASKS = (
    "reconstruction",
    "contrastive",
    "matching",
    "caption",
    "vqa",
    "tags",
    "sentiment",
    "local_tags",
)


@dataclass(frozen=True)
class Modes:
    """Shares of the samples that see one modality only, so that the other may be missing.

    blind_questions: questions without their image. text_only, both: what tags and sentiment are
    told from; the rest sees the image alone.
    """

    blind_questions: float = 0.08
    text_only: float = 0.15
    both: float = 0.15


def guess_losses(config: ModelConfig, global_batch: int, tag_rates: Tensor) -> dict[str, float]:
    """The loss of a model that knows only how common each class is, per task.

    tag_rates: share of the samples that have each tag, float [V].
    """
    p = tag_rates.double().clamp(1e-4, 1 - 1e-4)
    entropy = -(p * p.log() + (1 - p) * (1 - p).log())
    return {
        "reconstruction": 1.0,
        "contrastive": math.log(max(2, global_batch)),
        "matching": math.log(2),
        "caption": math.log(config.vocab_size),
        "vqa": math.log(max(2, config.answers)),
        "tags": float(entropy.mean().clamp_min(0.05)),
        "sentiment": math.log(3),
        "local_tags": float(entropy.mean().clamp_min(0.05)),
    }


class Encodings(NamedTuple):
    """What the tasks of one batch share."""

    pixels: Tensor
    image: Encoded
    text: Encoded


class TaskLosses(nn.Module):
    """Runs the model on a batch and sums the loss of every task."""

    def __init__(self, model: FusionModel, weights: LossWeights, modes: Modes) -> None:
        super().__init__()
        self.model = model
        self.weights = weights
        self.modes = modes

    def counts(self, batch: Batch) -> Tensor:
        """Valid weight of each task on this rank's batch, float64 [len(TASKS)]."""
        tokens = (batch.captions[:, 1:] != PAD).sum(dim=1)
        counts = torch.stack(
            [
                batch.image_weight.sum(),
                batch.caption_weight.sum(),
                2 * batch.caption_weight.sum(),
                (tokens * batch.caption_weight).sum(),
                batch.question_weight.sum(),
                batch.tag_weight.sum(),
                batch.sentiment_weight.sum(),
                batch.tag_weight.sum(),
            ]
        )
        return counts.double()

    def forward(self, batch: Batch, strength: float, ranks: Ranks) -> Tensor:
        """Loss sums of the tasks, float32 [len(TASKS)], 0 for one that is switched off."""
        encodings = self._encode(batch, strength)
        image = self.model.embed(encodings.image, "image")
        text = self.model.embed(encodings.text, "text")
        zero = image.new_zeros(())
        on = self.weights
        sums = [
            self._reconstruction(batch, encodings) if on.reconstruction else zero,
            self._contrastive(batch, image, text, ranks) if on.contrastive else zero,
            self._matching(batch, encodings, image, text) if on.matching else zero,
            self._caption(batch, encodings.image) if on.caption else zero,
            self._vqa(batch, encodings.image) if on.vqa else zero,
            *self._tags_and_sentiment(batch, encodings),
            _tag_loss(self.model.local_tags(encodings.image), batch) if on.local_tags else zero,
        ]
        return torch.stack([s.float() for s in sums])

    def _encode(self, batch: Batch, strength: float) -> Encodings:
        pixels = augment(normalise_pixels(batch.pixels), batch.uniform, strength)
        return Encodings(
            pixels, self.model.encode_image(pixels), self.model.encode_text(batch.captions)
        )

    def _reconstruction(self, batch: Batch, encodings: Encodings) -> Tensor:
        target = self.model.reconstruction_target(encodings.pixels)
        picture = self.model.reconstruction(encodings.image.pooled)
        # against the mean colour of the batch a guess has a loss of one
        spread = target.var(dim=(0, 2, 3), keepdim=True).mean().clamp_min(1e-3)
        errors = F.mse_loss(picture, target, reduction="none").mean(dim=(1, 2, 3))
        return (errors * batch.image_weight).sum() / spread

    def _contrastive(self, batch: Batch, image: Tensor, text: Tensor, ranks: Ranks) -> Tensor:
        return contrastive_sum(
            image,
            text,
            self.model.retrieval.scale,
            batch.caption_weight,
            batch.cluster,
            batch.caption_text,
            ranks,
        )

    def _matching(self, batch: Batch, enc: Encodings, image: Tensor, text: Tensor) -> Tensor:
        similarity = self.model.retrieval.scale.detach() * image.detach() @ text.detach().T
        other, usable = hard_negatives(
            similarity,
            batch.caption_weight,
            batch.cluster,
            batch.caption_text,
            batch.uniform[:, 12],
        )
        rows = torch.arange(len(image), device=image.device)
        fused = self.model.fuse(enc.text, enc.image, rows.repeat(2), torch.cat([rows, other]))
        logits = self.model.matching(fused)[:, 0]
        target = torch.cat([torch.ones_like(rows), torch.zeros_like(rows)]).to(logits.dtype)
        weight = batch.caption_weight
        weight = torch.cat([weight, weight * usable])
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (losses * weight).sum()

    def _caption(self, batch: Batch, image: Encoded) -> Tensor:
        ids, following = batch.captions[:, :-1], batch.captions[:, 1:]
        logits = self.model.caption_logits(ids, batch.language, image)
        losses = F.cross_entropy(
            logits.flatten(0, 1), following.flatten(), ignore_index=PAD, reduction="none"
        )
        return (losses.view_as(following).sum(dim=1) * batch.caption_weight).sum()

    def _vqa(self, batch: Batch, image: Encoded) -> Tensor:
        if not len(batch.answer):
            return image.pooled.new_zeros(())
        text = self.model.encode_text(batch.questions)
        context = with_missing(self.model, image)
        place = torch.arange(len(batch.answer), device=image.pooled.device)
        # questions of one image share its random number; the place sets them apart
        blind = (batch.uniform[batch.question_image, 13] + place * 0.618034) % 1.0
        missing = torch.full_like(batch.question_image, len(image.pooled))
        index = torch.where(blind < self.modes.blind_questions, missing, batch.question_image)
        logits = self.model.answering(self.model.fuse(text, context, index, batch.question_text))
        losses = F.cross_entropy(logits, batch.answer, reduction="none")
        return (losses * batch.question_weight).sum()

    def _tags_and_sentiment(self, batch: Batch, enc: Encodings) -> tuple[Tensor, Tensor]:
        zero = enc.image.pooled.new_zeros(())
        if not (self.weights.tags or self.weights.sentiment):
            return zero, zero
        u, modes = batch.uniform[:, 14], self.modes
        has_text = batch.caption_weight > 0
        text_only = (u < modes.text_only) & has_text
        both = (u >= modes.text_only) & (u < modes.text_only + modes.both) & has_text
        rows = torch.arange(len(u), device=u.device)
        index = torch.where(text_only, torch.full_like(rows, len(rows)), rows)
        text = self.model.drop(enc.text, "text", text_only | both)
        fused = self.model.fuse(text, with_missing(self.model, enc.image), index)
        feelings = F.cross_entropy(self.model.feeling(fused), batch.sentiment, reduction="none")
        tags = _tag_loss(self.model.tagging(fused), batch)
        return tags, (feelings * batch.sentiment_weight).sum()


def _tag_loss(logits: Tensor, batch: Batch) -> Tensor:
    losses = F.binary_cross_entropy_with_logits(logits, batch.tags, reduction="none")
    return (losses.mean(dim=1) * batch.tag_weight).sum()


def with_missing(model: FusionModel, image: Encoded) -> Encoded:
    """The batch with one more row at its end that stands for a missing image."""
    missing = model.missing("image", 1)
    tokens = missing.tokens.expand(1, image.tokens.shape[1], -1).to(image.tokens.dtype)
    pooled = missing.pooled.to(image.pooled.dtype)
    return Encoded(torch.cat([image.tokens, tokens]), None, torch.cat([image.pooled, pooled]))
