"""Contrastive losses over the global batch with known false negatives left out: two samples of one
cluster, or with the very same caption, are not negatives.

Softmax (InfoNCE, arXiv:1807.03748), with a teacher's softer targets where asked (ALBEF,
arXiv:2107.07651), or sigmoid (SigLIP, arXiv:2303.15343).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcore.train.ranks import Ranks


class SoftTargets(NamedTuple):
    """A teacher's opinion on the same pairs: unit embeddings float32 [B, E] without gradient, the
    scale of their products, and the share of the target that it decides, 0..1."""

    image: Tensor
    text: Tensor
    scale: Tensor
    share: float


def same_meaning(cluster_a: Tensor, text_a: Tensor, cluster_b: Tensor, text_b: Tensor) -> Tensor:
    """bool [A, B]: same cluster, or same caption text."""
    clusters = cluster_a[:, None] == cluster_b[None]
    return clusters | (text_a[:, None] == text_b[None])


def contrastive_sum(
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    weight: Tensor,
    cluster: Tensor,
    caption_text: Tensor,
    ranks: Ranks,
    *,
    bias: Tensor | None = None,
    soft: SoftTargets | None = None,
) -> Tensor:
    """Weighted sum over this rank's B samples of the mean of both directions' loss.

    image, text: unit float32 [B, E], or any two modalities; weight [B], 0 leaves a sample out, as
    row and as negative; cluster, caption_text: int64 [B]. Without ``bias`` the softmax loss; with
    it (a scalar, 0 at the start) the sigmoid loss, whose offset is then log(1/B) + bias. Summed
    over ranks and divided by the global weight it is the loss of one big batch, and so are its
    gradients.
    """
    left_out, own = _left_out(weight, cluster, caption_text, ranks)
    images, texts = _gather_both(image, text, ranks)
    to_text, to_image = scale * image @ texts.T, scale * text @ images.T
    if bias is not None:
        offset = bias - math.log(to_text.shape[1])
        losses = [_sigmoid(logits + offset, left_out, own) for logits in (to_text, to_image)]
    elif soft is None or soft.share <= 0:
        losses = [
            F.cross_entropy(logits.masked_fill(left_out, -torch.inf), own, reduction="none")
            for logits in (to_text, to_image)
        ]
    else:
        targets = _soft_targets(soft, left_out, own, ranks)
        losses = [
            _soft_cross_entropy(logits.masked_fill(left_out, -torch.inf), target)
            for logits, target in zip((to_text, to_image), targets, strict=True)
        ]
    return ((losses[0] + losses[1]) / 2 * weight).sum()


def _gather_both(image: Tensor, text: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Both sides' rows of all ranks, in one message."""
    if ranks.world == 1:
        return image, text
    images, texts = ranks.gather(torch.cat([image, text], dim=1)).chunk(2, dim=1)
    return images, texts


def _left_out(
    weight: Tensor, cluster: Tensor, caption_text: Tensor, ranks: Ranks
) -> tuple[Tensor, Tensor]:
    """Pairs that are no negatives, bool [B, G] (G: rows of all ranks), and each row's own column
    [B]."""
    valid, clusters, texts = ranks.gather(
        torch.stack([(weight > 0).long(), cluster, caption_text], dim=1)
    ).unbind(dim=1)
    batch = len(weight)
    rows = torch.arange(batch, device=weight.device)
    own = rows + sum(ranks.sizes(batch)[: ranks.rank])
    left_out = same_meaning(cluster, caption_text, clusters, texts)
    left_out = left_out | (valid == 0)[None]
    left_out[rows, own] = False
    return left_out, own


def _sigmoid(logits: Tensor, left_out: Tensor, own: Tensor) -> Tensor:
    """Every pair on its own: is it one? Sum over the columns -> [B]."""
    sign = -torch.ones_like(logits)
    sign[torch.arange(len(own), device=own.device), own] = 1
    return -F.logsigmoid(sign * logits).masked_fill(left_out, 0).sum(dim=1)


@torch.no_grad()
def _soft_targets(soft: SoftTargets, left_out: Tensor, own: Tensor, ranks: Ranks) -> list[Tensor]:
    """Both directions' target distributions, float32 [B, G]."""
    hard = F.one_hot(own, left_out.shape[1]).float()
    images, texts = _gather_both(soft.image, soft.text, ranks)
    logits = [soft.scale * soft.image @ texts.T, soft.scale * soft.text @ images.T]
    opinions = [part.masked_fill(left_out, -torch.inf).softmax(dim=1) for part in logits]
    return [soft.share * opinion + (1 - soft.share) * hard for opinion in opinions]


def _soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with a distribution that is 0 where the logit is -inf -> [B]."""
    log_chances = logits.log_softmax(dim=1)
    return -(target * log_chances.masked_fill(target == 0, 0)).sum(dim=1)


@torch.no_grad()
def hard_negatives(
    similarity: Tensor, weight: Tensor, cluster: Tensor, caption_text: Tensor, u: Tensor
) -> tuple[Tensor, Tensor]:
    """For each image a caption of another sample, likelier the more similar (ALBEF,
    arXiv:2107.07651).

    similarity: logits float32 [B, B]; u: uniform [B]. Returns row numbers [B] and which of them
    are usable, bool [B] (a batch may hold no negative for a row).
    """
    forbidden = same_meaning(cluster, caption_text, cluster, caption_text)
    forbidden = forbidden | (weight <= 0)[None]
    usable = ~forbidden.all(dim=1) & (weight > 0)
    chances = similarity.masked_fill(forbidden, -torch.inf).softmax(dim=1).nan_to_num(0.0)
    total = chances.cumsum(dim=1)
    chosen = (total <= (u * total[:, -1])[:, None]).sum(dim=1).clamp_max(len(similarity) - 1)
    return chosen, usable
