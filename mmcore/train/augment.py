"""Augmentation that keeps what captions say: no flips (left, right), no hue shifts (colours)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcore.models.fusion_model import is_features, normalise_pixels
from mmcore.train.batches import AUGMENT_COLUMNS

_MAX_ERASED = 0.25  # side of an erased box as a share of the picture's
_NOISE_SEED = 1


def view(pixels: Tensor, uniform: Tensor, strength: float) -> Tensor:
    """A batch's pixels as the model reads them: normalised and augmented. The features of a frozen
    tower are only normalised."""
    normalised = normalise_pixels(pixels)
    return normalised if is_features(pixels) else augment(normalised, uniform, strength)


def augment(pixels: Tensor, uniform: Tensor, strength: float) -> Tensor:
    """Zoom, shift, contrast, brightness, noise and a sometimes erased box.

    pixels: normalised float32 [B, 3, S, S]; uniform: float32 [B, AUGMENT_COLUMNS] in [0, 1);
    strength 0 does nothing, 1 is the default amount.
    """
    if strength <= 0:
        return pixels
    if uniform.shape[1] < AUGMENT_COLUMNS:
        raise ValueError(f"augment needs {AUGMENT_COLUMNS} random numbers per sample")
    x = _zoom_and_shift(pixels, uniform[:, :4], strength)
    x = _light(x, uniform[:, 4:8], strength)
    return _erase(x, uniform[:, 8:12], 0.25 * strength)


def _zoom_and_shift(x: Tensor, u: Tensor, strength: float) -> Tensor:
    amount = (u * 2 - 1) * strength
    scale = 1 + 0.10 * amount[:, 0]
    stretch = 1 + 0.05 * amount[:, 1]
    matrix = x.new_zeros(len(x), 2, 3)
    matrix[:, 0, 0] = scale * stretch
    matrix[:, 1, 1] = scale / stretch
    matrix[:, :, 2] = 0.12 * amount[:, 2:4]  # of half the picture's side
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


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
