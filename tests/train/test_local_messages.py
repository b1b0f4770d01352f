"""Messages of one machine's ranks through memory: what gloo gives, and an end to every wait."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from mmcore.errors import MmcoreError
from mmcore.train.local_messages import ROOM_BYTES, LocalMessages
from mmcore.train.ranks import Ranks
from tests.train.two_ranks import on_two_ranks

PATIENCE = 30.0


def _same_as_gloo(ranks: Ranks, folder: Path) -> None:
    tempfile.tempdir = str(folder)
    near = Ranks(ranks.rank, 2, local=LocalMessages.connect(ranks.rank, 2, PATIENCE))
    dist.barrier()
    assert not list(folder.iterdir())  # nothing is left to be swept
    torch.manual_seed(ranks.rank)
    longer = ROOM_BYTES // 4 + 1001  # than a room of float32 holds
    for kind, shape in (
        (torch.float64, (15,)),
        (torch.int64, (64, 3)),
        (torch.float32, (7, 5)),
        (torch.uint8, (1,)),
        (torch.float32, (longer,)),
    ):
        values = (100 * torch.rand(shape)).to(kind)
        torch.testing.assert_close(
            near.sum(values.clone()), ranks.sum(values.clone()), rtol=0, atol=0
        )
        pieces = values.bfloat16() if kind.is_floating_point else values
        sizes = [len(pieces)] * 2
        assert torch.equal(near.gather_pieces(pieces, sizes), ranks.gather_pieces(pieces, sizes))
    turned = torch.arange(6.0).view(2, 3).T  # not contiguous
    assert torch.equal(near.sum(turned.clone(memory_format=torch.preserve_format)), 2 * turned)
    uneven = torch.full((2 + ranks.rank, 2), float(ranks.rank))
    assert near.gather_pieces(uneven, [2, 3])[:, 0].tolist() == [0, 0, 1, 1, 1]


def test_sums_and_gathers_are_those_of_gloo(tmp_path: Path) -> None:
    (tmp_path / "sockets").mkdir()
    on_two_ranks(_same_as_gloo, tmp_path, tmp_path / "sockets")


def _gradients(ranks: Ranks) -> None:
    near = Ranks(ranks.rank, 2, local=LocalMessages.connect(ranks.rank, 2, PATIENCE))
    sums = []
    for way in (near, ranks):
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


def _left_alone(ranks: Ranks) -> None:
    local = LocalMessages.connect(ranks.rank, 2, PATIENCE)
    local.sum(torch.ones(3))
    if ranks.rank == 1:
        os._exit(0)  # as a process that is killed: nothing is said to anybody
    began = time.monotonic()
    with pytest.raises(MmcoreError, match="has ended"):
        for _ in range(3):
            local.sum(torch.ones(3))
    assert time.monotonic() - began < PATIENCE / 2
    os._exit(0)  # nor can torch.distributed end as if both were there


def test_a_rank_that_ends_leaves_nobody_waiting(tmp_path: Path) -> None:
    on_two_ranks(_left_alone, tmp_path)


def _not_heard_of(ranks: Ranks) -> None:
    local = LocalMessages.connect(ranks.rank, 2, 0.2)
    if ranks.rank == 0:
        with pytest.raises(MmcoreError, match="not heard of"):
            local.sum(torch.ones(3))
    dist.barrier()


def test_a_rank_that_hangs_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    on_two_ranks(_not_heard_of, tmp_path)
