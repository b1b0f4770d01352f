"""Augmentation that keeps what texts say.

Every picture is zoomed, shifted, lit and sometimes partly hidden a little. Mirrored or strongly
cropped are only those of which no text tells left from right, tinted only those of which no text
names a colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcore.models.fusion_model import is_features, normalise_pixels
from mmcore.train.batches import AUGMENT_COLUMNS
from mmcore.train.settings import LoopSettings

_MAX_ERASED = 0.25  # side of an erased box as a share of the picture's
_NOISE_SEED = 1


@dataclass(frozen=True)
class Augmentation:
    """strength: 0 does nothing, 1 is the full amount; crop: largest share of the sides that is cut
    off; mirror: whether half of the pictures are mirrored."""

    strength: float
    crop: float = 0.0
    mirror: bool = False

    @classmethod
    def of(cls, settings: LoopSettings) -> Augmentation:
        """What the settings ask for."""
        return cls(settings.augmentation, settings.crop, settings.mirror)


@dataclass(frozen=True)
class Said:
    """Whether texts of each picture tell left from right, and name colours: bool [B] each."""

    sides: Tensor
    colours: Tensor


def view(pixels: Tensor, uniform: Tensor, said: Said, augmentation: Augmentation) -> Tensor:
    """A batch's pixels as the model reads them: normalised and augmented. The features of a frozen
    tower are only normalised."""
    normalised = normalise_pixels(pixels)
    if is_features(pixels):
        return normalised
    return augment(normalised, uniform, said, augmentation)


def augment(pixels: Tensor, uniform: Tensor, said: Said, augmentation: Augmentation) -> Tensor:
    """pixels: normalised float32 [B, 3, S, S]; uniform: float32 [B, AUGMENT_COLUMNS] in [0, 1),
    all that is random here -> float32 [B, 3, S, S]."""
    strength = augmentation.strength
    if strength <= 0:
        return pixels
    if uniform.shape[1] < AUGMENT_COLUMNS:
        raise ValueError(f"augment needs {AUGMENT_COLUMNS} random numbers per sample")
    x = _move(pixels, uniform, ~said.sides, augmentation)
    x = _light(x, uniform[:, 4:8], strength)
    x = _tint(x, uniform[:, 19:22], strength, ~said.colours)
    return _erase(x, uniform[:, 8:12], 0.25 * strength)


def _move(x: Tensor, uniform: Tensor, free: Tensor, augmentation: Augmentation) -> Tensor:
    """Zoom, shift and stretch a little; crop and mirror where that is free, bool [B]."""
    amount = uniform[:, :4] * 2 - 1
    small = amount * augmentation.strength
    stretch = 1 + 0.05 * small[:, 1]
    cut = augmentation.crop * uniform[:, 17] * free
    scale = (1 + 0.10 * small[:, 0]) * (1 - cut)
    flipped = (uniform[:, 16] < 0.5) & free & augmentation.mirror
    # places in halves of the side, from -1 to 1; a crop lies anywhere in the picture
    middle = 0.12 * small[:, 2:4] + amount[:, 2:4] * cut[:, None]
    size = x.shape[-1]
    line = (2 * torch.arange(size, device=x.device) + 1) / size - 1
    across = torch.where(flipped, -1.0, 1.0) * scale * stretch
    columns = across[:, None] * line + middle[:, :1]  # [B, S]
    rows = (scale / stretch)[:, None] * line + middle[:, 1:]
    # without rotation rows and columns are apart; affine_grid would multiply matrices
    shape = len(x), size, size
    grid = torch.stack([columns[:, None].expand(shape), rows[:, :, None].expand(shape)], dim=-1)
    return F.grid_sample(x, grid.to(x.dtype), padding_mode="border", align_corners=False)


def _light(x: Tensor, u: Tensor, strength: float) -> Tensor:
    amount = (u * 2 - 1) * strength
    contrast = (1 + 0.2 * amount[:, 0])[:, None, None, None]
    brightness = (0.25 * amount[:, 1])[:, None, None, None]
    size = x.shape[-1]
    generator = torch.Generator().manual_seed(_NOISE_SEED)
    tile = torch.randn(3, 2 * size, 2 * size, generator=generator).to(x.device, x.dtype)
    # one fixed tile of noise, cut elsewhere for every sample: cheap, and a function of u alone
    corners = (u[:, 2:4] * size).long().tolist()
    noise = torch.stack([tile[:, r : r + size, c : c + size] for r, c in corners])
    return x * contrast + brightness + 0.06 * strength * noise


def _tint(x: Tensor, u: Tensor, strength: float, free: Tensor) -> Tensor:
    """Add a little of one colour to the whole picture where that is free, bool [B]."""
    tint = 0.15 * strength * (u * 2 - 1) * free[:, None]
    return x + tint[:, :, None, None].to(x.dtype)


def _erase(x: Tensor, u: Tensor, probability: float) -> Tensor:
    """Fill a box of a quarter of the side at most with the picture's mean colour."""
    size = x.shape[-1]
    place = torch.arange(size, device=x.device)
    extent = _MAX_ERASED * size * (u[:, 1] / 1.0).clamp_min(0.3)
    top, left = u[:, 2] * (size - extent), u[:, 3] * (size - extent)
    rows = (place >= top[:, None]) & (place < (top + extent)[:, None])  # [B, S]
    columns = (place >= left[:, None]) & (place < (left + extent)[:, None])
    box = rows[:, None, :, None] & columns[:, None, None, :]
    chosen = (u[:, 0] < probability)[:, None, None, None]
    return torch.where(box & chosen, x.mean(dim=(2, 3), keepdim=True), x)
