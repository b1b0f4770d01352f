"""Votes become labels only where they agree."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mmcore.weak.votes import UNCLEAR, combine, make_votes


def votes(*rows: tuple[int, str, str, float, str]) -> pa.Table:
    image, slot, value, weight, source = (list(column) for column in zip(*rows, strict=True))
    return make_votes(
        np.array(image),
        "fact",
        np.array(slot, object),
        np.array(value, object),
        np.array(weight),
        np.array(source, object),
        np.full(len(image), "en", object),
    )


def test_agreement_makes_surer_than_any_single_vote() -> None:
    [one] = combine(votes((0, "s", "red", 0.7, "alt"))).to_pylist()
    [two] = combine(votes((0, "s", "red", 0.7, "alt"), (0, "s", "red", 0.8, "caption"))).to_pylist()
    assert one["confidence"] == 0.7
    assert (two["confidence"], two["source"]) == (0.94, "caption")


def test_dispute_lowers_confidence_and_then_abstains() -> None:
    strong = votes((0, "s", "red", 0.9, "caption"), (0, "s", "blue", 0.3, "alt"))
    [label] = combine(strong).to_pylist()
    assert label["value"] == "red" and label["confidence"] < 0.7
    even = votes((0, "s", "red", 0.6, "caption"), (0, "s", "blue", 0.6, "alt"))
    assert combine(even).num_rows == 0


def test_unclear_never_wins() -> None:
    assert combine(votes((0, "s", UNCLEAR, 0.9, "caption"))).num_rows == 0


def test_result_does_not_depend_on_the_order_of_votes() -> None:
    rows = [(i % 5, f"s{i % 3}", "ab"[i % 2], 0.3 + i / 100, f"f{i % 4}") for i in range(60)]
    assert combine(votes(*rows), 0.51).equals(combine(votes(*rows[::-1]), 0.51))


def test_certain_votes_stay_below_certainty() -> None:
    [label] = combine(votes((0, "s", "a", 1.0, "x"))).to_pylist()
    assert label["confidence"] == 0.99
