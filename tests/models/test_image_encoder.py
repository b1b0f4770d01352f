"""Image encoders compute what their descriptions say."""

from __future__ import annotations

import pytest
import torch

from mmcore.models.image_encoder import CoordinateStem


@pytest.mark.parametrize(
    ("batch", "patch", "size"), [(8, 16, 64), (9, 9, 27), (2, 16, 64), (8, 4, 32)]
)
def test_a_stem_is_a_convolution_over_colours_and_coordinates(
    batch: int, patch: int, size: int
) -> None:
    torch.manual_seed(0)
    stem = CoordinateStem(8, patch, size).double()
    pixels = torch.randn(batch, 3, size, size, dtype=torch.float64)
    side = size // patch
    toward = torch.randn(batch, 8, side, side, dtype=torch.float64)
    found = []
    for compute in (stem, lambda x: stem.conv(stem.coordinates(x))[:, :, :side, :side]):
        stem.zero_grad()
        out = compute(pixels)
        out.backward(toward)
        gradients = [stem.conv.weight.grad, stem.conv.bias.grad]
        found.append([out.detach(), *(g.clone() for g in gradients if g is not None)])
    assert len(found[0]) == 3
    torch.testing.assert_close(found[0], found[1])
