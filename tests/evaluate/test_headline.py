"""The scores a person sees in the terminal."""

from __future__ import annotations

from mmcore.evaluate.headline import score_lines


def _entry(metric: str, primary: str, value: float | None) -> dict:
    return {
        "primary": primary,
        "labels": "gold",
        "images": 12,
        "metrics": {metric: {"value": value, "low": 0.4, "high": 0.6}},
        "blind": {"name": "chance", "metrics": {metric: 0.1}},
    }


def test_every_task_has_a_line_with_model_interval_and_blind():
    tasks = {
        "retrieval": _entry("text_to_image.r@1", "text_to_image.mrr", 0.5),
        "vqa": _entry("accuracy", "accuracy", None),
    }
    header, retrieval, vqa = score_lines({"tasks": tasks})
    assert header.split()[:3] == ["task", "score", "model"]
    assert "text_to_image.r@1" in retrieval
    for shown in ("0.500", "[0.400, 0.600]", "0.100", "chance", "12 images"):
        assert shown in retrieval
    assert " - " in vqa
