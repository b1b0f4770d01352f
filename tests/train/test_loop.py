"""The loop: it learns, keeps its budget, refuses bad steps, resumes where it was."""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from mmcore.errors import MmcoreError, UserError
from mmcore.models.artifact import Artifact
from mmcore.models.predictor import Predictor
from mmcore.train.batches import make_batch, uniforms
from mmcore.train.checkpoint import Snapshot, restore, take_snapshot
from mmcore.train.loop import MAX_REFUSED_IN_A_ROW, Hooks, Trainer
from mmcore.train.losses import TASKS
from mmcore.train.muon import orthogonalise
from mmcore.train.samples import MemorySamples
from mmcore.train.schedule import learning_rate_factor
from mmcore.train.settings import LoopSettings
from mmcore.train.validation import Validation
from tests.models import tiny
from tests.train import world


def trainer(steps: int = 8, count: int = 12, first: int = 0, **changes: object) -> Trainer:
    """A trainer whose budget is ``steps`` seconds of a clock that ticks once a step."""
    ticks = itertools.chain([0], itertools.count(first))
    values = {
        "budget_minutes": steps / 60,
        "batch_size": 6,
        "questions": 2,
        "amp": "off",
        "validations": 0,
        **changes,
    }
    samples = world.training_data(count, seed=3)
    settings = LoopSettings.model_validate(values)
    return Trainer(tiny.model(), samples, settings, seed=3, clock=lambda: float(next(ticks)))


def snapshot(made: Trainer) -> Snapshot:
    return take_snapshot(made.model, made.ema, made.optimizers, made.state, made.ledger)


def weights(made: Trainer) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in made.model.state_dict().items()}


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_it_learns_six_pictures_by_heart(optimizer: str) -> None:
    made = trainer(
        steps=100, count=6, augmentation=0.0, optimizer=optimizer, lr=8e-3, muon_lr=0.05, ema=0.9
    )
    made.fit()
    model = Predictor(Artifact(made.ema.model, tiny.LABELS, tiny.tokenizer()))
    pictures, records = world.samples(6)
    texts = [r["captions"][0]["text"] for r in records]
    similarity = model.encode_texts(texts) @ model.encode_images(pictures).T
    assert (similarity.argmax(axis=1) == np.arange(6)).all()
    asked = [(p, q["question"], q["answer"]) for p, r in zip(pictures, records, strict=True)
             for q in r["qa"]]  # fmt: skip
    answers = model.answer([p for p, _, _ in asked], [q for _, q, _ in asked])
    assert [a for a, _ in answers] == [a for _, _, a in asked]
    assert sum(c == t for c, t in zip(model.caption(pictures), texts, strict=True)) >= 5
    assert (model.sentiment(pictures).argmax(axis=1) == [2, 0, 2, 0, 2, 0]).all()


def test_the_budget_is_kept_and_ends_with_a_small_learning_rate() -> None:
    made = trainer(steps=20, log_seconds=1.0)
    state = made.fit()
    assert state.step == 20 and state.seconds <= 21
    assert state.history[-1]["lr"] < 0.2 * made.settings.lr  # the last of few steps
    assert max(r["lr"] for r in state.history) > 0.9 * made.settings.lr


def test_epochs_may_end_the_run_before_the_budget() -> None:
    assert trainer(steps=1000, max_epochs=2).fit().cursor == 24


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    factors = [learning_rate_factor(p / 100, 0.1, 0.4) for p in range(101)]
    assert factors[10] == factors[60] == 1.0 and factors[100] == 0.0
    assert factors[:11] == sorted(factors[:11]) and factors[10:] == sorted(factors[10:])[::-1]


def test_warm_up_and_cooldown_may_meet() -> None:
    factors = [learning_rate_factor(p / 100, 0.3, 0.9) for p in range(101)]
    assert max(abs(a - b) for a, b in itertools.pairwise(factors)) < 0.04
    assert max(factors) < 1.0 and factors[100] == 0.0


def test_a_cosine_falls_from_the_warm_up_on() -> None:
    factors = [learning_rate_factor(p / 100, 0.1, 0.4, "cosine") for p in range(101)]
    assert factors[10] == 1.0 and factors[55] == pytest.approx(0.5)
    assert factors[10:] == sorted(factors[10:])[::-1] and factors[100] == pytest.approx(0.0)
    made = trainer(steps=20, schedule="cosine", log_seconds=1.0)
    rates = [record["lr"] for record in made.fit().history]
    assert rates[10] == pytest.approx(made.settings.lr / 2, rel=0.15)


def test_a_guess_knows_how_many_pairs_are_contrasted() -> None:
    parts = trainer(accumulate=3, captions=2)
    whole = trainer(accumulate=3, captions=2, gradient_cache=True)
    column = TASKS.index("contrastive")
    assert float(parts._guess_losses[column]) == pytest.approx(math.log(4))
    assert float(whole._guess_losses[column]) == pytest.approx(math.log(12))


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second = trainer(), trainer()
    first.fit()
    second.fit()
    for name, value in weights(first).items():
        torch.testing.assert_close(second.model.state_dict()[name], value, rtol=0, atol=0)


def test_a_step_that_is_not_finite_is_refused_and_counted() -> None:
    made = trainer(steps=4)
    before = weights(made)
    made.model.captioning.norm.weight.register_hook(lambda g: g * float("nan"))
    state = made.fit()
    assert state.refused == 4 and state.step == 4
    for name, value in before.items():
        torch.testing.assert_close(made.model.state_dict()[name], value, rtol=0, atol=0)


def test_steps_that_are_never_finite_end_the_run_with_advice() -> None:
    made = trainer(steps=2 * MAX_REFUSED_IN_A_ROW)
    made.model.captioning.norm.weight.register_hook(lambda g: g * float("nan"))
    with pytest.raises(UserError, match="lower train"):
        made.fit()


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(optimizer: str) -> None:
    whole = trainer(steps=10, optimizer=optimizer)
    saved: dict[int, Snapshot] = {}
    keep = Hooks(checkpoint=lambda t: saved.update({t.state.step: snapshot(t)}))
    whole.settings = whole.settings.model_copy(update={"checkpoint_minutes": 1 / 120})
    whole.fit(keep)
    # its clock goes on one tick after the last one that the checkpoint knows
    resumed = trainer(steps=10, first=1, optimizer=optimizer)
    resumed.state = restore(
        saved[5].files(), resumed.model, resumed.ema, resumed.optimizers, resumed.ledger
    )
    assert (resumed.state.step, resumed.state.cursor) == (5, 30)
    resumed.fit()
    assert resumed.state.step == whole.state.step
    for name, value in weights(whole).items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_a_checkpoint_of_another_model_is_refused() -> None:
    made = trainer(steps=1)
    files = snapshot(made).files()
    other = Trainer(tiny.model(width=64), made.samples, made.settings, 0, clock=lambda: 0.0)
    with pytest.raises(MmcoreError, match="cannot be resumed"):
        restore(files, other.model, other.ema, other.optimizers)


def test_a_run_that_is_told_to_leave_takes_a_checkpoint_first_and_stops() -> None:
    made, saved = trainer(steps=10), []
    hooks = Hooks(
        checkpoint=lambda t: saved.append(t.state.step), leaving=lambda: made.state.step == 3
    )
    assert made.fit(hooks).step == 3
    assert made.left and saved == [3]


def test_no_checkpoint_is_taken_while_one_is_written() -> None:
    made, saved = trainer(steps=8, checkpoint_minutes=1 / 600), []
    hooks = Hooks(
        checkpoint=lambda t: saved.append(t.state.step), ready=lambda: made.state.step % 4 == 3
    )
    made.fit(hooks)
    assert saved == [4, 8]


def test_the_ledger_names_each_visit_of_an_applied_step_once() -> None:
    made = trainer(steps=1000, max_epochs=2, ledger=True, accumulate=2)
    made.fit()
    assert made.ledger is not None
    rows = pq.read_table(pa.BufferReader(made.ledger.parquet())).to_pydict()
    assert rows["step"] == [step for step in (1, 2, 3, 4) for _ in range(6)]
    expected = made.samples.order.slice(0, 24).samples.tolist()
    assert rows["sample"] == expected and sorted(expected) == sorted([*range(12), *range(12)])


def test_accumulation_sees_the_same_samples_in_smaller_parts() -> None:
    made = trainer(steps=2, accumulate=3)
    assert [len(b.pixels) for b in made._batches_at(0)] == [2, 2, 2]
    whole = trainer(steps=2)._batches_at(0)[0]
    parts = torch.cat([b.cluster for b in made._batches_at(0)])
    assert parts.tolist() == whole.cluster.tolist()
    assert made.fit().cursor == 12


def test_ranks_split_the_global_batch_without_changing_any_visit() -> None:
    samples = world.training_data(10, seed=1)
    whole = make_batch(samples, 1, 20, 28, 2)
    halves = [make_batch(samples, 1, s, s + 4, 2) for s in (20, 24)]
    assert torch.cat([h.pixels for h in halves]).equal(whole.pixels)
    assert torch.cat([h.answer for h in halves]).equal(whole.answer)
    assert torch.cat([h.uniform for h in halves]).equal(whole.uniform)


def test_random_numbers_of_visits_are_uniform_and_independent_of_the_slice() -> None:
    numbers = uniforms(5, np.arange(4000), 3, 4)
    np.testing.assert_array_equal(numbers[100:200], uniforms(5, np.arange(100, 200), 3, 4))
    assert numbers.min() >= 0 and numbers.max() < 1
    np.testing.assert_allclose(numbers.mean(axis=0), 0.5, atol=0.03)
    assert np.abs(np.corrcoef(numbers.T) - np.eye(4)).max() < 0.06


# a learning rate at which no look finds anything better
STUCK = {"steps": 100, "validations": 20, "lr": 1e-9, "muon_lr": 1e-9, "log_seconds": 1.0}


def stuck(**changes: Any) -> Trainer:
    made = trainer(**{**STUCK, **changes})
    made.validation = Validation(world.training_data(6))
    return made


def test_patience_lets_the_rate_fall_at_once_and_shortens_the_run() -> None:
    made = stuck(patience=3)
    state = made.fit()
    rates = {record["step"]: record["lr"] / made.settings.lr for record in state.history}
    # the fourth look is the third without a better score
    assert [v["samples"] // 6 for v in state.validations[:4]] == [6, 11, 16, 21]
    assert rates[21] == 1.0 and rates[28] == pytest.approx(0.57, abs=0.01) and rates[35] < 0.1
    assert state.step == 35  # 21 are the three fifths before the cooldown
    again = stuck(patience=3)
    files = snapshot(made).files()
    again.state = restore(files, again.model, again.ema, again.optimizers, again.ledger)
    assert again.fit().step == 35


def test_a_cooldown_that_has_begun_runs_to_its_end() -> None:
    assert stuck(patience=1).fit().step == 19  # after the look at 11, with two more to come
    assert stuck(patience=11).fit().step == 99  # after the twelfth, the last before the cooldown


@pytest.mark.parametrize("broken_by", ["leaving", "crash"])
def test_a_run_broken_off_where_its_patience_ended_goes_on_alike(broken_by: str) -> None:
    whole, broken = stuck(patience=3), stuck(patience=3, checkpoint_minutes=1e-9)
    again = stuck(patience=3, first=int(broken_by == "crash"))  # who leaves has read the clock
    kept: list[Snapshot] = []

    def keep(made: Trainer) -> None:
        kept.append(snapshot(made))
        if broken_by == "crash":
            raise KeyboardInterrupt

    hooks = Hooks(
        leaving=lambda: broken_by == "leaving" and broken.state.step == 21,
        ready=lambda: broken_by == "crash" and broken.state.step == 20,
        checkpoint=keep,
    )
    with contextlib.suppress(KeyboardInterrupt):
        broken.fit(hooks)
    again.state = restore(kept[0].files(), again.model, again.ema, again.optimizers, again.ledger)
    # before or after it was agreed that the budget is shorter
    assert (again.state.step, again.state.budget_share == 1) == (21, broken_by == "crash")
    assert again.fit().step == whole.fit().step == 35
    for name, value in weights(whole).items():
        torch.testing.assert_close(again.model.state_dict()[name], value, rtol=0, atol=0)


def test_patience_needs_something_to_look_at() -> None:
    made, some = trainer(steps=20, validations=10, patience=1), world.training_data(6)
    nothing = some.table.take(np.zeros(0, np.int64))
    made.validation = Validation(
        MemorySamples(nothing, lambda _: np.zeros((0, 3, 32, 32), np.uint8), some.order)
    )
    said: list[dict[str, Any]] = []
    assert made.fit(Hooks(log=said.append)).step == 20
    assert not any("validation" in record for record in said)
    with pytest.raises(ValidationError, match="of 2 only 1 come before the cooldown"):
        LoopSettings(validations=2, patience=1)
    with pytest.raises(ValidationError, match="cosine has no plateau"):
        LoopSettings(validations=9, patience=1, schedule="cosine")


def test_a_batch_that_cannot_be_split_is_refused() -> None:
    with pytest.raises(UserError, match=r"multiple of train\.accumulate 4"):
        trainer(accumulate=4)


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    out = orthogonalise(torch.randn(3, 16, 40), bfloat16=False)
    values = torch.linalg.svdvals(out)
    assert values.min() > 0.6 and values.max() < 1.3
