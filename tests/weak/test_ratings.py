"""Stars and shares of the best mark in comments."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mmcore.weak.feelings import find_conflicts, find_cues, rating_votes
from mmcore.weak.functions import vote_all
from mmcore.weak.ratings import rating_labels, ratings
from tests.weak.helpers import evidence, vocabulary_of


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("★★★★☆ lovely", 0.8),
        ("⭐⭐⭐⭐⭐", 1.0),
        ("4/5", 0.8),
        ("I give it 8 out of 10.", 0.8),
        ("4 von 5 Sternen", 0.8),
        ("2,5/5", 0.5),
        ("1/5, awful", 0.2),
        ("5 stars!", 1.0),
    ],
)
def test_ratings_are_read(text: str, share: float) -> None:
    assert ratings(pa.array([text])).tolist() == [share]


@pytest.mark.parametrize(
    "text", ["3/10/2026", "I count 5 stars in it", "★", "12/5", "3 of 4", "", None]
)
def test_what_only_looks_like_a_rating_is_none(text: str | None) -> None:
    assert np.isnan(ratings(pa.array([text], pa.string()))).all()


def test_middling_ratings_are_neutral() -> None:
    labels = rating_labels(np.array([0.2, 0.6, 0.8, np.nan])).tolist()
    assert labels == ["negative", "neutral", "positive", ""]


def test_a_rating_is_a_vote_of_its_own() -> None:
    [vote] = rating_votes(evidence([("comment", "2/10")])).to_pylist()
    assert (vote["value"], vote["source"]) == ("negative", "rating")


def test_what_is_written_and_what_is_shown_may_disagree() -> None:
    found = evidence(
        [("alt", "a sad face"), ("comment", "I love it")],
        [("alt", "a happy face"), ("comment", "so lovely")],
        [("alt", "a sad face")],
        [("comment", "awful"), ("comment", "I love it"), ("comment", "terrible")],
    )
    cues = find_cues(vote_all(found, vocabulary_of(found)))
    assert find_conflicts(cues, 4).to_pylist() == [True, False, None, None]
    said = {(c["image"], c["source"]): c["label"] for c in cues.to_pylist()}
    assert said[0, "mood"] == "negative"
    assert said[0, "comments"] == "positive"
    assert said[3, "comments"] == "negative"
