"""Frozen parts stay as they are to the last bit, then learn; refused steps leave no trace."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from mmcore.train.checkpoint import Snapshot, restore
from mmcore.train.freezing import parts_of
from mmcore.train.loop import Hooks, Trainer
from mmcore.train.settings import FREEZABLE, LoopSettings
from tests.models import tiny
from tests.train.test_loop import snapshot, trainer

PLAIN = {"kind": "plain", "size": 32, "widths": (16, 32), "depths": (1, 1)}
SHARES = {"image_encoder": 0.5, "text_encoder": 0.75, "heads": 1.0}


def _plain(made: Trainer, **changes: object) -> Trainer:
    """The trainer again, on a model with batch norm, which is sure to move in every step."""
    settings = LoopSettings.model_validate({**made.settings.model_dump(), **changes})
    model = tiny.model(image=PLAIN)
    return Trainer(model, made.samples, settings, seed=3, clock=made.clock)


def _of(state: dict[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if name.startswith(f"{part}.")}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(a[name].equal(value) for name, value in b.items())


def _states(made: Trainer) -> list[dict[str, torch.Tensor]]:
    """The model's weights and buffers before the first step and after each."""
    states = [{k: v.clone() for k, v in made.model.state_dict().items()}]
    steps = made._step

    def step(*args: object) -> None:
        steps(*args)  # type: ignore[arg-type]
        states.append({k: v.clone() for k, v in made.model.state_dict().items()})

    made._step = step  # type: ignore[method-assign]
    made.fit()
    return states


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_parts_stay_bit_equal_until_their_share_and_move_after_it(optimizer: str) -> None:
    made = _plain(trainer(steps=8, optimizer=optimizer), freeze=SHARES)
    states = _states(made)
    assert len(states) == 9
    first = states[0]
    for part, frozen in (("image_encoder", 4), ("text_encoder", 6), ("answering", 8)):
        moved = [not _same(state, _of(first, part)) for state in states]
        # step k is made at a progress of k / 8
        assert moved == [False] * (frozen + 1) + [True] * (8 - frozen)
    assert not _same(states[1], _of(first, "fusion"))
    averaged = made.ema.model.state_dict()
    assert _same(averaged, _of(first, "answering"))
    assert not _same(averaged, _of(first, "image_encoder"))


def test_a_frozen_part_costs_no_gradient_and_no_optimizer_state() -> None:
    made = _plain(trainer(steps=4), freeze={"image_encoder": 1.0, "text_encoder": 0.5})
    made.fit(Hooks())
    parts = parts_of(made.model, ("image_encoder", "text_encoder"))
    assert all(p.grad is None for p in parts["image_encoder"])
    assert not any(made.optimizers.state_of(p) for p in parts["image_encoder"])
    steps = [made.optimizers.state_of(p).get("step") for p in parts["text_encoder"]]
    assert {int(step) for step in steps if step is not None} == {2}  # of four


def test_a_run_resumes_between_two_thaws_as_if_unbroken() -> None:
    whole = _plain(trainer(steps=10), freeze=SHARES, checkpoint_minutes=1 / 120)
    saved: dict[int, Snapshot] = {}
    whole.fit(Hooks(checkpoint=lambda t: saved.update({t.state.step: snapshot(t)})))
    resumed = _plain(trainer(steps=10, first=1), freeze=SHARES)
    resumed.state = restore(saved[6].files(), resumed.model, resumed.ema, resumed.optimizers)
    assert resumed.state.step == 6
    resumed.fit()
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("freeze", "says"),
    [
        ({"encoder": 0.5}, "'encoder' must be one of image_encoder, token_embedding"),
        ({"fusion": 1.5}, "between 0 and 1"),
        (dict.fromkeys(FREEZABLE, 0.1), "at least one part"),
    ],
)
def test_unknown_parts_and_impossible_shares_are_refused(
    freeze: dict[str, float], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        LoopSettings(freeze=freeze)


def test_every_weight_but_those_of_missing_modalities_is_in_a_part() -> None:
    model = tiny.model()
    known = {id(p) for found in parts_of(model, FREEZABLE).values() for p in found}
    left = {n for n, p in model.named_parameters() if id(p) not in known}
    assert {name.split(".")[0] for name in left} == {"missing_token", "missing_pooled"}


def test_a_refused_step_moves_no_running_statistics() -> None:
    made = _plain(trainer(steps=3))
    made.fit()
    before = {k: v.clone() for k, v in made.model.state_dict().items()}
    again = _plain(trainer(steps=3))
    again.model.captioning.norm.weight.register_hook(
        lambda g: g * float("nan") if again.state.step == 2 else g
    )
    states = _states(again)
    assert again.state.refused == 1
    assert _same(states[3], states[2]) and not _same(states[2], states[1])
    assert not _same(before, states[3])


def test_a_batch_that_is_all_nan_leaves_the_model_usable() -> None:
    made = _plain(trainer(steps=2, count=6))
    batches = made._batches_at(0)
    counts = made._agree(0.0, False, False, batches).counts
    made.model.train()
    made._step(batches, counts, 0.5)
    broken = {k: v.clone() for k, v in made.model.state_dict().items()}
    made.model.image_encoder.register_forward_pre_hook(lambda _, seen: seen[0] * float("nan"))
    made._step(batches, counts, 0.5)
    assert made.state.refused == 1
    assert all(torch.isfinite(v).all() for v in made.model.state_dict().values())
    assert _same(made.model.state_dict(), broken)
