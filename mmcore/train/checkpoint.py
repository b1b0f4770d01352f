"""The state of a training run as bytes: safetensors and JSON.

No random state is kept: what is random about a step is a function of the seed, the step, the rank
and the part (loop), and what is random about a visit one of the seed and its place (batches). The
place in the data is one integer, the cursor, whatever the number of ranks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mmcore.errors import MmcoreError
from mmcore.train.ledger import Ledger
from mmcore.train.optimizer import Ema, Optimizers
from mmcore.train.sharding import load_whole, whole

_TENSORS, _STATE, _LEDGER = "state.safetensors", "state.json", "ledger"


@dataclass
class RunState:
    """Where a run stands. ``cursor`` is a place in the global stream (mmcore.shards.order), so
    (epoch, place in it) in one number; ``order`` names the order that it is a place in.

    looks: thresholds of validation that are passed. budget_share: what an early stop has left of
    the budget."""

    cursor: int = 0
    order: str = ""
    step: int = 0
    refused: int = 0
    seconds: float = 0.0
    best_score: float = -1.0
    stale: int = 0
    looks: int = 0
    budget_share: float = 1.0
    history: list[dict[str, Any]] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Snapshot:
    """A run's state after ``step`` steps, copied to host memory: later steps do not change it."""

    step: int
    tensors: dict[str, Tensor]
    text: str

    def files(self) -> dict[str, bytes]:
        """The checkpoint's files: name -> content."""
        return {
            _TENSORS: safetensors.torch.save(self.tensors),
            _STATE: self.text.encode("utf-8"),
        }


def take_snapshot(
    model: nn.Module,
    ema: Ema,
    optimizers: Optimizers,
    state: RunState,
    ledger: Ledger | None = None,
) -> Snapshot:
    """Copy what a run needs to go on. All that the training loop waits for is this copy.

    Where weights are divided among ranks, all must ask at the same time: they come back whole on
    rank 0, and empty on the others.
    """
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in ema.model.state_dict().items()}
    tensors |= _optimizer_tensors(model, optimizers)
    if ledger is not None:
        tensors[_LEDGER] = ledger.table()
    text = json.dumps({"state": asdict(state), "ema_updates": ema.updates})
    return Snapshot(state.step, {k: _host_copy(whole(v)) for k, v in tensors.items()}, text)


def restore(
    files: Mapping[str, bytes],
    model: nn.Module,
    ema: Ema,
    optimizers: Optimizers,
    ledger: Ledger | None = None,
) -> RunState:
    """Put back what ``Snapshot.files`` gave; MmcoreError where it is of another model."""
    try:
        record = json.loads(files[_STATE])
        tensors = safetensors.torch.load(files[_TENSORS])
        load_whole(model, _strip(tensors, "model."))
        load_whole(ema.model, _strip(tensors, "ema."))
        _restore_optimizer(model, optimizers, tensors)
        state = RunState(**record["state"])
        ema.updates = int(record["ema_updates"])
        if ledger is not None:
            ledger.restore(tensors[_LEDGER])
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise MmcoreError(f"The checkpoint cannot be resumed: {error}.") from error
    return state


def _host_copy(value: Tensor) -> Tensor:
    """A copy in the plain memory layout that safetensors asks for."""
    copied = torch.empty(value.shape, dtype=value.dtype)
    return copied.copy_(value.detach())


def _optimizer_tensors(model: nn.Module, optimizers: Optimizers) -> dict[str, Tensor]:
    return {
        f"optimizer.{name}.{key}": value
        for name, parameter in model.named_parameters()
        # sorted: ranks gather divided tensors one by one, all in the same order
        for key, value in sorted(optimizers.state_of(parameter).items())
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
