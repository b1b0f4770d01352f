"""Messages of one machine's ranks through memory: what gloo gives, and an end to every wait."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from mmcore.errors import MmcoreError
from mmcore.train import local_messages
from mmcore.train.local_messages import ROOM_BYTES, LocalMessages
from mmcore.train.ranks import Ranks
from tests.train.two_ranks import on_two_ranks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")

PATIENCE = 30.0


def _near(ranks: Ranks) -> Ranks:
    local = LocalMessages.connect(ranks.rank, ranks.world, PATIENCE)
    assert local is not None
    return Ranks(ranks.rank, ranks.world, local=local)


def _same_as_gloo(ranks: Ranks) -> None:
    near = _near(ranks)
    torch.manual_seed(ranks.rank)
    longer = ROOM_BYTES // 4 + 1001  # than a room of float32 holds
    for kind, shape in (
        (torch.float64, (15,)),
        (torch.int64, (64, 3)),
        (torch.float32, (7, 5)),
        (torch.bfloat16, (33,)),
        (torch.uint8, (1,)),
        (torch.float32, (0, 4)),
        (torch.float32, (longer,)),
    ):
        values = (100 * torch.rand(shape)).to(kind)
        sizes = [len(values)] * ranks.world
        assert torch.equal(near.gather_pieces(values, sizes), ranks.gather_pieces(values, sizes))
        # whole numbers, whose sums are the same in any order
        whole = values.round() if kind.is_floating_point else values
        assert torch.equal(near.sum(whole.clone()), ranks.sum(whole.clone()))
    turned = torch.arange(6.0).view(2, 3).T  # not contiguous
    assert torch.equal(near.sum(turned.clone()), ranks.world * turned)
    uneven = torch.full((2 + ranks.rank, 2), float(ranks.rank))
    found = near.gather_pieces(uneven, [2 + rank for rank in range(ranks.world)])[:, 0]
    assert found.tolist() == [rank for rank in range(ranks.world) for _ in range(2 + rank)]


@pytest.mark.parametrize("world", [2, 3])
def test_sums_and_gathers_are_those_of_gloo(world: int, tmp_path: Path) -> None:
    on_two_ranks(_same_as_gloo, tmp_path, world=world)


def _gradients(ranks: Ranks) -> None:
    sums = []
    for way in (_near(ranks), ranks):
        torch.manual_seed(ranks.rank)
        model = torch.nn.Sequential(torch.nn.Linear(9, 40), torch.nn.Linear(40, 3))
        model(torch.randn(5, 9)).square().sum().backward()
        if ranks.rank == 0:
            model[0].bias.grad = None  # there on one rank only
        model[1].bias.grad = None  # on none
        way.sum_gradients(list(model.parameters()))
        sums.append([p.grad for p in model.parameters()])
    assert sums[0][3] is None and sums[1][3] is None
    for ours, gloos in zip(sums[0][:3], sums[1][:3], strict=True):
        assert torch.equal(ours, gloos)


def test_gradients_are_summed_alike(tmp_path: Path) -> None:
    on_two_ranks(_gradients, tmp_path)


def _left_alone(ranks: Ranks, how: str) -> None:
    local = _near(ranks).local
    assert local is not None
    local.sum(torch.ones(3))
    if ranks.rank == 1 and how == "killed":
        os._exit(0)  # nothing is said to anybody
    if ranks.rank == 1:
        local.close()
        os._exit(0)
    began = time.monotonic()
    with pytest.raises(MmcoreError, match="has ended"):
        for _ in range(3):
            local.sum(torch.ones(3))
    assert time.monotonic() - began < PATIENCE / 2
    os._exit(0)  # nor can torch.distributed end as if both were there


@pytest.mark.parametrize("how", ["killed", "closed"])
def test_a_rank_that_ends_leaves_nobody_waiting(how: str, tmp_path: Path) -> None:
    on_two_ranks(_left_alone, tmp_path, how)


def _apart(ranks: Ranks) -> None:
    local = LocalMessages.connect(ranks.rank, 2, 0.2)
    assert local is not None
    if ranks.rank == 0:
        with pytest.raises(MmcoreError, match="not heard of"):
            local.sum(torch.ones(3))
    dist.barrier()
    other = _near(ranks).local
    assert other is not None
    with pytest.raises(MmcoreError, match="disagree"):
        other.sum(torch.ones(3 + ranks.rank))


def test_ranks_that_hang_or_disagree_are_told_apart(tmp_path: Path) -> None:
    on_two_ranks(_apart, tmp_path)


def _without_memory(ranks: Ranks) -> None:
    if ranks.rank == 0:
        local_messages._new_memory = lambda size: None
    assert LocalMessages.connect(ranks.rank, 2, PATIENCE) is None


def test_where_the_system_does_not_offer_it_no_rank_uses_it(tmp_path: Path) -> None:
    on_two_ranks(_without_memory, tmp_path)
