"""What a champion adds to a day's labels, and how it is decided whether it may."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmcore.weak.generated import (
    CAPTIONS,
    FEELINGS,
    FILTER,
    GENERATED,
    KINDS,
    TAGS,
    Seen,
    Thresholds,
    generated_rows,
    joined,
)
from mmcore.weak.matching import LEAST, Calibration, calibrate
from mmcore.weak.pairs import PAIRS
from mmcore.weak.probe import examine, examine_captions, held_out

LIMITS = Thresholds(min_match=0.5, min_probability=0.9)
RIGHT = Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0.4)


def caption(text: str, confidence: float = 0.8, source: str = "alt") -> dict[str, Any]:
    known = {"text": text, "lang": "en", "confidence": confidence, "source": source}
    return known | {"checked_by": None}


def row(**labels: Any) -> dict[str, Any]:
    blank: dict[str, Any] = {"sha256": "", "cluster": "", "split": None, "captions": []}
    blank |= {"qa": [], "tags": [], "sentiment": None}
    blank |= {"sentiment_cues": [], "sentiment_conflict": False}
    full = blank | labels
    return full | {"caption": full["captions"][0] if full["captions"] else None}


def said(scores: list[float], **more: Any) -> dict[str, Any]:
    blank = {"sha256": "", "caption": "a thing", "lang": "en", "score": 0.9}
    return blank | {"scores": scores, "tags": [], "sentiment": None} | more


def join(
    labels: list[dict[str, Any]],
    generated: list[dict[str, Any]],
    allowed: tuple[str, ...] = KINDS,
    train: list[bool] | None = None,
) -> list[dict[str, Any]]:
    table = joined(
        pa.Table.from_pylist(labels, schema=PAIRS),
        pa.Table.from_pylist(generated, schema=GENERATED),
        allowed,
        "shop@3",
        RIGHT,
        LIMITS,
        np.array(train or [True] * len(labels)),
    )
    assert table.schema.equals(PAIRS)
    return table.to_pylist()


def test_a_web_caption_that_does_not_fit_gives_way_to_one_that_does() -> None:
    both = [caption("click here", 0.9), caption("a red star", 0.6)]
    (done,) = join([row(captions=both)], [said([0.1, 0.95])])
    assert [c["text"] for c in done["captions"]] == ["a red star"]
    assert done["caption"] == done["captions"][0] and done["caption"]["checked_by"] == "shop@3"
    assert (
        done["caption"]["confidence"] == pytest.approx(0.57) and done["caption"]["source"] == "alt"
    )


def test_an_image_without_a_fitting_caption_gets_a_generated_one_with_the_models_name() -> None:
    rows = [row(captions=[caption("buy now")]), row(), row()]
    scores = [said([0.2], caption="a blue fish"), said([], score=0.3), said([], caption="")]
    first, unsure, silent = join(rows, scores)
    assert first["caption"] == caption("a blue fish", 0.9, "shop@3")
    assert unsure["captions"] == silent["captions"] == []


def test_what_people_stated_is_never_touched() -> None:
    stated = caption("given by hand", 1.0, "annotation")
    tags = [{"tag": "star", "confidence": 1.0, "source": "annotation"}]
    feeling = {"label": "positive", "confidence": 1.0, "source": "annotation"}
    labels = row(captions=[stated, caption("web", 0.9)], tags=tags, sentiment=feeling)
    other = {"label": "negative", "probability": 0.99}
    model = said([0.0, 0.9], tags=[{"tag": "fish", "probability": 0.99}], sentiment=other)
    (done,) = join([labels], [model])
    assert done["captions"][0] == stated and done["caption"] == stated
    assert done["tags"] == tags and done["sentiment"] == feeling


def test_confident_tags_and_feelings_fill_gaps_and_only_gaps() -> None:
    some = [{"tag": "fish", "probability": 0.97}, {"tag": "sea", "probability": 0.99}]
    some += [{"tag": "boat", "probability": 0.6}]
    model = said([], caption="", tags=some, sentiment={"label": "negative", "probability": 0.5})
    own = [{"tag": "star", "confidence": 0.5, "source": "alt"}]
    sure = said([], caption="", sentiment={"label": "positive", "probability": 0.95})
    empty, tagged, felt = join([row(), row(tags=own), row()], [model, model, sure])
    assert [(t["tag"], t["source"]) for t in empty["tags"]] == [
        ("sea", "shop@3"),
        ("fish", "shop@3"),
    ]
    assert empty["sentiment"] is None and tagged["tags"] == own
    assert felt["sentiment"]["label"] == "positive" and felt["sentiment"]["source"] == "shop@3"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_failed_its_examination_is_not_used(kind: str) -> None:
    labels = [row(captions=[caption("buy now")]), row()]
    model = {"tags": [{"tag": "a", "probability": 0.99}]}
    model |= {"sentiment": {"label": "neutral", "probability": 0.99}}
    generated = [said([0.1], **model), said([], **model)]
    others = tuple(k for k in KINDS if k != kind)
    first, second = join(labels, generated, others)
    kept = {
        FILTER: first["captions"] == labels[0]["captions"],
        CAPTIONS: second["captions"] == [],
        TAGS: second["tags"] == [],
        FEELINGS: second["sentiment"] is None,
    }
    assert kept == {k: k == kind for k in KINDS} | ({CAPTIONS: True} if kind == CAPTIONS else {})


def test_images_the_next_model_is_tested_on_keep_what_pages_said() -> None:
    labels = [row(captions=[caption("buy now")]), row(captions=[caption("buy now")])]
    trained, tested = join(labels, [said([0.1]), said([0.1])], train=[True, False])
    assert trained["caption"]["source"] == "shop@3" and tested == labels[1]


def test_rows_of_a_model_line_up_with_the_captions_they_score() -> None:
    captions = pa.array([["a", "b"], [], ["c"]], pa.list_(pa.string()))
    seen = Seen(
        image=np.eye(3),
        text=np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 0.5]]),
        caption=["x", "y", "z"],
        lang=["en"] * 3,
        caption_vector=np.eye(3) * 0.25,
        tag_names=("t", "u"),
        tags=np.array([[0.9, 0.1], [0.2, 0.3], [0.6, 0.7]]),
        sentiment=np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.2, 0.6, 0.2]]),
    )
    rows = generated_rows(pa.array(["1", "2", "3"]), captions, seen).to_pylist()
    assert [r["scores"] for r in rows] == [[1.0, 0.0], [], [0.5]]
    assert [r["score"] for r in rows] == [0.25] * 3
    assert [[t["tag"] for t in r["tags"]] for r in rows] == [["t"], [], ["t", "u"]]
    assert [r["sentiment"]["label"] for r in rows] == ["positive", "negative", "neutral"]


# --- what a score is worth ------------------------------------------------------------------------


def test_probabilities_of_a_mixture_are_calibrated_without_labels() -> None:
    random = np.random.default_rng(0)
    right = random.random(20_000) < 0.6
    scores = np.where(right, random.normal(2, 1, 20_000), random.normal(0, 1, 20_000))
    found = calibrate(scores, random.normal(0, 1, 20_000))
    assert found is not None and found.wrong_share == pytest.approx(0.4, abs=0.04)
    chance = found(scores)
    bins = np.digitize(chance, np.linspace(0, 1, 11))
    gaps = [abs(chance[bins == b].mean() - right[bins == b].mean()) for b in np.unique(bins)]
    sizes = [(bins == b).mean() for b in np.unique(bins)]
    assert np.dot(gaps, sizes) < 0.05  # expected calibration error
    assert Calibration.load(found.dump())(scores) == pytest.approx(chance, abs=1e-4)


def test_a_model_that_sees_nothing_finds_every_pair_doubtful() -> None:
    random = np.random.default_rng(1)
    found = calibrate(random.normal(0, 1, 5000), random.normal(0, 1, 5000))
    assert found is not None and found.wrong_share > 0.9
    assert found(random.normal(0, 1, 1000)).mean() < 0.2
    same = calibrate(np.zeros(500), np.zeros(500))
    assert same is not None and (same(np.zeros(3)) < 0.1).all()
    assert calibrate(np.zeros(LEAST - 1), np.zeros(500)) is None


# --- the examination ------------------------------------------------------------------------------


def world(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.random.Generator]:
    """Features [n, D], true classes one-hot [n, K], which are for the exam."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(1500, 24))
    logits = features @ random.normal(size=(24, 6))
    truth = np.eye(6)[logits.argmax(axis=1)]
    return features, truth, random.random(1500) < 0.2, random


def test_right_labels_pass_their_examination_and_wrong_ones_fail() -> None:
    features, truth, exam, random = world()
    known = np.where(exam | (random.random(1500) < 0.05), 1.0, 0.0)
    before = truth * known[:, None]
    wrong = truth[random.permutation(1500)]
    for offered, expected in ((truth, True), (wrong, False)):
        after = np.where(known[:, None] > 0, before, offered)
        verdict = examine(TAGS, features, before, known, after, np.ones(1500), exam)
        assert verdict.used is expected, verdict
        assert verdict.examined == exam.sum() and verdict.generated > 1000


def test_nothing_is_used_that_cannot_be_examined() -> None:
    features, truth, exam, _ = world()
    blind = examine(TAGS, features, truth * 0, np.zeros(1500), truth, np.ones(1500), exam)
    assert not blind.used and "only 0 labelled images" in blind.reason
    idle = examine(TAGS, features, truth, np.ones(1500), truth, np.ones(1500), exam)
    assert not idle.used and idle.reason == "none generated"


def test_taking_out_wrong_captions_passes_and_taking_out_right_ones_fails() -> None:
    random = np.random.default_rng(2)
    features = random.normal(size=(2000, 24))
    texts = features @ random.normal(size=(24, 16)) + 0.3 * random.normal(size=(2000, 16))
    exam = random.random(2000) < 0.2
    wrong = ~exam & (random.random(2000) < 0.5)
    texts[wrong] = texts[random.permutation(np.flatnonzero(wrong))]
    own, trust = np.arange(2000), np.ones(2000)
    for out, expected in ((wrong, True), (~wrong & (random.random(2000) < 0.7), False)):
        after = np.where(out, 0.0, trust)
        verdict = examine_captions(FILTER, features, texts, own, trust, after, exam)
        assert verdict.used is expected, verdict


def test_the_same_clusters_are_held_out_every_night() -> None:
    hashes = np.random.default_rng(3).integers(0, 2**64, 10_000, np.uint64)
    assert held_out(hashes).mean() == pytest.approx(0.2, abs=0.02)
    assert (held_out(hashes[:100]) == held_out(hashes)[:100]).all()
