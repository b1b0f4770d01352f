"""A step in parts has the contrastive gradient of one big batch, on one rank and on two."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

import mmcore.train.augment as augment_module
from mmcore.models.fusion_model import FusionModel, normalise_pixels
from mmcore.train.augment import Augmentation
from mmcore.train.loop import Trainer
from mmcore.train.losses import TASKS
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LoopSettings
from tests.models import tiny
from tests.train import world
from tests.train.two_ranks import on_two_ranks

GRID = list(
    itertools.product(("linear", "conv", "attention"), ("concat", "gated", "cross_attention"))
)
# Matching draws its negatives from a part and the image loss is relative to a part's colours:
# neither is meant to be the loss of one big batch.
WITHIN_A_PART = {"matching": 0.0, "reconstruction": 0.0}
CONTRASTIVE_ONLY = {**dict.fromkeys(TASKS, 0.0), "contrastive": 1.0}


def _double_pixels(pixels: torch.Tensor) -> torch.Tensor:
    return normalise_pixels(pixels).double()


def _trainer(
    model: FusionModel, accumulate: int, ranks: Ranks, weights: dict[str, float], **changes: Any
) -> Trainer:
    """A trainer in float64 that computes a step's gradients but leaves the weights."""
    augment_module.normalise_pixels = _double_pixels  # the test's own process or its fixture
    samples = world.training_data(16, seed=3, captions=changes.get("captions", 1))
    values = {
        "batch_size": 8,
        "accumulate": accumulate,
        "gradient_cache": True,
        "questions": 2,
        "amp": "off",
        "augmentation": 0.0,
        "clip": 1e9,
        "loss_weights": weights,
        **changes,
    }
    settings = LoopSettings.model_validate(values)
    made = Trainer(model.double(), samples, settings, 3, ranks, clock=lambda: 0.0)
    made.optimizers.step = lambda factor: None  # type: ignore[method-assign]
    return made


def _gradients(made: Trainer) -> dict[str, torch.Tensor]:
    made.model.train()
    batches = made._batches_at(0)
    counts = made._agree(0.0, False, False, batches).counts
    made._step(batches, counts, 0.5)
    named = made.model.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


@pytest.fixture(autouse=True)
def _float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment_module, "normalise_pixels", _double_pixels)


def _same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-6, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(("alignment", "fusion"), GRID)
def test_parts_have_the_gradient_of_one_big_batch(alignment: str, fusion: str) -> None:
    def run(accumulate: int, **changes: Any) -> dict[str, torch.Tensor]:
        model = tiny.model(alignment=alignment, fusion=fusion)
        return _gradients(_trainer(model, accumulate, Ranks(), WITHIN_A_PART, **changes))

    whole = run(1)
    _same(run(4), whole)
    alone = run(4, gradient_cache=False)  # each part contrasts its own two samples only
    name = "retrieval.project.text.weight"
    assert (alone[name] - whole[name]).norm() > 0.1 * whole[name].norm()


@pytest.mark.parametrize(
    "changes", [{"contrastive_loss": "sigmoid"}, {"soft_targets": 0.4}, {"captions": 2}]
)
def test_other_contrastive_losses_are_exact_too(changes: dict[str, Any]) -> None:
    whole, parts = (
        _gradients(_trainer(tiny.model(), n, Ranks(), CONTRASTIVE_ONLY, **changes)) for n in (1, 4)
    )
    _same(parts, whole)
    assert whole["retrieval.log_scale"] != 0
    if "contrastive_loss" in changes:
        assert whole["training_only.contrastive_bias"] != 0


@pytest.mark.parametrize(
    "model", [{}, {"text": {"kind": "bag", "word_dropout": 0.3}, "alignment": "pooled"}]
)
def test_the_second_pass_repeats_the_dropout_of_the_first(model: dict[str, Any]) -> None:
    made = _trainer(tiny.model(dropout=0.4, **model), 4, Ranks(), CONTRASTIVE_ONLY)
    found = _gradients(made)
    # the same, keeping every activation: embed each part with its random numbers, then one loss
    losses, model = made.losses, made.model
    made.state.step, made.state.cursor = 0, 0
    batches = made._batches_at(0)
    model.zero_grad()
    embedded = []
    for part, batch in enumerate(batches):
        made._reseed(part)
        embedded.append(losses._encode(batch, Augmentation(0.0)).pairs)
    both = tuple(torch.cat(column) for column in zip(*embedded, strict=True))
    total = losses._contrastive(batches, both, losses._head(), Ranks(), None)
    count = sum(losses.counts(b)[TASKS.index("contrastive")] for b in batches)
    (total / (count * made._guess_losses[TASKS.index("contrastive")])).backward()
    expected = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    _same({name: found[name] for name in expected}, expected)


def test_a_bag_of_words_without_dropout_is_exact_too() -> None:
    whole, parts = (
        _gradients(
            _trainer(
                tiny.model(text={"kind": "bag"}, alignment="pooled"), n, Ranks(), WITHIN_A_PART
            )
        )
        for n in (1, 4)
    )
    _same(parts, whole)


def test_batch_norm_counts_each_part_once() -> None:
    image = {"kind": "plain", "size": 32, "widths": (16, 32), "depths": (1, 1)}
    made = _trainer(tiny.model(image=image), 4, Ranks(), CONTRASTIVE_ONLY)
    _gradients(made)
    state = made.model.state_dict()
    counted = [int(value) for name, value in state.items() if name.endswith("tracked")]
    assert counted == [4, 4]


def _rank_main(ranks: Ranks, folder: str, accumulate: int) -> None:
    found = []
    for alignment, fusion in GRID:
        model = tiny.model(alignment=alignment, fusion=fusion)
        found.append(_gradients(_trainer(model, accumulate, ranks, WITHIN_A_PART)))
    torch.save(found, f"{folder}/gradients-{ranks.rank}.pt")


def test_two_ranks_in_parts_have_the_gradient_of_one_big_batch(tmp_path: Path) -> None:
    on_two_ranks(_rank_main, tmp_path, str(tmp_path), 2)
    ranks = [torch.load(tmp_path / f"gradients-{rank}.pt") for rank in range(2)]
    for number, (alignment, fusion) in enumerate(GRID):
        model = tiny.model(alignment=alignment, fusion=fusion)
        whole = _gradients(_trainer(model, 1, Ranks(), WITHIN_A_PART))
        for found in ranks:
            filled = {n: g for n, g in found[number].items() if n in whole or g.any()}
            _same(filled, whole)
