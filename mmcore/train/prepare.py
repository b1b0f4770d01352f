"""A model made ready to train: its average, recomputed, divided and compiled as the settings ask.

The order matters: the average is a copy from before the weights are divided, and what is compiled
are the blocks that run in the end.
"""

from __future__ import annotations

import torch
from torch import nn

from mmcore.errors import UserError
from mmcore.models.backbone import TransformersImageEncoder, TransformersTextEncoder
from mmcore.models.fusion_model import FusionModel
from mmcore.models.layers import Block
from mmcore.train.compiling import compile_blocks
from mmcore.train.optimizer import Ema
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LoopSettings
from mmcore.train.sharding import shard


def prepare(
    model: FusionModel, settings: LoopSettings, ranks: Ranks, device: torch.device
) -> tuple[Ema, list[str]]:
    """Change the model in place; its average, and lines for a person."""
    divided = settings.sharding == "fsdp" and ranks.world > 1
    if not divided:
        model.to(device)
    ema = Ema(model, settings.ema)
    if settings.activation_checkpointing:
        recompute_blocks(model)
    if divided:
        shard(model, ranks, device)
        shard(ema.model, ranks, device)
        ema.pair_with(model)
        return ema, []
    note = compile_blocks(model, settings.compile, device)
    return ema, [note] if note else []


def recompute_blocks(model: FusionModel) -> None:
    """Let every block be computed again in the backward pass instead of kept.

    The convolutions of ``plain`` are no blocks and are kept: batch norm would count a batch twice.
    """
    for module in model.modules():
        if isinstance(module, Block):
            module.recompute = True
        if isinstance(module, TransformersImageEncoder | TransformersTextEncoder):
            _recompute_backbone(module.backbone)


def _recompute_backbone(backbone: nn.Module) -> None:
    try:
        backbone.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    except ValueError:  # the library's word for: this architecture has no blocks to recompute
        raise UserError(
            f"The backbone {type(backbone).__name__} cannot recompute its activations: set "
            "train.activation_checkpointing to false."
        ) from None
