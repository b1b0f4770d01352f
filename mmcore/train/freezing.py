"""Parts of a model that stay as they are until a share of the budget is used (LiT,
arXiv:2111.07991); several parts with different shares thaw one after the other (ULMFiT,
arXiv:1801.06146).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from torch import nn

from mmcore.models.fusion_model import FusionModel

_HEADS = (
    "retrieval",
    "matching",
    "answering",
    "tagging",
    "local_tagging",
    "feeling",
    "reconstruction",
)


class Freezing:
    """Holds the parts of a model that ``shares`` names (``settings.FREEZABLE``), each until the
    progress of the run reaches its share."""

    def __init__(self, model: FusionModel, shares: Mapping[str, float]) -> None:
        self._parts = [(share, modules_of(model, name)) for name, share in sorted(shares.items())]

    def update(self, progress: float) -> None:
        """Freeze and thaw for a step at ``progress`` (0..1), which is the same on all ranks.

        A frozen part gets no gradient, so that neither optimizer nor weight decay touch it and
        the backward pass ends in front of it. It runs as in evaluation: no dropout, and batch norm
        uses its running statistics and leaves them.
        """
        for share, modules in self._parts:
            thawed = progress >= share
            for module in modules:
                module.train(thawed)
                module.requires_grad_(thawed)


def modules_of(model: FusionModel, part: str) -> list[nn.Module]:
    """The modules that a name of ``settings.FREEZABLE`` stands for."""
    names = _HEADS if part == "heads" else (part,)
    return [model.get_submodule(name) for name in names]


def parts_of(model: FusionModel, names: tuple[str, ...]) -> dict[str, list[nn.Parameter]]:
    """The parameters of each part."""
    found = {name: modules_of(model, name) for name in names}
    return {
        name: list(chain.from_iterable(m.parameters() for m in modules))
        for name, modules in found.items()
    }
