"""Task heads on top of the encoders and the fusion."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcore.models.attention import Packing, packed, padded
from mmcore.models.config import PAD
from mmcore.models.layers import Encoded, Mlp, TransformerBlock, full_precision, learned

MAX_SCALE = 100.0


class RetrievalHead(nn.Module):
    """Pooled vectors -> unit embeddings, and the learned scale of their dot products.

    The scale starts at 1/0.07 and is kept within [1, 100] (CLIP, arXiv:2103.00020).
    """

    def __init__(self, width: int, embed_dim: int, modalities: tuple[str, ...]) -> None:
        super().__init__()
        self.project = nn.ModuleDict({m: nn.Linear(width, embed_dim) for m in modalities})
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, pooled: Tensor, modality: str) -> Tensor:
        """[B, D] -> float32 [B, E] of length 1."""
        return F.normalize(full_precision(self.project[modality](pooled)), dim=-1)

    @property
    def scale(self) -> Tensor:
        """exp(log_scale) within [1, 100]; a scalar."""
        return self.log_scale.clamp(0.0, math.log(MAX_SCALE)).exp()


class ClassificationHead(nn.Module):
    """Fused vectors [Q, D] -> logits [Q, C]; one hidden layer."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.mlp = Mlp(width, ratio=2, out=classes)

    def forward(self, fused: Tensor) -> Tensor:
        return full_precision(self.mlp(fused))


class ReconstructionHead(nn.Module):
    """Pooled image [B, D] -> a small picture [B, 3, R, R] in normalised colours."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.linear = nn.Linear(width, 3 * size * size)

    def forward(self, pooled: Tensor) -> Tensor:
        return full_precision(self.linear(pooled)).unflatten(-1, (3, self.size, self.size))


class CaptionDecoder(nn.Module):
    """A causal transformer that looks at the context's tokens and writes a caption.

    Token embeddings are the text encoder's, and also the output weights. The first position
    carries the language, so that one model writes each of the languages it was trained on.
    """

    def __init__(
        self, width: int, heads: int, depth: int, max_tokens: int, languages: int, dropout: float
    ) -> None:
        super().__init__()
        self.max_tokens = max_tokens
        self.position = learned(max_tokens, width)
        self.language = nn.Embedding(languages, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, cross=True, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        ids: Tensor,
        language: Tensor,
        context: Encoded,
        table: Tensor,
        index: Tensor | None = None,
    ) -> Tensor:
        """ids [B, T] starting with BOS, language [B], table [V, D] -> states [B, T, D], of use up
        to the end of a text, whose products with the table are logits. index [B]: each row's
        context row."""
        packing = Packing.without_padding(ids != PAD)
        x = F.embedding(ids, table) + self.position[: ids.shape[1]]
        x = torch.cat([x[:, :1] + self.language(language)[:, None], x[:, 1:]], dim=1)
        x = packed(x, packing)
        for block in self.blocks:
            x = block(x, None, True, context.tokens, context.mask, index, packing)
        return padded(self.norm(x), packing)
