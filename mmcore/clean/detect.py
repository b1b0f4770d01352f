"""Naked bodies and faces in an image, by NudeNet's detector (the extra `mmcore[safety]`).

The model is a YOLOv8-n of 320x320 pixels that comes inside a wheel; only its weights are used.
Every image is looked at alone: on one core a batch of 16 takes 16 times as long as one.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from mmcore.errors import UserError

_SIDE = 320
_FACES = [1, 12]  # FACE_FEMALE, FACE_MALE of the model's 18 classes
_EXPOSED = [2, 3, 4, 6, 14]  # buttocks, female breast, female genitalia, anus, male genitalia
_FACE_SCORE = 0.25
_OVERLAP = 0.45


@dataclass(frozen=True)
class Found:
    """What stands in one image."""

    unsafe: float
    """Highest score of an exposed private part, 0 to 1."""
    faces: npt.NDArray[np.float32]
    """[N, 4]: left, top, width, height in pixels, best first."""


class Detector:
    """The loaded model."""

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._model: Any = onnxruntime.InferenceSession(
            _weights(), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._model.get_inputs()[0].name

    def look(self, pixels: MatLike) -> Found:
        """Look at sRGB [H, W, 3]."""
        height, width = pixels.shape[:2]
        scale = _SIDE / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        canvas = np.zeros((_SIDE, _SIDE, 3), np.uint8)  # the model's letterbox: right and below
        canvas[: size[1], : size[0]] = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        batch = canvas.transpose(2, 0, 1)[None].astype(np.float32) / 255
        (output,) = self._model.run(None, {self._input: batch})
        return _found(output[0], scale)


def _found(output: npt.NDArray[np.float32], scale: float) -> Found:
    """`output` [4 + 18, candidates]: centre x, y, width, height in model pixels, then scores."""
    boxes, scores = output[:4].T, output[4:]
    unsafe = float(np.clip(scores[_EXPOSED].max(), 0, 1))
    sure = scores[_FACES].max(axis=0)
    likely = np.flatnonzero(sure >= _FACE_SCORE)
    corners = boxes[likely].copy()
    corners[:, :2] -= corners[:, 2:] / 2
    corners /= scale
    kept = cv2.dnn.NMSBoxes(corners.tolist(), sure[likely].tolist(), _FACE_SCORE, _OVERLAP)
    return Found(round(unsafe, 3), corners[np.asarray(kept, dtype=np.int64)])


def require_detector() -> None:
    """UserError where the extra is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("nudenet", "onnxruntime")):
        raise UserError(
            "clean.safety and clean.blur_faces need an extra: install it with "
            "`pip install 'mmcore[safety]'`."
        )


@lru_cache(maxsize=1)
def detector() -> Detector:
    """The model, loaded once a process."""
    require_detector()
    return Detector()


def _weights() -> str:
    """Where the wheel put the weights; its own code is not imported."""
    spec = importlib.util.find_spec("nudenet")
    assert spec is not None and spec.submodule_search_locations is not None
    return str(Path(spec.submodule_search_locations[0], "320n.onnx"))
