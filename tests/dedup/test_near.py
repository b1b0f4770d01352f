"""The near-duplicate decision, piece by piece and on scenes with a known truth."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from mmcore.clean.images import PixelPolicy
from mmcore.clean.measure import measure
from mmcore.dedup import bands, clusters, verify
from mmcore.dedup.hashing import hamming
from mmcore.dedup.stage import Config
from mmcore.samplesite import Scene, SiteConfig, render, scenes
from tests.clean.helpers import encode


def _all_pairs(hashes: np.ndarray, queries: np.ndarray, k: int = 6) -> list[tuple[int, int]]:
    """(query, earlier position) of all bands; the hashes lie in two runs, as in an index."""
    half = len(hashes) // 2
    pairs = []
    for band in bands.bands(k):
        at = np.arange(len(hashes))
        runs = [bands.band_run(hashes[part], at[part], band) for part in (at[:half], at[half:])]
        found = bands.candidates(runs, hashes[queries], queries, band, k, bucket_cap=10**6)
        distance = hamming(hashes[queries[found.query]], hashes[found.found])
        assert (found.bits == distance).all()
        pairs += zip(queries[found.query].tolist(), found.found.tolist(), strict=True)
    return pairs


def _crowd(seed: int, count: int = 300) -> np.ndarray:
    """Hashes with many neighbours: a few centres, each with some bits flipped."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, 12, dtype=np.uint64)
    hashes = centres[rng.integers(0, 12, count)]
    for _ in range(4):
        hashes ^= np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
    return hashes


def test_hamming_counts_differing_bits() -> None:
    left = np.array([0, 1, 2**64 - 1], dtype=np.uint64)
    assert hamming(left, np.zeros(1, np.uint64)).tolist() == [0, 1, 64]


@pytest.mark.parametrize("most", range(bands.MAX_HAMMING + 1))
def test_bands_find_every_pair_within_the_limit_exactly_once(most: int) -> None:
    hashes = np.concatenate([_crowd(1), _crowd(1)[:20]])
    found = _all_pairs(hashes, np.arange(len(hashes)), most)
    distance = hamming(hashes[:, None], hashes[None, :])
    wanted = {(i, j) for i, j in zip(*np.nonzero(distance <= most), strict=True) if i > j}
    assert len(found) == len(set(found))
    assert set(found) == wanted
    assert len(wanted) >= 20


def test_known_clusters_are_compared_with_new_images_only() -> None:
    hashes = _crowd(2)
    found = _all_pairs(hashes, np.arange(200, 300))
    assert {later for later, _ in found} <= set(range(200, 300))
    assert any(earlier < 200 for _, earlier in found)
    everything = set(_all_pairs(hashes, np.arange(300)))
    assert set(found) == {pair for pair in everything if pair[0] >= 200}


def test_a_crowded_bucket_is_capped_and_copies_are_still_found() -> None:
    hashes = np.full(5000, 12345, dtype=np.uint64)
    at = np.arange(5000)
    band = bands.bands(6)[0]
    found = bands.candidates([bands.band_run(hashes, at, band)], hashes, at, band, 6, bucket_cap=10)
    assert len(found.query) <= 5000 * 10
    assert found.capped == 5000 * 2  # one probe of the band and one of equal hashes each
    assert set(found.query[found.found == 0].tolist()) == set(range(1, 5000))


def test_a_chain_of_look_alikes_is_not_one_cluster() -> None:
    # A~B and B~C verify, A~C does not: C must not join A by way of B.
    leader = clusters.lead(3, np.array([1, 2]), np.array([0, 1]), np.array([5, 5]))
    assert leader.tolist() == [0, 0, 2]


def test_the_nearest_leader_wins_then_the_better_ranked() -> None:
    edges = np.array([2, 2, 3, 3]), np.array([0, 1, 0, 1]), np.array([9, 3, 4, 4])
    assert clusters.lead(4, *edges).tolist() == [0, 1, 1, 0]


def test_an_outside_leader_is_joined_before_one_of_the_same_rank() -> None:
    # 0 is near a leader from outside; 1 is near 0 and so leads; 2 is as near to both leaders.
    later, earlier = np.array([0, 1, 2, 2]), np.array([-4, 0, -4, 1])
    assert clusters.lead(3, later, earlier, np.array([5, 5, 7, 7])).tolist() == [-4, 1, -4]


def test_leaders_are_those_of_one_pass_from_best_to_worst() -> None:
    rng = np.random.default_rng(4)
    later = rng.integers(1, 300, 900)
    earlier = (later * rng.random(900)).astype(np.int64) - (rng.random(900) < 0.1) * 300
    distance = rng.integers(0, 9, 900)
    leader = clusters.lead(300, later, earlier, distance)
    expected: dict[int, int] = {}
    for item in range(300):
        near = sorted(
            (d, e)
            for i, e, d in zip(later.tolist(), earlier.tolist(), distance.tolist(), strict=True)
            if i == item and (e < 0 or expected[e] == e)
        )
        expected[item] = near[0][1] if near else item
    assert leader.tolist() == [expected[item] for item in range(300)]


def test_leaders_do_not_depend_on_the_order_of_edges() -> None:
    rng = np.random.default_rng(3)
    later = rng.integers(1, 60, 400)
    earlier = (later * rng.random(400)).astype(np.int64)
    distance = rng.integers(0, 9, 400)
    first = clusters.lead(60, later, earlier, distance)
    mixed = rng.permutation(400)
    assert (first == clusters.lead(60, later[mixed], earlier[mixed], distance[mixed])).all()
    assert (first[first] == first).all()


def test_the_best_image_leads_the_order() -> None:
    order = clusters.rank_order(np.array([100, 400, 400]), np.array(["a", "c", "b"]))
    assert order.tolist() == [2, 1, 0]


def _thumb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))[None]


def test_brightness_is_no_difference_but_colour_is() -> None:
    ground = Image.new("RGB", (160, 160), (120, 130, 140))
    red, blue = ground.copy(), ground.copy()
    red.paste((190, 60, 60), (40, 40, 80, 80))
    blue.paste((60, 90, 190), (40, 40, 80, 80))
    brighter = red.point(lambda value: round(value * 1.2))
    same = verify.difference(_thumb(red), _thumb(brighter))
    other = verify.difference(_thumb(red), _thumb(blue))
    back = verify.difference(_thumb(blue), _thumb(red))
    limits = Config().max_mean_difference, Config().max_local_difference
    assert same.within(*limits).tolist() == [True]
    assert other.within(*limits).tolist() == [False]
    assert other.local.tolist() == pytest.approx(back.local.tolist())


# --- on scenes with a known truth -----------------------------------------------------------------


def _near(images: list[bytes]) -> np.ndarray:
    """bool [N, N]: which images the default settings take for one picture, all with all."""
    raw = pa.table(
        {
            "sha256": [str(i) for i in range(len(images))],
            "image": pa.array(images, pa.binary()),
            "bytes": [len(data) for data in images],
            "url": [""] * len(images),
        }
    )
    table, _ = measure(raw, PixelPolicy())
    config, n = Config(), len(images)
    hashes = table["phash"].to_numpy()
    thumbs = np.frombuffer(b"".join(table["thumb"].to_pylist()), np.uint8).reshape(n, 16, 16, 3)
    left, right = np.nonzero(hamming(hashes[:, None], hashes[None, :]) <= config.max_hamming)
    limits = config.max_mean_difference, config.max_local_difference
    same, _ = verify.same_picture(thumbs[left], thumbs[right], *limits)
    near = np.zeros((n, n), bool)
    near[left[same], right[same]] = True
    return near


def _copies(scene: Scene) -> list[bytes]:
    """Re-encoded, resized and relit copies of a scene."""
    image = Image.open(io.BytesIO(render(scene, image_format="png")))
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    return [
        render(scene, image_format="jpeg", quality=40),
        render(scene, image_format="webp", quality=60),
        render(scene, scale=0.75, image_format="jpeg", quality=75),
        render(scene, scale=1.3, image_format="webp", quality=85),
        encode(half, "JPEG", quality=80),
        encode(image.point([round(v * 0.8) for v in range(256)] * 3), "JPEG", quality=85),
    ]


@pytest.fixture(scope="module")
def gallery() -> list[Scene]:
    return scenes(SiteConfig(seed=11, images=90))


def test_copies_are_found_and_distinct_scenes_never_merged(gallery: list[Scene]) -> None:
    shown = gallery[:30]
    copies = [_copies(scene) for scene in shown]
    per = len(copies[0]) + 1
    images = [data for s, more in zip(shown, copies, strict=True) for data in (render(s), *more)]
    others = [render(scene) for scene in gallery[30:]]
    near = _near(images + others)
    owner = np.concatenate([np.repeat(np.arange(30), per), 30 + np.arange(len(others))])
    same = owner[:, None] == owner[None, :]
    originals = np.arange(0, 30 * per, per)
    recall = near[originals][same[originals]].mean()
    assert not (near & ~same).any()  # precision 1
    assert recall >= 0.99


def test_scenes_that_differ_in_one_thing_stay_apart(gallery: list[Scene]) -> None:
    images = []
    for scene in gallery[:25]:
        colour = "red" if scene.main.colour != "red" else "blue"
        images += [
            render(scene),
            render(replace(scene, main=replace(scene.main, colour=colour))),
            render(replace(scene, main=replace(scene.main, count=scene.main.count % 4 + 1))),
        ]
        if scene.face:
            mood = "sad" if scene.face.mood != "sad" else "happy"
            images.append(render(replace(scene, face=replace(scene.face, mood=mood))))
    near = _near(images)
    assert near.sum() == len(images)  # every image is like itself only


def test_all_pairs_of_a_set_are_found_once() -> None:
    random = np.random.default_rng(5)
    hashes = random.integers(0, 2**64, 300, np.uint64)
    flips = np.uint64(1) << random.integers(0, 64, (300, 3)).astype(np.uint64)
    hashes = np.concatenate([hashes, hashes ^ np.bitwise_or.reduce(flips, axis=1)])
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    expected = {(i, j) for i, j in np.argwhere(bits <= 4).tolist() if i > j}
    first, second = bands.near_pairs(hashes, 4, 1000)
    assert len(expected) >= 300
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == sorted(expected)
