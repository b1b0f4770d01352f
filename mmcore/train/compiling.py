"""Compiling a model's repeated blocks (torch.compile), where that pays.

Blocks are compiled one by one and not the whole loss: then neither the number of questions of a
batch nor the losses that are on change what is compiled, and equal blocks share one kernel. They
are compiled in place, so weights keep their names and copies of the model stay uncompiled.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmcore.errors import UserError
from mmcore.models.fusion_model import FusionModel
from mmcore.models.layers import Block


def compile_blocks(model: FusionModel, setting: str, device: torch.device) -> str | None:
    """``on``, ``off``, or ``auto``: only on CUDA, where there is a compiler.

    Returns a line for a person where ``auto`` would compile but cannot. UserError where ``on``
    cannot.
    """
    if setting == "off" or (setting == "auto" and device.type != "cuda"):
        return None
    problem = compiler_problem(device)
    if problem and setting == "on":
        raise UserError(
            f"train.compile is on, but torch cannot compile here ({problem}): install a C++ "
            "compiler with Python's headers, or set train.compile to off."
        )
    if problem:
        return f"not compiled: torch cannot compile here ({problem})"
    for module in model.modules():
        if isinstance(module, Block):
            # a length as a symbol: other texts compile nothing anew, and a resumed run runs the
            # kernels of an unbroken one
            module.compile(dynamic=module.varied)
    return None


def compiler_problem(device: torch.device) -> str | None:
    """Compile something small, as the only proof that it works; says what went wrong."""
    try:
        torch.compile(_small)(torch.ones(4, device=device))
    except Exception as error:  # compilers fail in many ways, with classes of their own
        return str(error).strip().splitlines()[0].rstrip(".") or type(error).__name__
    return None


def _small(x: Tensor) -> Tensor:
    return x.sin() + 1


def is_compiled(module: nn.Module) -> bool:
    """Whether the module was compiled in place."""
    return module._compiled_call_impl is not None
