"""Nearly equal captions in the dedup stage on Ray: merged, counted together, kept out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mmcore.clean import stage as clean
from mmcore.clean.images import PixelPolicy
from mmcore.clean.measure import measure
from mmcore.dedup import stage_shuffle
from mmcore.dedup.stage import Config, run
from mmcore.dedup.stage_protect import Protect
from mmcore.lake import Dataset, Lake
from tests.clean.helpers import encode, picture, sha, write_crawled, write_raw

DAY = "2026-11-23"
CAPTION = "Two red kites above the old harbour at noon with a ship"
WORDS = [
    f"{tens}{ones}" for tens in ("kite", "hill", "ship") for ones in ("ly", "est", "ful", "or")
]
NUMBERS = [*WORDS, *(word + "s" for word in WORDS), *(word + "ed" for word in WORDS)]


def _images(count: int) -> list[bytes]:
    return [encode(picture(seed, (200, 150))) for seed in range(30, 30 + count)]


def _run(
    lake: Lake,
    images: Sequence[bytes],
    said: Sequence[Mapping[str, Any]],
    config: Config | None = None,
    protect: Protect | None = None,
    rows_per_part: int = 2,
) -> Dataset:
    write_raw(lake, DAY, images, rows_per_part=rows_per_part)
    write_crawled(lake, DAY, said)
    clean.run(lake, DAY, clean.Config())
    return run(lake, DAY, config or Config(), protect)


@pytest.mark.usefixtures("ray_session")
class TestNearTexts:
    def test_nearly_equal_captions_of_an_image_are_one(self, lake: Lake) -> None:
        (image,) = _images(1)
        said = [
            {"sha256": sha(image), "alt": CAPTION + " today"},
            {"sha256": sha(image), "alt": CAPTION + " today"},
            {"sha256": sha(image), "caption": CAPTION + ".", "title": "A harbour seen from above"},
            {"sha256": sha(image), "alt": CAPTION.replace("red", "blue").replace("noon", "dusk")},
        ]
        found = _run(lake, [image], said)
        (row,) = found.read().to_pylist()
        assert [(c["text"], c["role"], c["count"]) for c in row["captions"]] == [
            (CAPTION + ".", "caption", 3),
            ("Two blue kites above the old harbour at dusk with a ship", "alt", 1),
            ("A harbour seen from above", "title", 1),
        ]
        assert found.metadata["captions"]["near_duplicates"] == 1

    def test_a_chain_of_likenesses_is_not_one_text(self, lake: Lake) -> None:
        (image,) = _images(1)
        # 19 pairs of words each, of which 17 are in a neighbour (.81), 15 in the next (.65).
        chain = [" ".join(NUMBERS[at : at + 20]) for at in (0, 2, 4)]
        said = [{"sha256": sha(image), "alt": text} for text in chain]
        (row,) = _run(lake, [image], said).read().to_pylist()
        assert [c["count"] for c in row["captions"]] == [2, 1]

    def test_a_template_under_many_images_is_left_out(self, lake: Lake) -> None:
        images = _images(4)
        said = [
            {
                "sha256": sha(image),
                "alt": f"{CAPTION} {number}",
                "title": f"Motif {number} {number}",
            }
            for image, number in zip(images, ("one", "two", "three", "four"), strict=True)
        ]
        found = _run(lake, images, said, Config(max_caption_clusters=3))
        assert found.metadata["captions"]["under_too_many_clusters"] == 4
        texts = [c["text"] for row in found.read().to_pylist() for c in row["captions"]]
        assert sorted(texts) == [f"Motif {n} {n}" for n in ("four", "one", "three", "two")]
        alone = run(lake, DAY, Config(max_caption_clusters=3, min_text_similarity=1))
        assert alone.metadata["captions"]["under_too_many_clusters"] == 0

    def test_near_duplicates_of_protected_texts_are_left_out(
        self, lake: Lake, tmp_path: Path
    ) -> None:
        held = tmp_path / "set.jsonl"
        held.write_text(json.dumps({"captions": [CAPTION, "猫が窓辺で静かに眠っている写真です"]}))
        (image,) = _images(1)
        said = [
            {"sha256": sha(image), "alt": CAPTION + " today"},
            {"sha256": sha(image), "title": "猫が窓辺で静かに眠っている写真です！ふ"},
            {"sha256": sha(image), "caption": "A ship in the old harbour at noon"},
        ]
        protect = Protect((held,), partial(measure, policy=PixelPolicy()))
        found = _run(lake, [image], said, protect=protect)
        (row,) = found.read().to_pylist()
        assert [c["text"] for c in row["captions"]] == ["A ship in the old harbour at noon"]
        assert found.metadata["captions"]["protected"] == 2

    def test_how_the_day_is_cut_into_parts_changes_nothing(
        self, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        images = _images(5)
        ends = ["", " today", " now", " again", "."]
        said = [
            {"sha256": sha(image), "alt": CAPTION + end, "title": CAPTION + ends[at - 1]}
            for at, (image, end) in enumerate(zip(images, ends, strict=True))
        ]
        whole = _run(lake, images, said, rows_per_part=100)
        monkeypatch.setattr(stage_shuffle, "_ROWS_PER_FILE", 1)
        cut = _run(Lake(str(tmp_path / "other")), images, said, rows_per_part=1)
        assert cut.digest == whole.digest
        assert whole.metadata["texts"]["near_duplicates"] == 3
        assert whole.metadata["texts"]["distinct"] == 4
