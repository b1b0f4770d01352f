"""A frozen image tower from elsewhere, as ONNX: its features are computed once and cached, and only
what stands on them is trained (LiT, arXiv:2111.07991).

ONNX is data, not code: loading it runs nothing of its author's.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmcore.errors import UserError
from mmcore.models.config import ImageEncoderConfig, TowerConfig

_CHUNK = 32
_FINEST, _COARSEST = 2, 32  # pixels between two places, as the config allows


def describe_tower(
    model: bytes,
    size: int,
    mean: tuple[float, float, float],
    deviation: tuple[float, float, float],
) -> ImageEncoderConfig:
    """The config of an image encoder that stands on this ONNX file, for pictures of ``size``
    pixels: its grid and channels are those that it gives for one of the mean colour. UserError
    where it cannot be run or gives no square grid."""
    tower = TowerConfig(sha256=hashlib.sha256(model).hexdigest(), mean=mean, deviation=deviation)
    shape = _run(_session(model), np.zeros((1, 3, size, size), np.float32)).shape[1:]
    grid, width = _grid_of(shape)
    if not grid or not _FINEST <= size / grid <= _COARSEST:
        raise UserError(
            f"The tower gives {list(shape)} for a picture of {size} pixels; wanted is [channels, "
            "G, G], [G * G, channels] or, with a class token in front, [1 + G * G, channels], with "
            f"a place for every {_FINEST} to {_COARSEST} pixels: export the last feature map."
        )
    if size % grid:
        raise UserError(
            f"The tower divides a picture into {grid} x {grid} places: set train.tower.size to a "
            f"multiple of {grid}, which {size} is not."
        )
    return ImageEncoderConfig(
        kind="tower", size=size, patch=size // grid, widths=(width,), depths=(1,), tower=tower
    )


def _grid_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Side of the grid and channels of one picture's features; 0 where there is no grid."""
    if len(shape) == 3:
        return (shape[1] if shape[1] == shape[2] else 0), shape[0]
    if len(shape) == 2:
        sides = [math.isqrt(shape[0]), math.isqrt(shape[0] - 1)]
        exact = [s for s, n in zip(sides, (shape[0], shape[0] - 1), strict=True) if s * s == n]
        return (exact[0] if exact else 0), shape[1]
    return 0, 0


def _session(model: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "A frozen image tower needs onnxruntime: pip install 'mmcore[onnx]'."
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library has no common class of errors
        raise UserError(f"tower.onnx cannot be loaded: {error}.") from None


def _run(session: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the model gives for pictures [N, 3, S, S]; one that was exported for so many pictures at
    a time gets as many."""
    given = session.get_inputs()[0]
    step = given.shape[0] if isinstance(given.shape[0], int) else len(pixels)
    found = []
    for start in range(0, len(pixels), step):
        filled = part = pixels[start : start + step]
        if len(part) < step:
            short = step - len(part)
            filled = np.concatenate([part, np.zeros((short, *part.shape[1:]), np.float32)])
        try:
            out = session.run(None, {given.name: filled})[0]
        except Exception as error:  # the library has no common class of errors
            size = pixels.shape[-1]
            raise UserError(f"The tower cannot read pictures of {size} pixels: {error}.") from None
        found.append(np.asarray(out, np.float32)[: len(part)])
    return np.concatenate(found)


class OnnxTower:
    """Runs a tower whose output is [N, C, G, G], [N, G * G, C] or, with a class token in front,
    [N, 1 + G * G, C]; G is the config's grid."""

    def __init__(self, model: bytes, config: ImageEncoderConfig) -> None:
        """UserError where onnxruntime is missing or the file is not the one of the config."""
        assert config.tower is not None
        if hashlib.sha256(model).hexdigest() != config.tower.sha256:
            raise UserError("tower.onnx is not the file that this model was trained on.")
        self._session = _session(model)
        self._config = config
        self._tower: TowerConfig = config.tower

    def features(self, pixels: Tensor) -> Tensor:
        """uint8 [N, 3, S, S] -> float16 [N, C, G, G], in the place of pixels for the model."""
        grid, width = self._config.grid, self._config.widths[-1]
        out = torch.empty(len(pixels), width, grid, grid, dtype=torch.float16)
        mean, deviation = (
            torch.tensor(values, dtype=torch.float32)[:, None, None]
            for values in (self._tower.mean, self._tower.deviation)
        )
        for start in range(0, len(pixels), _CHUNK):
            part = (pixels[start : start + _CHUNK].float() - mean) / deviation
            found = _run(self._session, part.contiguous().numpy())
            out[start : start + len(part)] = self._grid(found)
        return out

    def _grid(self, found: np.ndarray) -> Tensor:
        grid, width = self._config.grid, self._config.widths[-1]
        tensor = torch.from_numpy(found)
        if tensor.ndim == 3 and tensor.shape[1:] in ((grid**2, width), (grid**2 + 1, width)):
            tensor = tensor[:, -(grid**2) :].transpose(1, 2).unflatten(2, (grid, grid))
        if tensor.shape[1:] != (width, grid, grid):
            raise UserError(
                f"The tower gives {list(tensor.shape[1:])} for a picture; the config says "
                f"[{width}, {grid}, {grid}]: correct image.widths, size or patch."
            )
        return tensor.clamp(-65504, 65504)  # what float16 can hold
