"""Scenes are distinct, stable, and drawn as described."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mmcore.errors import UserError
from mmcore.samplesite import Scene, SiteConfig, render, scenes
from mmcore.samplesite.build import build
from mmcore.samplesite.content import picture_bytes
from mmcore.samplesite.distinct import hashes
from mmcore.samplesite.drawing import PAINT, paint
from mmcore.samplesite.layout import layout
from mmcore.samplesite.scenes import POSITIONS, all_scenes

CONFIG = SiteConfig(seed=3, images=120)
COPY_BITS, COPY_DIFFERENCE = 5, 4.0  # what a detector of near-duplicates may allow


def _hash(picture: bytes) -> np.uint64:
    with Image.open(io.BytesIO(picture)) as image:
        grey = image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    return np.uint64(hashes(np.asarray(grey, np.float32)[None])[0])


def _thumb(picture: bytes) -> npt.NDArray[np.float32]:
    with Image.open(io.BytesIO(picture)) as image:
        small = image.convert("RGB").resize((16, 16), Image.Resampling.BOX)
    return np.asarray(small, np.float32).ravel()


def test_no_two_scenes_have_the_same_main_group() -> None:
    every = all_scenes(11, 2000)
    assert len({scene.main for scene in every}) == len(every) == 2000 + 200 + 40


def test_a_larger_site_keeps_the_scenes_of_a_smaller_one() -> None:
    small, large = scenes(SiteConfig(seed=3, images=60)), scenes(CONFIG)
    assert small == large[:60]


def test_another_seed_gives_other_scenes() -> None:
    assert [s.main for s in all_scenes(3, 60)] != [s.main for s in all_scenes(4, 60)]


def test_no_two_distinct_scenes_look_like_copies() -> None:
    pictures = [render(scene) for scene in scenes(CONFIG)]
    codes = np.array([_hash(picture) for picture in pictures])
    thumbs = np.stack([_thumb(picture) for picture in pictures])
    for i in range(1, len(pictures)):
        assert np.bitwise_count(codes[:i] ^ codes[i]).min() > COPY_BITS
        assert np.abs(thumbs[:i] - thumbs[i]).mean(axis=1).min() > COPY_DIFFERENCE


def test_every_copy_looks_like_its_scene() -> None:
    site = build(CONFIG)
    copies = [
        p for p in site.pictures.values() if p.kind in ("near_copy", "srcset", "picture_source")
    ]
    assert len(copies) >= 10
    for copy in copies:
        assert copy.scene is not None
        body, original = picture_bytes(site, copy)[0], render(copy.scene)
        assert body != original
        assert np.bitwise_count(_hash(body) ^ _hash(original)) <= COPY_BITS
        assert np.abs(_thumb(body) - _thumb(original)).mean() < COPY_DIFFERENCE


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_a_scene_has_the_format_and_size_it_promises(image_format: str) -> None:
    scene = next(scene for scene in scenes(CONFIG) if scene.format == image_format)
    with Image.open(io.BytesIO(render(scene))) as image:
        assert image.format == image_format.upper()
        assert image.size == (scene.width, scene.height)
    assert render(scene) == render(scene)


def test_canvases_are_of_photograph_size() -> None:
    for scene in all_scenes(3, 120):
        long, short = max(scene.width, scene.height), min(scene.width, scene.height)
        assert short >= 160 and long <= 420 and long / short <= 1.6


def _middle(scene: Scene) -> tuple[float, float]:
    """The centre of the pixels that are close to the main group's colour, 0 to 1."""
    pixels = np.asarray(paint(scene), np.float32)
    near = np.abs(pixels - PAINT[scene.main.colour]).max(axis=2) < 45
    rows, columns = np.nonzero(near)
    assert len(rows) > 20, scene
    return float(columns.mean() / scene.width), float(rows.mean() / scene.height)


def test_the_main_group_is_drawn_in_its_colour_where_the_scene_says() -> None:
    checked = set()
    for scene in all_scenes(3, 120):
        # eyes and hair of a face are dark, too
        if scene.main.texture != "plain" or scene.main.colour == "black":
            continue
        x, y = _middle(scene)
        where = {
            "left": x < 0.42,
            "right": x > 0.58,
            "top": y < 0.42,
            "bottom": y > 0.58,
            "centre": abs(x - 0.5) < 0.15 and abs(y - 0.5) < 0.15,
        }
        assert where[scene.main.position], (scene, x, y)
        checked.add(scene.main.position)
    assert checked == set(POSITIONS)


def test_shapes_and_faces_stay_on_the_canvas_and_apart() -> None:
    for scene in all_scenes(3, 120):
        plan = layout(scene)
        discs = [(s.x, s.y, s.diameter / 2) for s in plan.shapes]
        assert len(discs) == sum(group.count for group in scene.groups)
        for x, y, radius in discs:
            assert radius - 2 <= x <= scene.width - radius + 2
            assert radius - 2 <= y <= scene.height - radius + 2
        if plan.face:
            x, y, diameter = plan.face
            assert diameter >= 0.36 * min(scene.width, scene.height)
            for a, b, radius in discs:
                assert max(abs(x - a), abs(y - b)) >= 0.85 * (diameter / 2 + radius)


def test_large_shapes_are_clearly_larger_than_small_ones() -> None:
    spans: dict[str, list[float]] = {"small": [], "large": []}
    for scene in all_scenes(3, 120):
        share = layout(scene).shapes[0].diameter / np.sqrt(scene.width * scene.height)
        spans[scene.main.size].append(float(share))
    assert max(spans["small"]) * 1.15 < min(spans["large"])


@pytest.mark.parametrize(
    "wrong", [{"images": 39}, {"images": 6001}, {"edition": 3}, {"slow_seconds": -1.0}]
)
def test_a_bad_setting_is_refused_with_a_sentence(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="samplesite"):
        SiteConfig(**wrong)  # type: ignore[arg-type]
