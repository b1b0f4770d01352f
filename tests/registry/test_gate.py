"""The gate refuses what is not proven and says why."""

from __future__ import annotations

from typing import Any

import pytest

from mmcore.errors import UserError
from mmcore.registry import Gate, decide


def _difference(value: float, low: float, high: float) -> dict[str, Any]:
    return {"accuracy": {"value": value, "low": low, "high": high}}


def _scores(
    blind: tuple[float, float, float] = (0.3, 0.2, 0.4),
    champion: tuple[float, float, float] | None = None,
    images: int = 100,
) -> dict[str, Any]:
    """The `scores.json` of a model with accuracy 0.8 on one task."""
    return {
        "tasks": {
            "vqa": {
                "primary": "accuracy",
                "images": images,
                "labels": "gold",
                "metrics": {"accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}},
                "blind": {
                    "name": "majority",
                    "metrics": {"accuracy": 0.8 - blind[0]},
                    "difference": _difference(*blind),
                },
                "champion": champion
                and {
                    "metrics": {"accuracy": 0.8 - champion[0]},
                    "difference": _difference(*champion),
                },
            }
        }
    }


def test_first_model_passes_when_it_beats_the_blind_guess():
    decision = decide(_scores(), Gate())
    assert decision.passed and decision.reasons == []


@pytest.mark.parametrize("blind", [(0.05, -0.01, 0.1), (0.0, 0.0, 0.0), (-0.1, -0.2, -0.05)])
def test_score_not_proven_above_the_blind_guess_is_refused_with_both_numbers(blind):
    decision = decide(_scores(blind), Gate())
    assert not decision.passed
    assert "vqa: accuracy 0.800 is not clearly above" in decision.reasons[0]


def test_weak_labels_do_not_decide_where_checked_ones_exist():
    scores, guessing = _scores(), _scores(blind=(-0.1, -0.2, -0.05))
    weak = guessing["tasks"]["vqa"] | {"labels": "weak"}
    assert not decide({"tasks": {"tags": weak}}, Gate()).passed
    together = decide({"tasks": {**scores["tasks"], "tags": weak}}, Gate())
    assert together.passed
    assert any("tags: not judged" in finding.message for finding in together.findings)


def test_margin_must_be_exceeded_by_the_interval():
    assert not decide(_scores(), Gate(blind_margin=0.2)).passed
    assert decide(_scores(), Gate(blind_margin=0.19)).passed


def test_higher_asks_for_the_score_only():
    assert decide(_scores((0.05, -0.01, 0.1)), Gate(beat_blind="higher")).passed
    assert not decide(_scores((0.0, -0.01, 0.1)), Gate(beat_blind="higher")).passed


@pytest.mark.parametrize(
    ("champion", "passed"),
    [
        ((0.1, 0.05, 0.15), True),
        ((-0.01, -0.015, -0.005), True),  # proven, but within the tolerance
        ((-0.1, -0.25, 0.02), True),  # large, but may be chance
        ((-0.1, -0.15, -0.05), False),
    ],
)
def test_candidate_is_refused_only_when_clearly_and_materially_worse(champion, passed):
    decision = decide(_scores(champion=champion), Gate())
    assert decision.passed is passed
    assert passed or "worse than the champion" in decision.reasons[0]


def test_score_that_is_not_a_number_never_passes():
    scores = _scores()
    scores["tasks"]["vqa"]["blind"]["difference"]["accuracy"] = dict.fromkeys(
        ("value", "low", "high")
    )
    assert not decide(scores, Gate()).passed
    scores = _scores(champion=(0.1, 0.0, 0.2))
    scores["tasks"]["vqa"]["champion"]["difference"]["accuracy"]["high"] = float("nan")
    assert not decide(scores, Gate()).passed


def test_task_with_few_images_is_not_judged_but_something_must_be():
    decision = decide(_scores((-0.1, -0.2, 0.0), images=5), Gate(min_images=20))
    assert not decision.passed
    assert decision.reasons == ["No task has 20 test images: lower gate.min_images or add data."]
    both = _scores()
    both["tasks"]["tags"] = _scores((-0.1, -0.2, 0.0), images=5)["tasks"]["vqa"]
    assert decide(both, Gate(min_images=20)).passed


def test_minimum_is_asked_for_even_of_a_task_without_labels():
    assert decide(_scores(), Gate(minima={"vqa.accuracy": 0.8})).passed
    assert not decide(_scores(), Gate(minima={"vqa.accuracy": 0.81})).passed
    assert not decide(_scores(), Gate(minima={"caption.cider": 0.1})).passed


def test_misspelt_minimum_is_the_users_mistake():
    with pytest.raises(UserError, match=r"vqa\.accuracy"):
        decide(_scores(), Gate(minima={"vqa.acuracy": 0.8}))
