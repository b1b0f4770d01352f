"""A frozen image tower from elsewhere, as ONNX: its features are computed once and cached, and only
what stands on them is trained (LiT, arXiv:2111.07991).

ONNX is data, not code: loading it runs nothing of its author's.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from mmcore.errors import UserError
from mmcore.models.config import ImageEncoderConfig, TowerConfig

_CHUNK = 32


class OnnxTower:
    """Runs a tower whose output is [N, C, G, G], [N, G * G, C] or, with a class token in front,
    [N, 1 + G * G, C]; G is the config's grid."""

    def __init__(self, model: bytes, config: ImageEncoderConfig) -> None:
        """UserError where onnxruntime is missing or the file is not the one of the config."""
        assert config.tower is not None
        if hashlib.sha256(model).hexdigest() != config.tower.sha256:
            raise UserError("tower.onnx is not the file that this model was trained on.")
        try:
            import onnxruntime
        except ImportError:
            raise UserError(
                "This model's image tower needs onnxruntime: pip install 'mmcore[onnx]'."
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library has no common class of errors
            raise UserError(f"tower.onnx cannot be loaded: {error}.") from None
        self._input = self._session.get_inputs()[0].name
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
            found = self._session.run(None, {self._input: part.contiguous().numpy()})[0]
            out[start : start + len(part)] = self._grid(np.asarray(found, np.float32))
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
