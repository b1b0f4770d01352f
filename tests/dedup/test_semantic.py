"""Pictures that a model cannot tell apart: k-means, cosine, and the option of the stage."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmcore.clean import stage as clean
from mmcore.dedup import semantic
from mmcore.dedup.stage import Config, run
from mmcore.dedup.stage_semantic import Eyes
from mmcore.lake import Lake
from tests.clean.helpers import encode, picture, sha, write_crawled, write_raw

DAY, NEXT = "2026-11-23", "2026-11-24"


def _around(centre: int, count: int, spread: float = 0.05) -> np.ndarray:
    rng = np.random.default_rng(centre)
    vectors = np.eye(8, dtype=np.float32)[centre] + spread * rng.standard_normal((count, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_centres_lie_in_the_middle_of_groups() -> None:
    vectors = np.concatenate([_around(c, 50) for c in range(4)])
    mixed = vectors[np.random.default_rng(7).permutation(200)]
    start = np.concatenate([_around(c, 1, 0.4) for c in range(4)])
    found = semantic.centres(np.concatenate([start, mixed]), 4)
    assert (found @ np.eye(8)[:4].T).max(axis=0).min() > 0.99
    labels = semantic.assign(vectors, found).reshape(4, 50)
    assert all(len(set(group.tolist())) == 1 for group in labels)


def test_only_what_is_near_a_kept_better_one_repeats() -> None:
    angles = np.radians([0, 20, 40, 90])  # each is 20 degrees from the next, not from the first
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert semantic.repeats(vectors, float(np.cos(np.radians(25)))).tolist() == [
        False,
        True,
        False,
        False,
    ]


def _colours(images: list[bytes]) -> np.ndarray:
    """Mean colour around grey: eyes that see nothing else."""
    seen = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).mean((0, 1)) for data in images]
    vectors = np.array(seen, np.float32) - 128
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.usefixtures("ray_session")
def test_of_pictures_with_one_meaning_the_largest_is_kept(lake: Lake) -> None:
    def tinted(seed: int, colour: str, side: int) -> bytes:
        return encode(
            Image.blend(picture(seed, (side, side)), Image.new("RGB", (side,) * 2, colour), 0.8)
        )

    reds = [tinted(seed, "red", 200 + 10 * seed) for seed in range(5)]
    blues = [tinted(seed, "blue", 200) for seed in (7, 8)]
    write_raw(lake, DAY, [*reds, *blues], rows_per_part=3)
    write_crawled(lake, DAY, [])
    clean.run(lake, DAY, clean.Config())
    config, eyes = Config(semantic=0.95), Eyes("colours", _colours)
    rows = {r["sha256"]: r for r in run(lake, DAY, config, eyes=eyes).read().to_pylist()}
    assert [rows[sha(red)]["kept"] for red in reds] == [False] * 4 + [True]
    assert {rows[sha(red)]["reason"] for red in reds[:4]} == {"semantic_duplicate"}
    assert sum(rows[sha(blue)]["kept"] for blue in blues) == 1
    # Known the next day, kept or not.
    write_raw(lake, NEXT, [reds[0], reds[4]])
    write_crawled(lake, NEXT, [])
    clean.run(lake, NEXT, clean.Config())
    found = run(lake, NEXT, config, eyes=eyes).read(["reason", "day_first_seen"]).to_pylist()
    assert found == [{"reason": "seen_before", "day_first_seen": DAY}] * 2
    # Without a champion nothing is compared.
    free = run(lake, DAY, config).metadata["funnel"]
    assert free["kept"] == 7
