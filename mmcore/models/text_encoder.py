"""Text encoders: token ids int64 [B, T] (0 = padding) -> states [B, T, D]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmcore.models.config import TextEncoderConfig
from mmcore.models.layers import TransformerBlock, learned


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
        """Embedded tokens [B, T, D] and mask [B, T] -> [B, T, D]."""
        x = x + self.position[: x.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)


class GruTextEncoder(nn.Module):
    """A bidirectional GRU whose two directions are half as wide as the model."""

    def __init__(self, config: TextEncoderConfig, width: int, dropout: float) -> None:
        super().__init__()
        between = dropout if config.depth > 1 else 0.0
        self.gru = nn.GRU(
            width, width // 2, config.depth, batch_first=True, dropout=between, bidirectional=True
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embedded tokens [B, T, D] and mask [B, T] -> [B, T, D]."""
        lengths = mask.sum(dim=1).clamp_min(1).cpu()
        # recurrent kernels differ in which reduced precisions they know: run them in float32
        with torch.autocast(x.device.type, enabled=False):
            packed = pack_padded_sequence(x.float(), lengths, True, enforce_sorted=False)
            states, _ = pad_packed_sequence(self.gru(packed)[0], True, total_length=x.shape[1])
        return self.norm(states)


def build_text_encoder(config: TextEncoderConfig, width: int, dropout: float) -> nn.Module:
    """The encoder that ``config.kind`` names."""
    kinds = {"transformer": TransformerTextEncoder, "gru": GruTextEncoder}
    return kinds[config.kind](config, width, dropout)
