"""Contrastive loss over the global batch (InfoNCE, arXiv:1807.03748) with known false negatives
left out: two samples of one cluster, or with the very same caption, are not negatives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcore.train.ranks import Ranks


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
) -> Tensor:
    """Weighted sum over this rank's B samples of the mean of both directions' cross-entropy.

    image, text: unit float32 [B, E]; weight [B], 0 leaves a sample out, as row and as negative;
    cluster, caption_text: int64 [B]. Summed over ranks and divided by the global weight it is the
    loss of one big batch, and so are its gradients.
    """
    images, texts = ranks.gather(image), ranks.gather(text)
    weights, clusters = ranks.gather(weight), ranks.gather(cluster)
    caption_texts = ranks.gather(caption_text)
    batch = len(image)
    own = torch.arange(batch, device=image.device) + ranks.rank * batch
    left_out = same_meaning(cluster, caption_text, clusters, caption_texts)
    left_out = left_out | (weights <= 0)[None]
    left_out[torch.arange(batch, device=image.device), own] = False
    to_text = (scale * image @ texts.T).masked_fill(left_out, -torch.inf)
    to_image = (scale * text @ images.T).masked_fill(left_out, -torch.inf)
    losses = F.cross_entropy(to_text, own, reduction="none")
    losses = (losses + F.cross_entropy(to_image, own, reduction="none")) / 2
    return (losses * weight).sum()


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
