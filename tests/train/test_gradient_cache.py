"""A step in parts has the contrastive gradient of one big batch, on one rank and on two."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

import mmcore.train.augment as augment_module
from mmcore.models.fusion_model import FusionModel, normalise_pixels
from mmcore.shards.order import rank_share
from mmcore.train.augment import Augmentation
from mmcore.train.batches import make_batch
from mmcore.train.loop import Trainer, hash_seed
from mmcore.train.losses import TASKS
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LoopSettings
from tests.models import tiny
from tests.train import world
from tests.train.two_ranks import on_two_ranks

Case = tuple[dict[str, Any], dict[str, Any]]  # changes of the model and of the settings

# Matching draws its negatives from a part and the image loss is relative to a part's colours:
# neither is meant to be the loss of one big batch.
WITHIN_A_PART = {"matching": 0.0, "reconstruction": 0.0}
CONTRASTIVE_ONLY = {**dict.fromkeys(TASKS, 0.0), "contrastive": 1.0}
PLAIN = {"kind": "plain", "size": 32, "widths": (16, 32), "depths": (1, 1)}

GRID: list[Case] = [
    ({"alignment": alignment, "fusion": fusion}, {})
    for alignment, fusion in itertools.product(
        ("linear", "conv", "attention"), ("concat", "gated", "cross_attention")
    )
]
OTHERS: dict[str, Case] = {
    "sigmoid": ({}, {"contrastive_loss": "sigmoid"}),
    "soft-targets": ({}, {"soft_targets": 0.4}),
    "captions": ({}, {"captions": 2}),
    "gru": ({"text": {"kind": "gru"}}, {}),
    "lstm": ({"text": {"kind": "lstm"}}, {}),
    "bag-pooled": ({"text": {"kind": "bag"}, "alignment": "pooled"}, {}),
}
UNEVEN: Case = ({}, {"batch_size": 6})  # in two parts of three, which two ranks cannot halve
# What is random inside the model, and what ties the samples of a part together (batch norm): here
# no batch in one piece is the same, only the parts at once.
RANDOM: dict[str, Case] = {
    "dropout": ({"dropout": 0.4}, {}),
    "dropout-sigmoid-captions": (
        {"dropout": 0.4},
        {"contrastive_loss": "sigmoid", "captions": 2},
    ),
    "dropout-gru": ({"dropout": 0.4, "text": {"kind": "gru", "depth": 2}}, {}),
    "hidden-words-pooled": (
        {"dropout": 0.4, "text": {"kind": "bag", "word_dropout": 0.3}, "alignment": "pooled"},
        {},
    ),
    "batch-norm": ({"dropout": 0.4, "image": PLAIN}, {}),
}


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


def _at_once(made: Trainer, world_size: int) -> dict[str, torch.Tensor]:
    """The gradients of the step's contrastive loss without the cache: this process embeds every
    part of every rank, each with its own random numbers, keeps all activations, and contrasts all
    samples at once."""
    losses, model, settings = made.losses, made.model, made.settings
    model.train()
    part = settings.batch_size // settings.accumulate
    batches, embedded = [], []
    for rank, number in itertools.product(range(world_size), range(settings.accumulate)):
        share = rank_share(part * number, part, rank, world_size)
        wanted = settings.questions, settings.captions
        batches.append(make_batch(made.samples, made.seed, *share, *wanted))
        torch.manual_seed(hash_seed(made.seed, 0, rank) + number)
        embedded.append(losses._encode(batches[-1], Augmentation(0.0)).pairs)
    both = tuple(torch.cat(column) for column in zip(*embedded, strict=True))
    total = losses._contrastive(batches, both, losses._head(), Ranks(), None)
    task = TASKS.index("contrastive")
    count = sum(losses.counts(batch)[task] for batch in batches)
    (total / (count * made._guess_losses[task])).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture(autouse=True)
def _float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment_module, "normalise_pixels", _double_pixels)


def _same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal gradients; one that is missing here may be there as zeros."""
    assert found.keys() >= expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(
            gradient,
            expected.get(name, torch.zeros_like(gradient)),
            rtol=1e-6,
            atol=1e-10,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize(("model", "changes"), GRID)
def test_parts_have_the_gradient_of_one_big_batch(
    model: dict[str, Any], changes: dict[str, Any]
) -> None:
    def run(accumulate: int, **more: Any) -> dict[str, torch.Tensor]:
        made = _trainer(tiny.model(**model), accumulate, Ranks(), WITHIN_A_PART, **changes, **more)
        return _gradients(made)

    whole = run(1)
    _same(run(4), whole)
    alone = run(4, gradient_cache=False)  # each part contrasts its own two samples only
    name = "retrieval.project.text.weight"
    assert (alone[name] - whole[name]).norm() > 0.1 * whole[name].norm()


@pytest.mark.parametrize("case", OTHERS)
def test_other_losses_and_encoders_are_exact_too(case: str) -> None:
    model, changes = OTHERS[case]
    whole, parts = (
        _gradients(_trainer(tiny.model(**model), n, Ranks(), WITHIN_A_PART, **changes))
        for n in (1, 4)
    )
    _same(parts, whole)
    assert whole["retrieval.log_scale"] != 0
    if case == "sigmoid":
        assert whole["training_only.contrastive_bias"] != 0


@pytest.mark.parametrize("case", RANDOM)
def test_the_second_pass_repeats_the_random_numbers_of_the_first(case: str) -> None:
    model, changes = RANDOM[case]
    parts, kept = (
        _trainer(tiny.model(**model), 4, Ranks(), CONTRASTIVE_ONLY, **changes) for _ in range(2)
    )
    _same(_gradients(parts), _at_once(kept, 1))


def test_batch_norm_counts_each_part_once() -> None:
    made = _trainer(tiny.model(image=PLAIN), 4, Ranks(), CONTRASTIVE_ONLY)
    _gradients(made)
    state = made.model.state_dict()
    counted = [int(value) for name, value in state.items() if name.endswith("tracked")]
    assert counted == [4, 4]


WHOLE = [*GRID, *OTHERS.values(), UNEVEN]


def _rank_main(ranks: Ranks, folder: str) -> None:
    weights = [WITHIN_A_PART] * len(WHOLE) + [CONTRASTIVE_ONLY] * len(RANDOM)
    found = []
    for (model, changes), tasks in zip([*WHOLE, *RANDOM.values()], weights, strict=True):
        made = _trainer(tiny.model(**model), 2, ranks, tasks, **changes)
        found.append(_gradients(made))
    torch.save(found, f"{folder}/gradients-{ranks.rank}.pt")


@pytest.fixture(scope="module")
def on_each_rank(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, torch.Tensor]]]:
    """The gradients that each of two gloo ranks has, of each case in two parts."""
    folder = tmp_path_factory.mktemp("parts")
    on_two_ranks(_rank_main, folder, str(folder))
    return [torch.load(folder / f"gradients-{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("number", range(len(WHOLE)))
def test_two_ranks_in_parts_have_the_gradient_of_one_big_batch(
    number: int, on_each_rank: list[list[dict[str, torch.Tensor]]]
) -> None:
    model, changes = WHOLE[number]
    whole = _gradients(_trainer(tiny.model(**model), 1, Ranks(), WITHIN_A_PART, **changes))
    for found in on_each_rank:
        _same(found[number], whole)


@pytest.mark.parametrize("case", RANDOM)
def test_each_of_two_ranks_repeats_its_own_random_numbers(
    case: str, on_each_rank: list[list[dict[str, torch.Tensor]]]
) -> None:
    model, changes = RANDOM[case]
    kept = _at_once(_trainer(tiny.model(**model), 2, Ranks(), CONTRASTIVE_ONLY, **changes), 2)
    for found in on_each_rank:
        _same(found[len(WHOLE) + list(RANDOM).index(case)], kept)
