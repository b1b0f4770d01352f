"""The dedup stage on Ray, fed by the real clean stage: copies, history, captions, splits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmcore.clean import stage as clean
from mmcore.dedup.stage import Config, run
from mmcore.lake import Dataset, Lake
from tests.clean.helpers import encode, picture, sha, write_crawled, write_raw

DAY, NEXT = "2026-11-23", "2026-11-24"


def _copies(seed: int) -> dict[str, bytes]:
    """One picture as a site carries it: original, same pixels in another file, near copies."""
    original = picture(seed, (240, 180))
    return {
        "original": encode(original),
        "same_pixels": encode(original, compress_level=1),
        "jpeg": encode(original, "JPEG", quality=70),
        "small_webp": encode(original.resize((144, 108), Image.Resampling.LANCZOS), "WEBP"),
    }


def _run(
    lake: Lake,
    day: str,
    images: Sequence[bytes],
    rows: Sequence[Mapping[str, Any]] = (),
    config: Config | None = None,
) -> Dataset:
    write_raw(lake, day, images, rows_per_part=3)
    write_crawled(lake, day, rows)
    clean.run(lake, day, clean.Config())
    return run(lake, day, config or Config())


def _by_key(dataset: Dataset) -> dict[str, dict[str, Any]]:
    return {row["sha256"]: row for row in dataset.read().to_pylist()}


@pytest.mark.usefixtures("ray_session")
class TestDedup:
    def test_one_picture_of_a_cluster_is_kept_and_the_others_say_why(self, lake: Lake) -> None:
        first, second = _copies(1), _copies(2)
        rows = _by_key(_run(lake, DAY, [*first.values(), *second.values()]))
        assert len(rows) == 8
        for copies in (first, second):
            mine = [rows[sha(data)] for data in copies.values()]
            assert len({row["cluster"] for row in mine}) == 1
            leader = min(sha(copies["original"]), sha(copies["same_pixels"]))
            # all three full-size files have the same resolution: the smallest key may lead
            leader = min(leader, sha(copies["jpeg"]))
            assert mine[0]["cluster"] == mine[0]["canonical"] == leader
            assert [row["sha256"] for row in mine if row["kept"]] == [leader]
            assert rows[sha(copies["small_webp"])]["reason"] == "near_duplicate"
        reasons = sorted(row["reason"] for row in rows.values())
        assert reasons.count("ok") == 2
        assert set(reasons) <= {"ok", "exact_duplicate", "near_duplicate"}

    def test_same_pixels_in_another_file_is_an_exact_duplicate(self, lake: Lake) -> None:
        copies = _copies(3)
        rows = _by_key(_run(lake, DAY, [copies["original"], copies["same_pixels"]]))
        assert sorted(row["reason"] for row in rows.values()) == ["exact_duplicate", "ok"]

    def test_a_cluster_of_yesterday_is_recognised_today(self, lake: Lake) -> None:
        known = _copies(4)
        today = encode(picture(5, (240, 180)))
        first = _by_key(_run(lake, DAY, [known["small_webp"]]))
        second = _by_key(
            _run(lake, NEXT, [known["small_webp"], known["original"], known["same_pixels"], today])
        )
        cluster = first[sha(known["small_webp"])]["cluster"]
        for name in ("small_webp", "original", "same_pixels"):
            row = second[sha(known[name])]
            # the first image ever seen names the cluster, though a better one came later
            assert (row["cluster"], row["kept"], row["reason"]) == (cluster, False, "seen_before")
            assert row["day_first_seen"] == DAY
            assert row["captions"] is None
        row = second[sha(today)]
        assert (row["kept"], row["reason"], row["day_first_seen"]) == (True, "ok", NEXT)

    def test_captions_of_a_cluster_stand_on_its_kept_row(self, lake: Lake) -> None:
        copies = _copies(6)
        key, other = sha(copies["original"]), sha(copies["jpeg"])
        said = [
            {"sha256": key, "caption": "A red kite.", "alt": "Kite over a hill", "lang": "en"},
            {"sha256": other, "alt": "a RED  kite", "context": "We met in spring.", "lang": "en"},
            {"sha256": other, "alt": "a RED  kite", "title": "IMG_1.jpg", "lang": "en"},
        ]
        found = _run(lake, DAY, [copies["original"], copies["jpeg"]], said)
        kept = [row for row in found.read().to_pylist() if row["kept"]]
        assert len(kept) == 1
        assert [(c["text"], c["role"], c["count"]) for c in kept[0]["captions"]] == [
            ("A red kite.", "caption", 3),
            ("Kite over a hill", "alt", 1),
        ]
        assert kept[0]["captions"][0]["lang"] == "en"

    def test_a_caption_under_too_many_clusters_is_left_out(self, lake: Lake) -> None:
        images = [encode(picture(seed, (200, 150))) for seed in range(10, 14)]
        said = [
            {"sha256": sha(data), "alt": "Our shop in spring", "title": f"Thing number {i} here"}
            for i, data in enumerate(images)
        ]
        found = _run(lake, DAY, images, said, Config(max_caption_clusters=3))
        captions = [row["captions"] for row in found.read().to_pylist()]
        assert all(len(c) == 1 and c[0]["text"].startswith("Thing") for c in captions)
        assert found.metadata["captions"] == {
            "kept": 4,
            "near_duplicates": 0,
            "under_too_many_clusters": 4,
            "protected": 0,
        }

    def test_the_most_protected_split_and_all_annotations_win(self, lake: Lake) -> None:
        copies = _copies(7)
        notes = (
            {"captions": ["one"], "sentiment": "positive"},
            {"captions": ["two"], "sentiment": "negative"},
        )
        said = [
            {
                "sha256": sha(copies[name]),
                "annotation": json.dumps(note),
                "split": split,
                "source": "folder",
            }
            for name, note, split in zip(
                ("original", "jpeg"), notes, ("train", "test"), strict=True
            )
        ]
        rows = _run(lake, DAY, list(copies.values()), said).read().to_pylist()
        assert {row["split"] for row in rows} == {"test"}
        (kept,) = (row for row in rows if row["kept"])
        merged = json.loads(kept["annotation"])
        assert sorted(merged["captions"]) == ["one", "two"]
        assert sorted(merged["conflicts"]["sentiment"]) == ["negative", "positive"]
        assert all(row["annotation"] is None for row in rows if not row["kept"])

    def test_a_second_run_gives_the_same_digests(self, lake: Lake, tmp_path: Path) -> None:
        other = Lake(str(tmp_path / "other"))
        images = [*_copies(8).values(), *_copies(9).values()]
        said = [
            {"sha256": sha(data), "alt": f"Kite {i % 3} in the sky"}
            for i, data in enumerate(images)
        ]
        for target in (lake, other):
            _run(target, DAY, images[:5], said)
            _run(target, NEXT, images, said)
        for name in ("deduplicated", "image_index"):
            for day in (DAY, NEXT):
                assert lake.dataset(name, day).digest == other.dataset(name, day).digest

    def test_a_day_without_images_gives_empty_datasets(self, lake: Lake) -> None:
        assert _run(lake, DAY, []).read().num_rows == 0
        assert lake.dataset("image_index", DAY).metadata["clusters"] == 0
