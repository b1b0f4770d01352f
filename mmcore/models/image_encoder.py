"""Image encoders: pixels [B, 3, S, S] -> tokens [B, G*G, W], G = size / total stride.

``cnn`` is a residual network with layer norm (after ConvNeXt, arXiv:2201.03545, with dense 3x3
convolutions, which are the faster choice on a CPU); ``convnext`` has ConvNeXt's own blocks;
``plain`` is a stack of 3x3 convolutions with
batch norm (after VGG, arXiv:1409.1556, and arXiv:1502.03167); ``vit`` after arXiv:2010.11929.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcore.models.backbone import TransformersImageEncoder
from mmcore.models.config import ImageEncoderConfig
from mmcore.models.layers import Block, Mlp, TransformerBlock, learned


class Coordinates(nn.Module):
    """Adds two channels that say where a pixel is (CoordConv, arXiv:1807.03247).

    They let later layers say "left" and "top", which plain convolution cannot.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        line = torch.linspace(-1, 1, size)
        grid = torch.stack(torch.meshgrid(line, line, indexing="xy"))  # [2, S, S]: x, y
        self.register_buffer("grid", grid[None], persistent=False)
        self.grid: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, 5, S, S]."""
        grid = self.grid.to(pixels.dtype).expand(len(pixels), -1, -1, -1)
        return torch.cat([pixels, grid], dim=1).contiguous(memory_format=torch.channels_last)


_APART = 8  # pixels of a patch, and pictures, from which on the coordinates are worth a convolution


class CoordinateStem(nn.Module):
    """Strided convolution over RGB and the coordinates."""

    def __init__(self, width: int, patch: int, size: int) -> None:
        super().__init__()
        self.coordinates = Coordinates(size)
        # a kernel wider than the stride: small shapes must not fall between two patches
        padding = (patch + 1) // 2
        self.conv = nn.Conv2d(5, width, patch + 2 * padding - 1, patch, padding)
        self.crop = size // patch

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, W, S/patch, S/patch]."""
        if min(len(pixels), self.conv.stride[0]) >= _APART:
            out = self._apart(pixels)
        else:
            out = self.conv(self.coordinates(pixels))
        return out[:, :, : self.crop, : self.crop]

    def _apart(self, pixels: Tensor) -> Tensor:
        """The same sums; the coordinates' part, equal for all pictures, is computed once."""
        colours, places = self.conv.weight.split((3, 2), dim=1)
        stride, padding = self.conv.stride, self.conv.padding
        grid = self.coordinates.grid.to(pixels.dtype)
        shared = F.conv2d(grid, places, self.conv.bias, stride, padding)
        return F.conv2d(pixels, colours, None, stride, padding) + shared


def _norm_last(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Layer norm over the channels of [B, C, H, W] without a copy in channels_last layout."""
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualBlock(Block):
    """norm, 3x3 convolution, GELU, 3x3 convolution, added to the input; [B, C, H, W] -> same."""

    varied = False

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.conv1(_norm_last(self.norm, x)))
        return x + self.conv2(y)


class ConvNextBlock(Block):
    """Depthwise 7x7 convolution, norm and two pointwise layers, scaled and added to the input;
    [B, C, H, W] -> same. Half the weights of a dense block of the same width.
    """

    varied = False

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mlp = Mlp(width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.mlp(y)).permute(0, 3, 1, 2)


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
        block = ConvNextBlock if config.kind == "convnext" else ResidualBlock
        for number, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            if number:
                stages.append(Downsample(config.widths[number - 1], width))
            stages.extend(block(width) for _ in range(depth))
        self.stages = nn.Sequential(*stages)
        self.position = learned(config.grid**2, config.widths[-1])
        self.norm = nn.LayerNorm(config.widths[-1])

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.stages(self.stem(pixels)).permute(0, 2, 3, 1).flatten(1, 2)
        return self.norm(tokens + self.position)


class PlainEncoder(nn.Module):
    """3x3 convolutions with batch norm; only the first two stages halve the resolution.

    Learns small things from few pictures: on 1,600 scenes it told shapes apart after a third of
    the samples the residual network needs. Batch norm ties the samples of a batch together, so a
    gradient summed over parts of a batch is not exactly that of the whole one.
    """

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [Coordinates(config.size)]
        before = 5
        for number, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            for layer in range(depth):
                stride = 2 if layer == 0 and number < 2 else 1
                layers.append(_convolution(before, width, stride))
                before = width
        # the maximum over 2x2 places keeps what is there and spares the attention 3/4 of the tokens
        self.layers = nn.Sequential(*layers, nn.MaxPool2d(2))
        self.position = nn.Parameter(sine_positions(config.grid, before))
        self.norm = nn.LayerNorm(before)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.layers(pixels).permute(0, 2, 3, 1).flatten(1, 2)
        return self.norm(tokens + self.position)


def _convolution(width: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
    )


def sine_positions(grid: int, width: int) -> Tensor:
    """Sines and cosines of x and y at width / 4 frequencies -> [1, grid * grid, width].

    About as large as a normalised feature, unlike learned positions that start near zero: "where"
    is readable from the first step.
    """
    frequencies = torch.pi * torch.logspace(0, -math.log10(8), width // 4)
    line = torch.linspace(-1, 1, grid)
    y, x = torch.meshgrid(line, line, indexing="ij")
    angles = [place.reshape(-1, 1) * frequencies for place in (x, y)]
    waves = [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)]
    table = torch.cat(waves, dim=1)
    return F.pad(table, (0, width - table.shape[1]))[None]


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


class TowerEncoder(nn.Module):
    """What is trained on top of a frozen tower's features: a norm and positions."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.widths[-1])
        self.position = learned(config.grid**2, config.widths[-1])

    def forward(self, features: Tensor) -> Tensor:
        """[B, W, G, G] -> [B, G * G, W]."""
        return self.norm(features.flatten(2).transpose(1, 2)) + self.position


def build_image_encoder(config: ImageEncoderConfig, dropout: float) -> nn.Module:
    """The encoder that ``config.kind`` names; its output width is ``config.widths[-1]``."""
    if config.kind == "vit":
        return VitEncoder(config, dropout)
    if config.kind == "tower":
        return TowerEncoder(config)
    if config.kind == "transformers":
        return TransformersImageEncoder(config)
    return PlainEncoder(config) if config.kind == "plain" else CnnEncoder(config)
