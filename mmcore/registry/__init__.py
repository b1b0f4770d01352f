"""Which models there are and which one is in charge: versions, evidence, aliases, promotion.

Importing this package does not import MLflow; the functions do when they are called.
"""

from __future__ import annotations

from mmcore.registry.evidence import read_scores
from mmcore.registry.gate import Decision, Gate, decide
from mmcore.registry.models import (
    ModelVersion,
    Promotion,
    champion,
    champion_folder,
    list_models,
    promote,
    promote_if_better,
    register,
    resolve,
    rollback,
)
from mmcore.registry.settings import RegistrySettings, locate
from mmcore.registry.tracking import tracked

__all__ = [
    "Decision",
    "Gate",
    "ModelVersion",
    "Promotion",
    "RegistrySettings",
    "champion",
    "champion_folder",
    "decide",
    "list_models",
    "locate",
    "promote",
    "promote_if_better",
    "read_scores",
    "register",
    "resolve",
    "rollback",
    "tracked",
]
