"""Masked text: the text encoder guesses hidden tokens from the rest (BERT, arXiv:1810.04805)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcore.models.config import EOS, MASK
from mmcore.models.fusion_model import FusionModel
from mmcore.models.layers import full_precision

_SHARE = 0.15
_GOLDEN = 0.6180339887


def hidden_places(ids: Tensor, u: Tensor) -> Tensor:
    """Which tokens of ids [B, T] are hidden, bool [B, T]; never BOS, EOS or PAD.

    u: uniform [B]; the golden ratio spreads the hidden tokens of a text evenly over it.
    """
    places = torch.arange(ids.shape[1], device=ids.device, dtype=torch.float64)
    chances = (u.double()[:, None] + places * _GOLDEN) % 1.0
    return (chances < _SHARE) & (ids > EOS)


def masked_text_sum(model: FusionModel, ids: Tensor, weight: Tensor, u: Tensor) -> Tensor:
    """Cross-entropy of the hidden tokens, weighted with their text's weight [B]: a scalar sum."""
    hidden = hidden_places(ids, u) & (weight > 0)[:, None]
    encoded = model.encode_text(ids.masked_fill(hidden, MASK), whole=True)
    logits = full_precision(F.linear(encoded.tokens[hidden], model.token_embedding.weight))
    losses = F.cross_entropy(logits, ids[hidden], reduction="none")
    return (losses * weight[:, None].expand_as(ids)[hidden]).sum()
