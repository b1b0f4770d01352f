"""Fine-tuning with few labels: the heads first, then everything, gently (LP-FT).

A head with new rows begins at random and would pull good features out of shape while it learns, so
the heads are fitted to frozen features before the rest may move (Kumar 2022, arXiv:2202.10054).
Tags that the new labels do not speak of keep what the model thought of them: its own opinion of
the pictures stands in their place (learning without forgetting, arXiv:1606.09282).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from mmcore.errors import UserError
from mmcore.models.artifact import Artifact
from mmcore.models.fusion_model import FusionModel, normalise_pixels
from mmcore.models.images import decode_images
from mmcore.models.labels import UNKNOWN_LANGUAGE, Labels
from mmcore.models.predictor import Predictor
from mmcore.shards.order import SampleOrder
from mmcore.train.batches import Batch, make_batch
from mmcore.train.data import LabelTable, build_table
from mmcore.train.loop import Trainer
from mmcore.train.samples import MemorySamples
from mmcore.train.settings import LoopSettings, LossWeights
from mmcore.train.vocabulary import build_labels
from mmcore.train.warm_start import warm_start

_HEADS = ("answering", "tagging", "local_tagging", "feeling")
_CHUNK = 64


class FinetuneSettings(BaseModel):
    """How a model is taught a few labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    probe_steps: int = Field(300, ge=0, description="steps in which only the heads learn")
    probe_lr: float = Field(3e-3, gt=0, description="learning rate of the heads")
    steps: int = Field(200, ge=0, description="steps in which all weights learn")
    lr: float = Field(1e-4, gt=0, description="learning rate of all weights; AdamW")
    batch_size: int = Field(
        32, ge=2, description="samples of one step of all weights; fewer where there are less"
    )
    minutes: float = Field(5.0, gt=0, description="most wall-clock time of the second part")
    seed: int = Field(0, ge=0, description="seed of the order, the new rows and the augmentation")


def finetune(
    folder: Path,
    start: Artifact,
    pictures: Sequence[bytes],
    records: Sequence[dict[str, Any]],
    settings: FinetuneSettings,
) -> Artifact:
    """The model in ``folder``, loaded as ``start``, taught the labels of some pictures; its own
    labels are those of before with the new names behind them.

    records: labels of each picture, as the JSON of a shard has them (captions, qa, tags,
    sentiment). `UserError` where none has a label, or a picture cannot be decoded.
    """
    if start.tower is not None:
        raise UserError(
            "A model on a frozen tower cannot be fine-tuned on pictures: choose one that reads "
            "pixels (image.kind other than tower)."
        )
    labels = extended(start.labels, records)
    model = _begin(folder, start, labels, settings.seed)
    pixels = decode_images(list(pictures), model.config.image.size)
    table = build_table(records, labels, start.tokenizer, model.config.text.max_tokens)
    _check_labels(table)
    table = keep_opinions(table, labels, start, pixels, records)
    weights = _weights(table)
    order = SampleOrder(np.array([len(table)]), settings.seed)
    samples = MemorySamples(table, lambda numbers: pixels[numbers], order)
    if settings.probe_steps:
        probe(model, samples, settings)
    if settings.steps:
        model = _tune(model, samples, weights, settings)
    return Artifact(model.eval(), labels, start.tokenizer)


def extended(known: Labels, records: Sequence[dict[str, Any]]) -> Labels:
    """The vocabularies with what the records add behind them; a caption without a language adds
    none, it counts as one of the first."""
    most = len(records) * _CHUNK + 1
    found = build_labels(records, 1, 1, most, most)
    answers = tuple(name for name in found.answers if name not in set(known.answers))
    tags = tuple(name for name in found.tags if name not in set(known.tags))
    spoken = {*known.languages, UNKNOWN_LANGUAGE}
    languages = tuple(name for name in found.languages if name not in spoken)
    return known.model_copy(
        update={
            "answers": (*known.answers, *answers),
            "tags": (*known.tags, *tags),
            "languages": (*known.languages, *languages),
        }
    )


def keep_opinions(
    table: LabelTable,
    labels: Labels,
    start: Artifact,
    pixels: NDArray[np.uint8],
    records: Sequence[dict[str, Any]],
) -> LabelTable:
    """The labels with the old model's probability of every tag that no record names; where no tag
    is named at all, every picture counts."""
    named = {tag["tag"] for record in records for tag in record.get("tags") or ()}
    kept = [n for n, tag in enumerate(start.labels.tags) if tag not in named]
    if not kept:
        return table
    asked = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    opinions = Predictor(start).tags(asked)
    tags = table.tags.copy()
    tags[:, kept] = opinions[:, kept]
    weights = table.tag_weights if named else np.ones_like(table.tag_weights)
    return replace(table, tags=tags, tag_weights=weights)


def _begin(folder: Path, start: Artifact, labels: Labels, seed: int) -> FusionModel:
    torch.manual_seed(seed)
    sizes = {
        "answers": max(1, len(labels.answers)),
        "tags": max(1, len(labels.tags)),
        "languages": len(labels.languages),
    }
    model = FusionModel(start.model.config.model_copy(update=sizes))
    warm_start(model, labels, start.tokenizer, folder)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _check_labels(table: LabelTable) -> None:
    kinds = (table.caption_weights, table.question_weights, table.tag_weights)
    if not any(weights.any() for weights in (*kinds, table.sentiment_weights)):
        raise UserError("There is nothing to learn: no line has captions, qa, tags or sentiment.")


def _weights(table: LabelTable) -> LossWeights:
    """The losses there are labels for, as much as they count by default."""
    usual = LossWeights()
    captions = bool(table.caption_weights.any())
    tags = bool(table.tag_weights.any())
    has = {
        "contrastive": captions,
        "matching": captions,
        "caption": captions,
        "vqa": bool(table.question_weights.any()),
        "tags": tags,
        "local_tags": tags,
        "sentiment": bool(table.sentiment_weights.any()),
    }
    chosen = {task: getattr(usual, task) if there else 0.0 for task, there in has.items()}
    return LossWeights(reconstruction=0.0, **chosen)


@dataclass(frozen=True)
class _Features:
    """What a frozen model makes of all samples: fused and strongest place [N, D], asked [Q, D]."""

    fused: Tensor
    local: Tensor
    asked: Tensor
    batch: Batch


@torch.no_grad()
def _features(model: FusionModel, samples: MemorySamples, seed: int) -> _Features:
    model.eval()
    batch = make_batch(samples, seed, 0, len(samples), _CHUNK)  # one epoch: every sample once
    images, fused, asked = [], [], []
    text = model.encode_text(batch.questions) if len(batch.questions) else None
    for start in range(0, len(samples), _CHUNK):
        rows = slice(start, start + _CHUNK)
        image = model.encode_image(normalise_pixels(batch.pixels[rows]))
        images.append(image.tokens.amax(dim=1))
        fused.append(model.fuse(model.missing("text", len(image.pooled)), image))
        mine = (batch.question_image >= start) & (batch.question_image < start + _CHUNK)
        if text is not None and mine.any():
            index = batch.question_image[mine] - start
            asked.append(model.fuse(text, image, index, batch.question_text[mine]))
    none = fused[0].new_zeros(0, fused[0].shape[1])
    return _Features(torch.cat(fused), torch.cat(images), torch.cat([none, *asked]), batch)


def probe(model: FusionModel, samples: MemorySamples, settings: FinetuneSettings) -> None:
    """Fit the heads to the features of the frozen rest, in place: seconds, since the pictures are
    encoded once."""
    features = _features(model, samples, settings.seed)
    heads = [p for name in _HEADS for p in getattr(model, name).parameters()]
    optimizer = torch.optim.AdamW(heads, settings.probe_lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.probe_steps)
    for _ in range(settings.probe_steps):  # of all samples: few, and already encoded
        optimizer.zero_grad()
        _probe_loss(model, features).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _probe_loss(model: FusionModel, found: _Features) -> Tensor:
    batch = found.batch
    feelings = F.cross_entropy(model.feeling(found.fused), batch.sentiment, reduction="none")
    losses = [
        _mean(_tag_losses(model.tagging(found.fused), batch), batch.tag_weight),
        _mean(_tag_losses(model.local_tagging(found.local), batch), batch.tag_weight),
        _mean(feelings, batch.sentiment_weight),
    ]
    if len(found.asked):
        answers = F.cross_entropy(model.answering(found.asked), batch.answer, reduction="none")
        losses.append(_mean(answers, batch.question_weight))
    return torch.stack(losses).sum()


def _tag_losses(logits: Tensor, batch: Batch) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, batch.tags, reduction="none").sum(dim=1)


def _mean(losses: Tensor, weights: Tensor) -> Tensor:
    return (losses * weights).sum() / weights.sum().clamp_min(1e-6)


def _tune(
    model: FusionModel, samples: MemorySamples, weights: LossWeights, settings: FinetuneSettings
) -> FusionModel:
    """All weights at a small learning rate; returns their moving average."""
    batch_size = max(2, min(settings.batch_size, len(samples)))
    loop = LoopSettings(
        budget_minutes=settings.minutes,
        max_epochs=settings.steps * batch_size / len(samples),
        batch_size=batch_size,
        optimizer="adamw",
        lr=settings.lr,
        warmup=0.1,
        ema=0.9,
        validations=0,
        checkpoint_minutes=1e9,
        loss_weights=weights,
    )
    trainer = Trainer(model, samples, loop, settings.seed)
    trainer.fit()
    return trainer.ema.model
