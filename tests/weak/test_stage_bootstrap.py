"""A champion at work on a night: a model that sees nothing but colour, which is all there is."""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from mmcore.errors import MmcoreError
from mmcore.lake import Dataset, Lake
from mmcore.weak.generated import LabelingModel, Seen
from mmcore.weak.pairs import PAIRS
from mmcore.weak.stage_bootstrap import Bootstrap, Labeler, bootstrap
from mmcore.weak.stage_retract import retract
from tests.weak.test_bootstrap import caption, row

pytestmark = pytest.mark.usefixtures("ray_session")

DAY, NAME = "2026-11-24", "colours@1"
COLOURS = [f"colour {number}" for number in range(400)]
_IMAGES = 900


def vectors(numbers: NDArray[np.int64], noise: float, seed: int) -> NDArray[np.float64]:
    """One direction a colour, never quite the same: rows of length 1."""
    made = np.random.default_rng(0).normal(size=(len(COLOURS), 64))[numbers]
    made = made + noise * np.random.default_rng(seed).normal(size=made.shape)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def look(blind: bool, noise: float, images: list[bytes], texts: list[str]) -> Seen:
    """Images are their colour's number as text; a blind model guesses."""
    seen = np.array([int(image) % 1000 for image in images], np.int64)
    if blind:
        seen = np.random.default_rng(7).integers(0, len(COLOURS), len(seen))
    said = np.array([COLOURS.index(text) for text in texts], np.int64)
    known = len(images)
    return Seen(
        image=vectors(seen, noise, 1),
        text=vectors(said, noise, 2),
        caption=[COLOURS[number] for number in seen],
        lang=["en"] * known,
        caption_vector=vectors(seen, 0.3, 3),
        tag_names=tuple(COLOURS),
        tags=np.eye(len(COLOURS))[seen] * 0.99,
        sentiment=np.tile([0.2, 0.6, 0.2], (known, 1)),
    )


def in_train(clusters: pa.Array, asked: pa.Array) -> NDArray[np.bool_]:
    return pc.is_null(asked).to_numpy(zero_copy_only=False)


def labeler(blind: bool = False, noise: float = 0.8) -> Labeler:
    name = "blind@1" if blind else NAME
    return Labeler(LabelingModel(name, name, partial(look, blind, noise)), in_train)


def night(lake: Lake) -> tuple[Dataset, dict[str, str], set[str]]:
    """Labels of pages in two parts; the true colour of each image; which captions are right.

    Of ten images four have another's caption, one has none, two are for testing; every other one
    has a tag.
    """
    random = np.random.default_rng(5)
    colour = random.integers(0, len(COLOURS), _IMAGES)
    told = np.where(random.random(_IMAGES) < 0.4, np.roll(colour, 1), colour)
    rows, pictures, right = [], [], set()
    for number in range(_IMAGES):
        image = str(number * 1000 + colour[number]).encode()
        key = hashlib.sha256(image).hexdigest()
        pictures.append({"sha256": key, "image": image})
        captions = [] if number % 10 == 0 else [caption(COLOURS[told[number]])]
        tags = [{"tag": COLOURS[colour[number]], "confidence": 0.9, "source": "keywords"}]
        split = "test" if number % 10 in (1, 2) else None
        tags = tags if number % 2 else []
        rows.append(row(sha256=key, cluster=key, captions=captions, tags=tags, split=split))
        if told[number] == colour[number]:
            right.add(key)
    half = _IMAGES // 2
    parts = [pa.Table.from_pylist(some, PAIRS) for some in (rows[:half], rows[half:])]
    writer = lake.writer("page_labels", DAY)
    labels = writer.commit([writer.write_table(i, p) for i, p in enumerate(parts)], [], {}, {})
    writer = lake.writer("normalized", DAY)
    bytes_ = pa.Table.from_pylist(sorted(pictures, key=lambda picture: picture["sha256"]))
    writer.commit([writer.write_table(0, bytes_)], [], {}, {})
    true = {p["sha256"]: COLOURS[c] for p, c in zip(pictures, colour, strict=True)}
    return labels, true, right


def test_a_champion_that_sees_mends_a_night_and_can_be_retracted(lake: Lake) -> None:
    labels, true, right = night(lake)
    done = bootstrap(lake, labels, labeler(), Bootstrap())
    before, after = (ds.read().to_pylist() for ds in (labels, done))
    assert [r["sha256"] for r in after] == [r["sha256"] for r in before]
    told = done.metadata["bootstrap"]
    assert told["examination"]["caption_filter"]["used"], told
    trained = [r for r in after if r["split"] is None]
    web = [r for r in trained if r["caption"] and r["caption"]["source"] == "alt"]
    was = [r for r in before if r["split"] is None and r["caption"]]
    assert np.mean([r["sha256"] in right for r in was]) < 0.65
    assert np.mean([r["caption"]["text"] == true[r["sha256"]] for r in web]) > 0.9
    assert told["added"]["captions_left_out"] == len(was) - len(web) > 100
    tests = [(a, b) for a, b in zip(after, before, strict=True) if b["split"] == "test"]
    assert len(tests) == 180 and all(a == b for a, b in tests)

    assert bootstrap(lake, labels, labeler(), Bootstrap()).digest == done.digest
    assert retract(lake, f"tag/{NAME}", "only tags", DAY).days == {}  # it checked captions only
    assert retract(lake, NAME, "sees too much", DAY).days == {DAY: len(web)}


def test_other_splits_are_other_labels(lake: Lake) -> None:
    labels, _, _ = night(lake)
    first = bootstrap(lake, labels, labeler(), Bootstrap())

    def nothing(clusters: pa.Array, asked: pa.Array) -> NDArray[np.bool_]:
        return np.zeros(len(clusters), np.bool_)

    moved = Labeler(labeler().champion, nothing, (0.5, 0.5))
    second = bootstrap(lake, labels, moved, Bootstrap())
    assert second.digest != first.digest and second.read().equals(labels.read())


def test_tags_of_a_champion_are_used_until_it_is_retracted(lake: Lake) -> None:
    labels, true, _ = night(lake)
    sharp = labeler(noise=0.3)
    done = bootstrap(lake, labels, sharp, Bootstrap())
    rows = done.read(["sha256", "split", "tags"]).to_pylist()
    made = [r for r in rows if any(tag["source"] == NAME for tag in r["tags"])]
    assert done.metadata["bootstrap"]["added"]["tag"] == len(made) > 100
    assert all([tag["tag"] for tag in r["tags"]] == [true[r["sha256"]]] for r in made)
    assert all(r["split"] is None for r in made)
    assert retract(lake, NAME, "sees too much", DAY).days == {DAY: len(made)}
    assert bootstrap(lake, labels, sharp, Bootstrap()).read().equals(labels.read())


def test_labels_without_images_are_an_error_that_says_what_to_run(lake: Lake) -> None:
    labels, _, _ = night(lake)
    writer = lake.writer("normalized", DAY)
    kept = lake.dataset("normalized", DAY).read().slice(7)
    writer.commit([writer.write_table(0, kept)], [], {}, {})
    with pytest.raises(MmcoreError, match=r"images, such as .* run clean"):
        bootstrap(lake, labels, labeler(), Bootstrap())


def test_a_champion_that_sees_nothing_changes_nothing(lake: Lake) -> None:
    labels, _, _ = night(lake)
    done = bootstrap(lake, labels, labeler(blind=True), Bootstrap())
    told = done.metadata["bootstrap"]["examination"]
    assert [kind for kind, verdict in told.items() if verdict["used"]] == []
    assert done.read().equals(labels.read())
