"""Muon on two ranks, which share the matrices out: every weight goes where one rank takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmcore.train.augment as augment_module
from mmcore.models.fusion_model import normalise_pixels
from mmcore.train.loop import Trainer
from mmcore.train.muon import Muon
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LoopSettings
from tests.models import tiny
from tests.train import world
from tests.train.two_ranks import on_two_ranks

# several of a shape, lying and standing: one that got another's update would not be noticed by size
SHAPES = [(16, 24), (24, 16), (16, 24), (16, 8, 3, 3), (40, 16), (24, 16), (20, 20), (16, 24)]
FROZEN, THAWING = 2, 5  # never has a gradient; has one from the second step on
STEPS = 2


def _gradient(step: int, number: int, rank: int) -> Tensor:
    """Multiples of 1/64, which two ranks add without rounding."""
    generator = torch.Generator().manual_seed(100 * step + 10 * number + rank)
    return torch.randint(-64, 65, SHAPES[number], generator=generator) / 64


def _start() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def _stepped(ranks: Ranks) -> list[Tensor]:
    """The weights after some steps, of which each rank knows its own share of the gradients."""
    parameters = _start()
    made = Muon(parameters, lr=0.1, weight_decay=0.05, ranks=ranks, bfloat16=False)
    shares = range(2) if ranks.world == 1 else [ranks.rank]
    for step in range(STEPS):
        for number, parameter in enumerate(parameters):
            if number != FROZEN and (number, step) != (THAWING, 0):
                parameter.grad = torch.stack([_gradient(step, number, r) for r in shares]).sum(0)
        ranks.sum_gradients(parameters)
        made.step()
    return [parameter.detach() for parameter in parameters]


def _rank_main(ranks: Ranks, folder: str) -> None:
    torch.save(_stepped(ranks), f"{folder}/weights-{ranks.rank}.pt")


def test_two_ranks_step_every_matrix_as_one_rank_does(tmp_path: Path) -> None:
    on_two_ranks(_rank_main, tmp_path, str(tmp_path))
    alone = _stepped(Ranks())
    moved = [not value.equal(start) for value, start in zip(alone, _start(), strict=True)]
    assert moved == [number != FROZEN for number in range(len(SHAPES))]
    for rank in range(2):
        found = torch.load(tmp_path / f"weights-{rank}.pt")
        for number, (value, expected) in enumerate(zip(found, alone, strict=True)):
            torch.testing.assert_close(
                value,
                expected,
                rtol=1e-5,
                atol=1e-5,  # a step is of 0.1
                msg=lambda m, n=number: f"{n}, {SHAPES[n]}: {m}",
            )


def _double_pixels(pixels: Tensor) -> Tensor:
    return normalise_pixels(pixels).double()


@pytest.fixture(autouse=True)
def _float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment_module, "normalise_pixels", _double_pixels)


def _trained(ranks: Ranks) -> dict[str, Tensor]:
    """A model after some steps of the loop with its default optimizer; in float64, so that the
    order of a sum does not show."""
    augment_module.normalise_pixels = _double_pixels  # the test's own process or its fixture
    values: dict[str, Any] = {
        "batch_size": 8,
        "questions": 2,
        "amp": "off",
        "freeze": {"text_encoder": 1.0},
        # these two are relative to a rank's own share, on purpose
        "loss_weights": {"matching": 0.0, "reconstruction": 0.0},
    }
    settings = LoopSettings.model_validate(values)
    assert settings.optimizer == "muon"
    samples = world.training_data(16, seed=3)
    made = Trainer(tiny.model().double(), samples, settings, 3, ranks, clock=lambda: 0.0)
    made.model.train()
    for _ in range(STEPS):
        batches = made._batches_at(made.state.cursor)
        made._step(batches, made._agree(0.0, False, False, batches).counts, 0.5)
    return {name: value.clone() for name, value in made.model.state_dict().items()}


def _train_main(ranks: Ranks, folder: str) -> None:
    torch.save(_trained(ranks), f"{folder}/model-{ranks.rank}.pt")


def test_two_ranks_train_a_model_as_one_rank_does(tmp_path: Path) -> None:
    on_two_ranks(_train_main, tmp_path, str(tmp_path))
    alone, start = _trained(Ranks()), tiny.model().double().state_dict()
    frozen = {name for name, value in alone.items() if value.equal(start[name])}
    assert {name for name in alone if name.startswith("text_encoder.")} <= frozen
    assert not frozen & {"fusion.join.weight", "captioning.norm.weight"}
    for rank in range(2):
        found = torch.load(tmp_path / f"model-{rank}.pt")
        assert found.keys() == alone.keys()
        for name, expected in alone.items():
            torch.testing.assert_close(
                found[name], expected, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
            )
