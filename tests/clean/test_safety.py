"""The detector of faces and naked skin: what can be shown without pictures of anybody."""

from __future__ import annotations

import numpy as np
import pytest

from mmcore.clean.detect import _found, detector
from mmcore.clean.faces import blur
from mmcore.clean.measure import Measure
from mmcore.clean.policy import PixelPolicy
from tests.clean.helpers import encode, picture, raw_table


def _output(*boxes: tuple[int, float, tuple[float, float, float, float]]) -> np.ndarray:
    """What the model says: (class, score, centre and size) a candidate."""
    output = np.zeros((22, 2100), np.float32)
    for column, (kind, score, box) in enumerate(boxes):
        output[:4, column], output[4 + kind, column] = box, score
    return output


def test_faces_are_boxes_in_the_pixels_of_the_image() -> None:
    twice = _output((12, 0.8, (100, 60, 40, 20)), (1, 0.7, (101, 60, 40, 20)))
    found = _found(twice, scale=0.5)
    assert found.faces.tolist() == [[160, 100, 80, 40]]  # the second is the same face
    assert _found(_output((12, 0.2, (100, 60, 40, 20))), 1).faces.shape == (0, 4)


def test_the_score_is_that_of_the_surest_private_part() -> None:
    box = (50.0, 50.0, 20.0, 20.0)
    assert _found(_output((3, 0.4, box), (14, 0.9, box)), 1).unsafe == pytest.approx(0.9)
    covered = _output((0, 0.9, box), (16, 0.9, box), (7, 0.9, box), (5, 0.9, box), (12, 0.9, box))
    assert _found(covered, 1).unsafe == 0


def test_a_blurred_face_keeps_nothing_fine_and_the_rest_is_untouched() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (100, 120, 3), dtype=np.uint8)
    face = np.array([[40, 30, 20, 20]], np.float32)
    changed = blur(pixels, face)
    inside = changed[25:55, 35:65].astype(int)
    assert np.abs(np.diff(inside, axis=1)).max() < 30 < np.abs(np.diff(pixels.astype(int))).max()
    same = np.ones((100, 120), bool)
    same[25:55, 35:65] = False
    assert (changed[same] == pixels[same]).all()
    assert blur(pixels, np.empty((0, 4), np.float32)) is pixels


def test_a_face_at_the_edge_is_cut_there() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    outside = np.array([[-10, -10, 20, 20], [60, 60, 10, 10], [30, 30, 40, 40]], np.float32)
    assert blur(pixels, outside).shape == (40, 40, 3)


def test_without_being_asked_nothing_is_looked_for() -> None:
    measured, _ = Measure(PixelPolicy())(raw_table([encode(picture(1))]))
    assert measured.select(["unsafe", "faces"]).to_pylist() == [{"unsafe": None, "faces": None}]


def test_the_model_gives_every_image_a_score_and_leaves_it_as_it_is() -> None:
    pytest.importorskip("nudenet")
    pytest.importorskip("onnxruntime")
    rows = raw_table([encode(picture(seed, (300, 200)), "JPEG") for seed in range(1, 4)])
    plain = Measure(PixelPolicy())(rows)[1]
    measured, stored = Measure(PixelPolicy(safety=True, blur_faces=True))(rows)
    assert measured["faces"].to_pylist() == [0, 0, 0]
    assert all(0 <= score <= 1 for score in measured["unsafe"].to_pylist())
    assert stored == plain
    assert detector() is detector()
