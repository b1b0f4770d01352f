"""Weights, gradients and optimizer state divided among the ranks, for models that do not fit one
(FSDP, arXiv:2304.11277; torch's ``fully_shard``).

The encoders, the fusion and the decoder are divided, block by block: a block's weights are brought
together before it runs and let go after it. What is small or read outside of its own ``forward``
(token table, alignment, heads) is whole on every rank, and its gradients are summed as ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from mmcore.models.fusion_model import FusionModel
from mmcore.models.layers import Block
from mmcore.train.ranks import Ranks

_ROOTS = ("image_encoder", "text_encoder", "fusion", "captioning", "audio_encoder")


def shard(model: FusionModel, ranks: Ranks, device: torch.device) -> None:
    """Divide a model in place and bring it to ``device``; it may come from the host's memory, so
    that the device never holds all of it. Weights must be equal on all ranks."""
    mesh = init_device_mesh(device.type, (ranks.world,))
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for name in _ROOTS:
        root = getattr(model, name)
        if root is None:
            continue
        for module in [m for m in root.modules() if isinstance(m, Block)]:
            _shard(module, mesh)
        _shard(root, mesh)
    model.to(device)


def _shard(module: nn.Module, mesh: DeviceMesh) -> None:
    made = fully_shard(module, mesh=mesh, reshard_after_forward=True)
    # our losses are shares of a global sum: gradients are summed over the ranks, not averaged
    made.set_gradient_divide_factor(1.0)
    made.set_force_sum_reduction_for_comms(True)


def is_sharded(tensor: Tensor) -> bool:
    """Whether this rank holds a piece of the tensor only."""
    return isinstance(tensor, DTensor)


def own_piece(tensor: Tensor) -> Tensor:
    """The piece of a tensor that this rank holds; it shares memory with it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor. Of a divided one all ranks must ask at the same time; the first gets
    it, in the host's memory, and the others get nothing, shape [0]."""
    if not isinstance(tensor, DTensor):
        return tensor
    full: Tensor = tensor.full_tensor().detach()
    return full.cpu() if dist.get_rank() == 0 else full.new_empty(0)


def piece_like(target: Tensor, tensor: Tensor) -> Tensor:
    """This rank's piece of a whole tensor, divided as ``target`` is; without a message."""
    if not isinstance(target, DTensor):
        return tensor
    full = tensor.to(target.device)
    made = distribute_tensor(full, target.device_mesh, target.placements, src_data_rank=None)
    # a copy: a view would keep the whole in memory
    return DTensor.from_local(
        own_piece(made).clone(),
        target.device_mesh,
        target.placements,
        run_check=False,
        shape=made.shape,
        stride=made.stride(),
    )


def load_whole(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """``load_state_dict`` of whole tensors into a module that may be divided."""
    own = module.state_dict()
    module.load_state_dict(
        {name: piece_like(own[name], t) if name in own else t for name, t in tensors.items()}
    )


def clip_gradients(parameters: Iterable[nn.Parameter], most: float, ranks: Ranks) -> Tensor:
    """Scale all gradients so that their norm over all parameters is at most ``most``; returns the
    norm before, the same on every rank, not finite where a gradient is not."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    pieces = [own_piece(g) for g in gradients if is_sharded(g)]
    if not pieces:
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
    else:
        rest = torch.nn.utils.get_total_norm([g for g in gradients if not is_sharded(g)])
        squares = ranks.sum(torch.nn.utils.get_total_norm(pieces).square())
        norm = (squares + rest.square()).sqrt()
    factor = (most / (norm + 1e-6)).clamp_max(1.0)
    if gradients:
        torch._foreach_mul_([own_piece(g) for g in gradients], factor)
    return norm


def whole_model(model: FusionModel, ranks: Ranks) -> FusionModel:
    """A model whose weights are whole: itself, or a copy on rank 0 where they are divided. All
    ranks must ask at the same time; the others get the divided model."""
    state = model.state_dict()
    if not any(is_sharded(t) for t in state.values()):
        return model
    tensors = {name: whole(t) for name, t in state.items()}
    if ranks.rank:
        return model
    made = FusionModel(model.config)
    values = {n: t for n, t in tensors.items() if not n.startswith("training_only.")}
    made.load_state_dict(values, assign=True)
    return made.to(model.token_embedding.weight.device).eval().requires_grad_(False)
