"""The current model as a labeling function."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from mmcore.champion import Weights, functions
from mmcore.lake import Lake
from mmcore.models.artifact import save_artifact
from mmcore.weak.champion import (
    SEEN,
    Champion,
    alignment,
    champion_votes,
    neighbour_votes,
    seen_table,
)
from mmcore.weak.stage import Config, run
from mmcore.weak.votes import VOTES
from tests.models.tiny import artifact
from tests.weak.helpers import DAY, Page, commit, sha256, tokenized, write_pages

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
FEELINGS = ("negative", "neutral", "positive")


def unit(*rows: tuple[float, ...]) -> np.ndarray:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def seen(vectors: np.ndarray, positive: float = 0.8) -> pa.Table:
    number = len(vectors)
    rest = (1 - positive) / 2
    feelings = np.tile(np.array([rest, rest, positive], np.float32), (number, 1))
    return seen_table(vectors, ["dog"], np.zeros((number, 1), np.float32), FEELINGS, feelings)


def tag_votes(*rows: tuple[int, str]) -> pa.Table:
    listed = [
        {"image": i, "task": "tag", "slot": tag, "value": "yes", "weight": 0.9, "source": "alt"}
        for i, tag in rows
    ]
    return pa.Table.from_pylist(listed, VOTES)


def test_only_likely_tags_are_votes_and_never_certain_ones() -> None:
    probability = np.array([[0.9, 0.2], [0.1, 1.0]], np.float32)
    feelings = np.array([[0.1, 0.1, 0.8], [0.6, 0.3, 0.1]], np.float32)
    table = seen_table(unit((1, 0), (0, 1)), ["dog", "cat"], probability, FEELINGS, feelings)
    votes = champion_votes(table).to_pylist()
    found = [(v["image"], v["task"], v["slot"], v["value"]) for v in votes]
    assert found == [
        (0, "tag", "dog", "yes"),
        (1, "tag", "cat", "yes"),
        (0, "sentiment", "sentiment", "positive"),
        (1, "sentiment", "sentiment", "negative"),
    ]
    assert votes[1]["weight"] == pytest.approx(0.8)


def test_a_feeling_that_is_not_likely_is_no_vote() -> None:
    assert champion_votes(seen(unit((1, 0), (0, 1)), positive=0.4)).num_rows == 0
    assert champion_votes(seen(unit((1, 0), (0, 1)), positive=0.6)).num_rows == 2


def test_a_trained_model_can_be_asked(tmp_path: Path) -> None:
    save_artifact(tmp_path, artifact())
    champion = functions(Weights("shop@1", "digest", None, tmp_path))
    looks = champion.see([picture("red"), picture("blue")])
    assert looks.schema.equals(SEEN) and looks.num_rows == 2
    vectors = champion.read(["a red dog", "a cat"])
    fits = alignment(looks, np.array([0, 1]), vectors)
    assert fits.shape == (2,) and ((fits >= 0) & (fits <= 1)).all()
    assert len({vote["image"] for vote in champion_votes(looks).to_pylist()}) <= 2


def test_without_a_model_there_are_no_votes() -> None:
    assert champion_votes(None).num_rows == neighbour_votes(None, VOTES.empty_table()).num_rows == 0


def test_an_image_that_cannot_be_seen_is_not_voted_on() -> None:
    both = pa.concat_tables([seen(unit((1, 0))), SEEN.empty_table()]).take(pa.array([0, None]))
    assert set(champion_votes(both)["image"].to_pylist()) == {0}
    assert neighbour_votes(both, tag_votes((0, "dog"))).num_rows == 0
    assert alignment(both, np.array([1, 1]), unit((1, 0), (0, 1))).tolist() == [0.5, 0.5]


def test_what_most_near_images_have_is_voted_for() -> None:
    near = [(1.0, 0.01 * i) for i in range(5)]
    table = seen(unit(*near, (0.0, 1.0)))
    votes = tag_votes((1, "dog"), (2, "dog"), (3, "dog"), (4, "cat"), (5, "cat"))
    found = neighbour_votes(table, votes).to_pylist()
    assert {(v["image"], v["slot"]) for v in found} == {(0, "dog"), (4, "dog")}
    assert all(0 < v["weight"] <= 0.6 and v["source"] == "neighbours" for v in found)


def test_alignment_is_a_rank_among_other_images_texts() -> None:
    table = seen(unit((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    texts = unit((1, 0.1, 0), (0, 1, 0.1), (1, 0, 0))
    found = alignment(table, np.array([0, 1, 2]), texts)
    assert found.tolist() == [0.5, 1.0, 0.0]


def picture(colour: str) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (32, 32), COLOURS[colour]).save(sink, "PNG")
    return sink.getvalue()


def see(images: list[bytes]) -> pa.Table:
    """A model that tells red, green and blue pictures apart."""
    pixels = [np.asarray(Image.open(io.BytesIO(data)))[0, 0] for data in images]
    vectors = unit(*(tuple(p / 255) for p in pixels)) if pixels else np.zeros((0, 3), np.float32)
    feelings = np.tile(np.array([0.05, 0.05, 0.9], np.float32), (len(images), 1))
    return seen_table(vectors, list(COLOURS), vectors, FEELINGS, feelings)


def read(texts: list[str]) -> np.ndarray:
    """Its embeddings of texts: the colours they name."""
    return unit(*(tuple(0.01 + (c in text) for c in COLOURS) for text in texts))


@pytest.mark.usefixtures("ray_session")
def test_the_champion_finds_the_caption_that_fits(lake: Lake) -> None:
    colours = [list(COLOURS)[i % 3] for i in range(12)]
    pages = [Page([("alt", f"something {colour}")]) for colour in colours]
    # the surer role says something else than the picture shows
    pages[0] = Page([("caption", "a blue sky over it"), ("alt", "all red paint")])
    pages[1] = Page([("alt", "no word of it"), ("comment", "awful")])
    write_pages(lake, pages)
    tokenized(lake)
    rows = [{"sha256": sha256(i), "image": picture(c)} for i, c in enumerate(colours)]
    commit(lake, "normalized", [pa.Table.from_pylist(rows[::2]), pa.Table.from_pylist(rows[1::2])])
    blind = run(lake, DAY, Config())
    config = Config(functions=[*Config().functions, "champion"])
    assert run(lake, DAY, config).read().equals(blind.read())  # no model, no difference
    pairs = run(lake, DAY, config, champion=Champion("one", "shop@1", see, read))
    before, after = (
        {row["sha256"]: row for row in dataset.read().to_pylist()} for dataset in (blind, pairs)
    )
    assert before[sha256(0)]["caption"]["source"] == "caption"
    assert after[sha256(0)]["caption"]["source"] == "alt"
    assert ("green", "shop@1") in {(t["tag"], t["source"]) for t in after[sha256(1)]["tags"]}
    assert after[sha256(1)]["sentiment_conflict"] is True
    assert pairs.metadata["labeling_functions"]["tag/champion"]["coverage"] == 1
    other = run(lake, DAY, config, champion=Champion("two", "shop@2", see, read))
    assert other.manifest.fingerprint != pairs.manifest.fingerprint
