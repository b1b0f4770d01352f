"""Text encoders: token ids int64 [B, T] (0 = padding) -> states [B, T, D]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmcore.models.attention import Packing, packed, padded
from mmcore.models.backbone import TransformersTextEncoder
from mmcore.models.config import EOS, MASK, TextEncoderConfig
from mmcore.models.layers import TransformerBlock, full_precision, learned


class TransformerTextEncoder(nn.Module):
    """Learned positions and bidirectional transformer blocks."""

    def __init__(self, config: TextEncoderConfig, width: int, dropout: float) -> None:
        super().__init__()
        self.position = learned(config.max_tokens, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, config.heads, dropout=dropout) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embedded tokens [B, T, D] and mask [B, T] -> [B, T, D], of use where mask is True."""
        packing = Packing.without_padding(mask)
        x = packed(x + self.position[: x.shape[1]], packing)
        for block in self.blocks:
            x = block(x, mask, packing=packing)
        return padded(self.norm(x), packing)


class RecurrentTextEncoder(nn.Module):
    """A bidirectional GRU or LSTM whose two directions are half as wide as the model."""

    def __init__(self, config: TextEncoderConfig, width: int, dropout: float) -> None:
        super().__init__()
        layer = nn.GRU if config.kind == "gru" else nn.LSTM
        between = dropout if config.depth > 1 else 0.0
        made = layer(
            width, width // 2, config.depth, batch_first=True, dropout=between, bidirectional=True
        )
        self.kind = config.kind  # also the name of the layer, as artifacts have it
        self.add_module(config.kind, made)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embedded tokens [B, T, D] and mask [B, T] -> [B, T, D]."""
        layer = self.get_submodule(self.kind)
        lengths = mask.sum(dim=1).clamp_min(1).cpu()
        # recurrent kernels differ in which reduced precisions they know: run them in float32
        with torch.autocast(x.device.type, enabled=False):
            full = full_precision(x)
            packed = pack_padded_sequence(full, lengths, True, enforce_sorted=False)
            states, _ = pad_packed_sequence(layer(packed)[0], True, total_length=x.shape[1])
        return self.norm(states)


class BagTextEncoder(nn.Module):
    """Every token on its own: what a text says, but not in which order.

    From a few thousand texts it learns words that hold for pictures never seen, where a transformer
    learns the texts by heart. No norm: with the alignment ``pooled``, which pools what it is given,
    the length of a word's vector says how much the word counts.
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embedded tokens [B, T, D] and mask [B, T] -> [B, T, D]."""
        return x


def hide_words(ids: Tensor, share: float) -> Tensor:
    """Token ids [B, T] with a random ``share`` of the words as MASK; BOS, EOS and PAD stay."""
    hidden = torch.rand(ids.shape, device=ids.device) < share
    return ids.masked_fill(hidden & (ids > EOS), MASK)


def build_text_encoder(config: TextEncoderConfig, width: int, dropout: float) -> nn.Module:
    """The encoder that ``config.kind`` names."""
    if config.kind == "transformer":
        return TransformerTextEncoder(config, width, dropout)
    if config.kind == "bag":
        return BagTextEncoder()
    if config.backbone is not None:
        return TransformersTextEncoder(config, width)
    return RecurrentTextEncoder(config, width, dropout)
