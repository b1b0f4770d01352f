"""The fusion model: encoders, alignment, fusion and heads, and the predictor that runs it.

Importing this package does not import torch; the functions below do.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from mmcore.models.config import ModelConfig, load_preset, preset_names

if TYPE_CHECKING:
    from mmcore.models.predictor import Predictor

__all__ = ["ModelConfig", "load_model", "load_preset", "preset_names"]


def load_model(folder: str | PathLike[str]) -> Predictor:
    """The model in ``folder`` (as ``candidate@DAY`` holds it), ready to predict on the CPU.

    Raises UserError where a file is missing, damaged or does not fit the others.
    """
    from mmcore.models.artifact import load_artifact
    from mmcore.models.predictor import Predictor

    return Predictor(load_artifact(folder))
