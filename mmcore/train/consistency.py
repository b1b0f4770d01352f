"""Learning tags and sentiment from pictures without such labels (FixMatch, arXiv:2001.07685).

Where the model is sure about a lightly changed picture, it shall say the same of a strongly
changed one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcore.models.fusion_model import FusionModel
from mmcore.models.layers import Encoded

STRENGTH = 2.5  # of the strong view's augmentation


def unlabelled(tag_weight: Tensor, sentiment_weight: Tensor, image_weight: Tensor) -> Tensor:
    """1 for each label a sample lacks: float32 [2, B], tags and sentiment; all weights [B].

    0 where the image's own weight is 0: it cannot be read, or it is here once more for another
    task and its labels are only hidden.
    """
    return (torch.stack([tag_weight <= 0, sentiment_weight <= 0]) & (image_weight > 0)).float()


def consistency_sum(
    model: FusionModel, weak: Encoded, strong: Encoded, missing: Tensor, threshold: float
) -> Tensor:
    """Loss of the strong views [B] against what the model is sure of in the weak ones.

    missing: as ``unlabelled`` gives; threshold: the least probability that counts as sure, of a
    tag's presence or absence, or of a sentiment. A scalar sum over samples; those of which the
    model is not sure add 0.
    """
    sure_tags, tags, sure_feeling, feeling = _opinions(model, weak, threshold)
    fused = model.fuse(model.missing("text", len(strong.pooled)), strong)
    by_tag = F.binary_cross_entropy_with_logits(model.tagging(fused), tags, reduction="none")
    tag_losses = (by_tag * sure_tags).mean(dim=1)
    feelings = F.cross_entropy(model.feeling(fused), feeling, reduction="none") * sure_feeling
    return (torch.stack([tag_losses, feelings]) * missing).sum()


@torch.no_grad()
def _opinions(
    model: FusionModel, weak: Encoded, threshold: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    fused = model.fuse(model.missing("text", len(weak.pooled)), weak)
    tags = model.tagging(fused).sigmoid()
    chances, feeling = model.feeling(fused).softmax(dim=1).max(dim=1)
    sure_tags = torch.maximum(tags, 1 - tags) >= threshold
    return sure_tags.float(), (tags > 0.5).float(), (chances >= threshold).float(), feeling
