"""Image encoders: pixels [B, 3, S, S] -> tokens [B, G*G, W], G = size / total stride.

``cnn`` is a residual network with layer norm (after ConvNeXt, arXiv:2201.03545, with dense 3x3
convolutions, which are the faster choice on a CPU); ``vit`` after arXiv:2010.11929.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcore.models.config import ImageEncoderConfig
from mmcore.models.layers import TransformerBlock, learned


class CoordinateStem(nn.Module):
    """Strided convolution over RGB and two coordinate channels (CoordConv, arXiv:1807.03247).

    The coordinates let later layers say "left" and "top", which plain convolution cannot.
    """

    def __init__(self, width: int, patch: int, size: int) -> None:
        super().__init__()
        # a kernel wider than the stride: small shapes must not fall between two patches
        padding = (patch + 1) // 2
        self.conv = nn.Conv2d(5, width, patch + 2 * padding - 1, patch, padding)
        self.crop = size // patch
        line = torch.linspace(-1, 1, size)
        grid = torch.stack(torch.meshgrid(line, line, indexing="xy"))  # [2, S, S]: x, y
        self.register_buffer("grid", grid[None], persistent=False)
        self.grid: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, W, S/patch, S/patch]."""
        grid = self.grid.to(pixels.dtype).expand(len(pixels), -1, -1, -1)
        x = torch.cat([pixels, grid], dim=1).contiguous(memory_format=torch.channels_last)
        return self.conv(x)[:, :, : self.crop, : self.crop]


def _norm_last(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Layer norm over the channels of [B, C, H, W] without a copy in channels_last layout."""
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """norm, 3x3 convolution, GELU, 3x3 convolution, added to the input; [B, C, H, W] -> same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.conv1(_norm_last(self.norm, x)), approximate="tanh")
        return x + self.conv2(y)


class Downsample(nn.Module):
    """norm and a strided convolution: half the resolution, another width."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv2d(width, out, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(_norm_last(self.norm, x))


class CnnEncoder(nn.Module):
    """Residual stages, each at half the resolution of the one before."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        self.stem = CoordinateStem(config.widths[0], config.patch, config.size)
        stages: list[nn.Module] = []
        for number, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            if number:
                stages.append(Downsample(config.widths[number - 1], width))
            stages.extend(ResidualBlock(width) for _ in range(depth))
        self.stages = nn.Sequential(*stages)
        self.position = learned(config.grid**2, config.widths[-1])
        self.norm = nn.LayerNorm(config.widths[-1])

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.stages(self.stem(pixels)).permute(0, 2, 3, 1).flatten(1, 2)
        return self.norm(tokens + self.position)


class VitEncoder(nn.Module):
    """Patches, learned positions, transformer blocks."""

    def __init__(self, config: ImageEncoderConfig, dropout: float) -> None:
        super().__init__()
        width = config.widths[-1]
        self.stem = CoordinateStem(width, config.patch, config.size)
        self.position = learned(config.grid**2, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, config.heads, dropout=dropout) for _ in range(config.depths[-1])
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.stem(pixels).permute(0, 2, 3, 1).flatten(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def build_image_encoder(config: ImageEncoderConfig, dropout: float) -> nn.Module:
    """The encoder that ``config.kind`` names; its output width is ``config.widths[-1]``."""
    return CnnEncoder(config) if config.kind == "cnn" else VitEncoder(config, dropout)
