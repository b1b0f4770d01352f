"""How much each task's loss counts: against the loss of a guess, and by learned uncertainty."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmcore.models.config import ModelConfig
from mmcore.models.fusion_model import FusionModel
from mmcore.train.settings import LoopSettings

BIAS, LOG_VARIANCE = "contrastive_bias", "log_variance"


def guess_losses(
    config: ModelConfig, global_batch: int, tag_rates: Tensor, contrastive: str = "softmax"
) -> dict[str, float]:
    """The loss of a model that knows only how common each class is, per task.

    tag_rates: share of the samples that have each tag, float [V].
    """
    p = tag_rates.double().clamp(1e-4, 1 - 1e-4)
    entropy = -(p * p.log() + (1 - p) * (1 - p).log())
    batch = max(2, global_batch)
    # sigmoid: one pair in B is one, and each of the others is told apart on its own
    others = -(batch - 1) * math.log(1 - 1 / batch) if contrastive == "sigmoid" else 0.0
    return {
        "reconstruction": 1.0,
        "contrastive": math.log(batch) + others,
        "matching": math.log(2),
        "caption": math.log(config.vocab_size),
        "vqa": math.log(max(2, config.answers)),
        "tags": float(entropy.mean().clamp_min(0.05)),
        "sentiment": math.log(3),
        "local_tags": float(entropy.mean().clamp_min(0.05)),
        "generative_vqa": math.log(config.vocab_size),
        "masked_text": math.log(config.vocab_size),
        "consistency": 1.0,
    }


def add_training_parameters(model: FusionModel, settings: LoopSettings, tasks: int) -> None:
    """Give the model the values that only its training needs, where the settings ask for them.

    They live in the model, so that optimizer, average and checkpoint treat them like the rest;
    artifacts leave them out.
    """
    device = model.token_embedding.weight.device
    if settings.contrastive_loss == "sigmoid":
        model.training_only[BIAS] = nn.Parameter(torch.zeros((), device=device))
    if settings.uncertainty_weighting:
        model.training_only[LOG_VARIANCE] = nn.Parameter(torch.zeros(tasks, device=device))


def total_loss(
    relative: Tensor, weights: Tensor, present: Tensor, model: FusionModel, share: float
) -> Tensor:
    """The scalar to minimise from the tasks' losses, float32 [T], each relative to a guess.

    The weighted sum; with learned uncertainty each loss is divided by its variance and pays for
    its logarithm, exp(-s) L + s (Kendall 2018, arXiv:1705.07115, with s twice theirs), so that a
    task which cannot be learned further counts the less. present: bool [T], tasks with a label in
    the global batch. share: this call's part of the step, so that s is paid once.
    """
    if LOG_VARIANCE not in model.training_only:
        return (weights * relative).sum()
    s = model.training_only[LOG_VARIANCE]
    paid = torch.where(present & (weights > 0), s, torch.zeros_like(s))
    return (weights * (torch.exp(-s) * relative + share * paid)).sum()
