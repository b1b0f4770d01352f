"""What a training says of itself: true numbers, and one line that a person can read."""

from __future__ import annotations

import time

import pytest
import torch

from mmcore.train.batches import make_batch
from mmcore.train.loop import Hooks
from mmcore.train.progress import Meter, progress_line, text_tokens
from tests.models import tiny
from tests.train import world
from tests.train.test_loop import trainer

CPU = torch.device("cpu")


def test_tokens_are_counted_without_padding() -> None:
    batch = make_batch(world.training_data(6), 0, 0, 6, 2)
    tokenizer = tiny.tokenizer()
    captions = [record["captions"][0]["text"] for record in world.samples(6)[1]]
    asked = ["what colour is the square?", "where is the square?"]  # each is encoded once
    expected = sum(len(ids) + 2 for ids in tokenizer.ids([*captions, *asked]))  # BOS and EOS
    assert text_tokens(batch) == expected


def test_gradients_of_refused_steps_do_not_spoil_the_mean() -> None:
    meter, batch = Meter(CPU), make_batch(world.training_data(6), 0, 0, 6, 2)
    for norm in (1.0, float("nan"), 3.0, float("inf")):
        meter.add([batch], torch.tensor(norm))
    assert meter.read(1)["gradient_norm"] == {"mean": 2.0, "max": 3.0}
    assert "gradient_norm" not in meter.read(1)  # a new interval


def test_waiting_and_work_are_told_apart() -> None:
    meter = Meter(CPU)
    with meter.waiting("data"):
        time.sleep(0.2)
    waited = meter.read(1)
    assert waited["waiting"]["data"] > 0.9 and waited["waiting"]["messages"] == 0
    assert waited["utilisation"] < 0.3  # a sleeping process does nothing
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert meter.read(1)["utilisation"] > 3 * waited["utilisation"]


def test_a_training_reports_speed_gradients_and_memory() -> None:
    records = []
    made = trainer(steps=6, log_seconds=2.0)
    made.fit(Hooks(log=records.append))
    assert len(records) == 2 and records == made.state.history
    for record in records:
        assert record["tokens_per_second"] > 0 and record["peak_memory_mb"] > 100
        assert 0 < record["gradient_norm"]["mean"] <= record["gradient_norm"]["max"]
        assert progress_line(record).count("\n") == 0


@pytest.mark.parametrize(("changes", "steps"), [({}, 8), ({"max_epochs": 2}, 4)])
def test_the_time_left_is_what_the_training_then_takes(
    changes: dict[str, object], steps: int
) -> None:
    made = trainer(steps=8, log_seconds=1.0, **changes)  # a step is a second of its clock
    state = made.fit()
    assert (state.step, state.seconds) == (steps, steps)
    assert len(state.history) == steps - 1
    for record in state.history:
        assert record["seconds"] + record["eta_seconds"] == pytest.approx(steps, abs=0.1)
        assert record["progress"] == pytest.approx(record["seconds"] / steps, abs=1e-3)


@pytest.mark.parametrize(
    ("tokens", "said"), [(0.0, "0"), (853.4, "853"), (2149.0, "2.1k"), (1.26e6, "1.3M")]
)
def test_tokens_a_second_are_said_in_few_letters(tokens: float, said: str) -> None:
    made = trainer(steps=3, log_seconds=1.0)
    record = {**made.fit().history[0], "tokens_per_second": tokens}
    assert f"/s, {said} tokens/s, loss/guess" in progress_line(record)


@pytest.mark.parametrize(("share", "said"), [(0.3, True), (0.01, False)])
def test_the_line_speaks_of_waiting_where_it_matters(share: float, said: bool) -> None:
    record = {
        "progress": 0.25,
        "samples": 1234,
        "samples_per_second": 99.0,
        "tokens_per_second": 2149.0,
        "losses": {"vqa": 0.5},
        "lr": 1e-3,
        "waiting": {"data": share, "messages": 0.0},
        "gradient_norm": {"mean": 1.5, "max": 2.0},
        "utilisation": 0.97,
        "eta_seconds": 30.0,
        "refused": 0,
    }
    line = progress_line(record)
    assert line.startswith(" 25% 1,234 samples, 99/s, 2.1k tokens/s, loss/guess vqa 0.50, ")
    assert "lr 1.0e-03, gradient 1.5, busy 97%" in line and line.endswith("30 s left")
    assert ("waiting for data 30%" in line) is said
