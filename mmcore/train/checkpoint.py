"""The state of a training run on disk: safetensors and JSON, complete or not there at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmcore.errors import MmcoreError
from mmcore.train.optimizer import Ema, Optimizers
from mmcore.train.sharding import load_whole, whole

_TENSORS, _STATE = "state.safetensors", "state.json"


@dataclass
class RunState:
    """Where a run stands. ``cursor`` is a place in the global stream (mmcore.shards.order), so
    (epoch, place in it) in one number; ``order`` names the order that it is a place in."""

    cursor: int = 0
    order: str = ""
    step: int = 0
    refused: int = 0
    seconds: float = 0.0
    best_score: float = -1.0
    stale: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(
    folder: Path, model: nn.Module, ema: Ema, optimizers: Optimizers, state: RunState
) -> None:
    """Write a checkpoint; the JSON is renamed into place last and names nothing half-written."""
    write_checkpoint(folder, checkpoint_tensors(model, ema, optimizers), state, ema.updates)


def checkpoint_tensors(model: nn.Module, ema: Ema, optimizers: Optimizers) -> dict[str, Tensor]:
    """All tensors of a run by name. Every rank must ask at the same time: those that are divided
    among ranks come back whole on rank 0, and empty on the others."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in ema.model.state_dict().items()}
    tensors |= _optimizer_tensors(model, optimizers)
    return {name: whole(tensor) for name, tensor in tensors.items()}


def write_checkpoint(
    folder: Path, tensors: dict[str, Tensor], state: RunState, ema_updates: int
) -> None:
    """Write what ``checkpoint_tensors`` gave on rank 0."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{_TENSORS}.partial"
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial)
    os.replace(partial, folder / _TENSORS)
    text = json.dumps({"state": asdict(state), "ema_updates": ema_updates})
    partial = folder / f".{_STATE}.partial"
    partial.write_text(text)
    os.replace(partial, folder / _STATE)


def load_checkpoint(folder: Path, model: nn.Module, ema: Ema, optimizers: Optimizers) -> RunState:
    """Restore what ``save_checkpoint`` wrote; MmcoreError where it is of another model."""
    try:
        record = json.loads((folder / _STATE).read_text())
        tensors = load_file(folder / _TENSORS)
        load_whole(model, _strip(tensors, "model."))
        load_whole(ema.model, _strip(tensors, "ema."))
        _restore_optimizer(model, optimizers, tensors)
        state = RunState(**record["state"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise MmcoreError(f"The checkpoint in {folder} cannot be resumed: {error}.") from error
    ema.updates = int(record["ema_updates"])
    return state


def _optimizer_tensors(model: nn.Module, optimizers: Optimizers) -> dict[str, Tensor]:
    return {
        f"optimizer.{name}.{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizers.state_of(parameter).items()
    }


def _restore_optimizer(
    model: nn.Module, optimizers: Optimizers, tensors: dict[str, Tensor]
) -> None:
    for name, parameter in model.named_parameters():
        found = _strip(tensors, f"optimizer.{name}.")
        if found:
            optimizers.restore(parameter, found)


def _strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
