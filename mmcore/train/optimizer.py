"""Which optimizer steps which weights, and a moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mmcore.models.fusion_model import FusionModel
from mmcore.models.heads import ClassificationHead, ReconstructionHead
from mmcore.train.muon import Muon
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LoopSettings
from mmcore.train.sharding import is_sharded, own_piece, piece_like

_SMALLEST_MATRIX = 16


class Optimizers:
    """Muon for the hidden matrices, AdamW (arXiv:1711.05101) for the rest, or AdamW alone.

    AdamW does not decay norms, biases, scales and lone vectors.
    """

    def __init__(
        self, model: FusionModel, settings: LoopSettings, ranks: Ranks, bfloat16: bool
    ) -> None:
        hidden = hidden_matrices(model) if settings.optimizer == "muon" else []
        taken = {id(p) for p in hidden}
        rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
        groups = [
            {
                "params": [p for p in rest if (p.ndim >= 2, is_sharded(p)) == (matrix, sharded)],
                "weight_decay": settings.weight_decay if matrix else 0.0,
            }
            for sharded in (False, True)  # one call of a kernel cannot take both
            for matrix in (True, False)
        ]
        self.adamw = torch.optim.AdamW(
            groups, lr=settings.lr, betas=(0.9, settings.beta2), eps=1e-8, fused=True
        )
        self.all: list[torch.optim.Optimizer] = [self.adamw]
        if hidden:
            muon = Muon(hidden, settings.muon_lr, settings.weight_decay, ranks, bfloat16)
            self.all.append(muon)
        self._peaks = [group["lr"] for o in self.all for group in o.param_groups]

    def step(self, factor: float) -> None:
        """Step with every learning rate at ``factor`` of its peak."""
        groups = [group for optimizer in self.all for group in optimizer.param_groups]
        for group, peak in zip(groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        for optimizer in self.all:
            optimizer.step()

    def state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """The tensors kept for a parameter."""
        found = [o.state[parameter] for o in self.all if parameter in o.state]
        return {k: torch.as_tensor(v) for state in found for k, v in state.items()}

    def restore(self, parameter: nn.Parameter, tensors: dict[str, Tensor]) -> None:
        """Put back what ``state_of`` gave."""
        for optimizer in self.all:
            if any(parameter is p for g in optimizer.param_groups for p in g["params"]):
                optimizer.state[parameter] = {
                    k: moved if k == "step" else piece_like(parameter, moved)
                    for k, v in tensors.items()
                    for moved in [v.to(parameter.device)]
                }


def hidden_matrices(model: FusionModel) -> list[nn.Parameter]:
    """Weights of linear and convolution layers between others: neither embeddings nor outputs."""
    outputs: set[int] = set()
    for module in model.modules():
        if isinstance(module, ClassificationHead):
            outputs.add(id(module.mlp.down.weight))
        if isinstance(module, ReconstructionHead):
            outputs.add(id(module.linear.weight))
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d)
    weights: list[nn.Parameter] = [
        m.weight  # type: ignore[misc]
        for m in model.modules()
        if isinstance(m, layers)
    ]
    return [
        w
        for w in weights
        if w.requires_grad and id(w) not in outputs and min(w.flatten(1).shape) >= _SMALLEST_MATRIX
    ]


class Ema:
    """Exponential moving average of a model's weights.

    The decay grows with the number of updates, (1 + n) / (10 + n) at most ``decay``, so that a
    short run is not held back by its random start.
    """

    def __init__(self, model: FusionModel, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0
        self.pair_with(model)

    def pair_with(self, model: FusionModel) -> None:
        """Follow these weights from now on: both models divided alike, or both whole."""
        self._mine = [own_piece(p.detach()) for p in self.model.parameters()]
        self._theirs = [own_piece(p.detach()) for p in model.parameters()]
        self._buffers = list(zip(self.model.buffers(), model.buffers(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the model's present weights."""
        self.updates += 1
        for mine, theirs in self._buffers:  # batch norm's statistics are averages already
            mine.copy_(theirs)
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._mine, self._theirs, 1 - decay)

    @torch.no_grad()
    def undo_buffers(self) -> None:
        """Give the model the buffers back that it had at the last update: a refused step must not
        move batch norm's statistics either."""
        for mine, theirs in self._buffers:
            theirs.copy_(mine)
