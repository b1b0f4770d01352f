"""What the image encoder is given of a picture: its pixels, or a frozen tower's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcore.models.config import ImageEncoderConfig
from mmcore.models.tower import OnnxTower


@dataclass(frozen=True)
class Pictures:
    """config: of the image encoder; tower: what it stands on, if it does."""

    config: ImageEncoderConfig
    tower: OnnxTower | None = None

    @staticmethod
    def of(config: ImageEncoderConfig, onnx: bytes | None) -> Pictures:
        """UserError where onnxruntime is missing or the file is another than the config's."""
        return Pictures(config, None if onnx is None else OnnxTower(onnx, config))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one picture: [S, S, 3], or [G, G, W] of features."""
        if self.tower is None:
            return (self.config.size, self.config.size, 3)
        return (self.config.grid, self.config.grid, self.config.widths[-1])

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8 if self.tower is None else np.float16)

    @property
    def nbytes(self) -> int:
        """Bytes of one picture."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def given(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """uint8 [N, S, S, 3] -> itself, or a tower's features of it, float16 [N, G, G, W]."""
        if self.tower is None:
            return pixels
        features = self.tower.features(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        return features.permute(0, 2, 3, 1).numpy()
