"""The clean stage on Ray: four datasets, every reason, and thresholds that decode nothing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmcore.clean import stage_texts
from mmcore.clean.stage import Config, run
from mmcore.errors import UserError
from mmcore.lake import Dataset, Lake
from tests.clean.helpers import encode, picture, sha, write_crawled, write_raw

DAY = "2026-11-23"
NAMES = ("measured", "normalized", "cleaned", "measured_texts", "texts")


def _world() -> dict[str, bytes]:
    """One image for every reason."""
    photo = encode(picture(1, (400, 300)), "JPEG")
    return {
        "ok": photo,
        "not_an_image": b"<html>404</html>",
        "truncated": photo[: len(photo) // 2],
        "decode_error": encode(picture(2))[:16] + b"\xff" * 2000 + encode(picture(2))[-12:],
        "too_many_pixels": encode(Image.new("1", (9000, 9000))),
        "too_few_bytes": encode(picture(3, (6, 6))),
        "too_small": encode(picture(4, (90, 40))),
        "bad_aspect": encode(picture(5, (600, 90))),
        "blank": encode(Image.new("RGB", (200, 200), "white"), "BMP"),
    }


def _shop() -> list[dict[str, Any]]:
    """Two hundred images of a shop, some on two pages, whose texts bear its name."""
    rows: list[dict[str, Any]] = [
        {
            "sha256": sha(str(i).encode()),
            "page_url": f"https://shop.test/{i}",
            "alt": f"Shoe number {i} with a red sole | ACME shop",
            "title": "Click for details",
            "lang": "en",
        }
        for i in range(200)
    ]
    return [*rows, *({**row, "page_url": "https://shop.test/all"} for row in rows[::3])]


def _reasons(cleaned: Dataset) -> dict[str, str]:
    table = cleaned.read(["sha256", "reason"])
    return dict(zip(table["sha256"].to_pylist(), table["reason"].to_pylist(), strict=True))


@pytest.mark.usefixtures("ray_session")
class TestClean:
    def test_every_image_has_its_reason_and_only_decoded_ones_are_stored(self, lake: Lake) -> None:
        world = _world()
        write_raw(lake, DAY, list(world.values()), rows_per_part=4)
        write_crawled(lake, DAY, [{"sha256": sha(world["ok"]), "alt": "A red kite over a hill"}])
        cleaned = run(lake, DAY, Config(max_pixels=80_000_000))
        assert _reasons(cleaned) == {sha(data): reason for reason, data in world.items()}
        assert cleaned.metadata["funnel"]["images"] == 9
        assert cleaned.metadata["funnel"]["kept"] == 1
        stored = lake.dataset("normalized", DAY).read()
        assert sha(world["ok"]) in stored["sha256"].to_pylist()
        assert stored.num_rows == 5
        for row in stored.to_pylist():
            image = Image.open(io.BytesIO(row["image"]))
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert min(image.size) <= 256

    def test_a_new_threshold_needs_no_pixels(self, lake: Lake) -> None:
        world = _world()
        raw = write_raw(lake, DAY, list(world.values()))
        write_crawled(lake, DAY, [{"sha256": sha(world["ok"])}])
        run(lake, DAY, Config())
        for path in raw.paths():  # whoever decodes again now finds nothing to decode
            Path(path).unlink()
        again = run(lake, DAY, Config(min_side=30, max_aspect=10))
        reasons = _reasons(again)
        assert reasons[sha(world["too_small"])] == "ok"
        assert reasons[sha(world["bad_aspect"])] == "ok"
        assert reasons[sha(world["blank"])] == "blank"

    def test_a_second_run_gives_the_same_digests(self, lake: Lake, tmp_path: Path) -> None:
        world = _world()
        other = Lake(str(tmp_path / "other"))
        for target in (lake, other):
            write_raw(target, DAY, list(world.values()), rows_per_part=3)
            write_crawled(target, DAY, [{"sha256": sha(world["ok"]), "caption": "Zwei Äpfel"}])
            run(target, DAY, Config())
        for name in NAMES:
            assert lake.dataset(name, DAY).digest == other.dataset(name, DAY).digest

    def test_texts_stand_once_per_image_and_role_with_their_places(self, lake: Lake) -> None:
        photo = encode(picture(1, (400, 300)), "JPEG")
        key = sha(photo)
        write_raw(lake, DAY, [photo])
        rows: list[dict[str, Any]] = [
            {"sha256": key, "alt": "image", "caption": "Two  red <b>kites</b>", "lang": "en"},
            {"sha256": key, "alt": "IMG_0042.jpg", "caption": "Two red kites", "lang": "en"},
            {
                "sha256": key,
                "alt": "",
                "caption": "Call +49 30 901820",
                "keywords": ["kite", "sky"],
            },
        ]
        write_crawled(lake, DAY, rows)
        run(lake, DAY, Config())
        texts = lake.dataset("texts", DAY)
        found = {
            (r["role"], r["text"]): (r["reason"], r["places"], r["lang"], r["masked"])
            for r in texts.read().to_pylist()
        }
        assert found == {
            ("alt", ""): ("empty", 1, None, 0),
            ("alt", "IMG_0042.jpg"): ("file_name", 1, "en", 0),
            ("alt", "image"): ("boilerplate", 1, "en", 0),
            ("caption", "Call <PHONE>"): ("ok", 1, None, 1),
            ("caption", "Two red kites"): ("ok", 2, "en", 0),
            ("keyword", "kite"): ("ok", 1, None, 0),
            ("keyword", "sky"): ("ok", 1, None, 0),
        }
        assert texts.metadata["masked"] == 1
        assert texts.metadata["funnel"]["kept"] == 4

    def test_a_new_threshold_reads_no_text_again(self, lake: Lake) -> None:
        photo = encode(picture(1, (400, 300)), "JPEG")
        write_raw(lake, DAY, [photo])
        alts = ["Two red kites", "sun", "Zwei rote Drachen über dem Hügel"]
        crawled = write_crawled(lake, DAY, [{"sha256": sha(photo), "alt": alt} for alt in alts])
        run(lake, DAY, Config())
        measured = lake.dataset("measured_texts", DAY)
        for path in crawled.paths():  # whoever measures again now finds nothing to measure
            Path(path).unlink()
        run(lake, DAY, Config(min_caption_words=2, min_language_confidence=1, max_site_images=99))
        texts = lake.dataset("texts", DAY).read().to_pylist()
        assert lake.dataset("measured_texts", DAY).manifest == measured.manifest
        found = {row["text"]: (row["reason"], row["lang"]) for row in texts}
        assert found["sun"][0] == "too_short"
        assert found["Zwei rote Drachen über dem Hügel"] == ("ok", None)

    def test_a_day_in_many_tasks_has_the_texts_of_a_day_in_one(
        self, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = Lake(str(tmp_path / "other"))
        for target, rows_per_task in ((lake, 20_000), (other, 37)):
            monkeypatch.setattr(stage_texts, "_ROWS_PER_TEXT_TASK", rows_per_task)
            write_raw(target, DAY, [])
            write_crawled(target, DAY, _shop(), rows_per_part=20)
            run(target, DAY, Config())
        assert len(other.dataset("texts", DAY).parts) > 5
        one, many = (target.dataset("texts", DAY).read() for target in (lake, other))
        assert one.combine_chunks().equals(many.combine_chunks())
        reasons = dict(zip(one["text"].to_pylist(), one["reason"].to_pylist(), strict=True))
        assert reasons["Click for details"] == "site_boilerplate"
        assert reasons["Shoe number 7 with a red sole"] == "ok"
        assert "Shoe number 7 with a red sole | ACME shop" not in reasons
        assert not (tmp_path / "other/work/clean").exists() or not any(
            path.is_file() for path in (tmp_path / "other/work/clean").rglob("*")
        )
        hosts = other.dataset("texts", DAY).metadata["coverage"]["hosts"]
        assert hosts == {"shop.test": 200}

    def test_a_day_without_images_gives_empty_datasets(self, lake: Lake) -> None:
        write_raw(lake, DAY, [])
        write_crawled(lake, DAY, [])
        assert run(lake, DAY, Config()).rows == 0
        for name in NAMES:
            assert lake.dataset(name, DAY).read().num_rows == 0

    def test_what_is_up_to_date_is_left_alone(self, lake: Lake) -> None:
        photo = encode(picture(1, (400, 300)), "JPEG")
        write_raw(lake, DAY, [photo])
        write_crawled(lake, DAY, [{"sha256": sha(photo)}])
        first = run(lake, DAY, Config())
        assert run(lake, DAY, Config()).manifest == first.manifest


def test_an_unknown_language_is_refused_with_what_is_allowed(lake: Lake) -> None:
    with pytest.raises(UserError, match=r"clean\.languages has xx"):
        run(lake, DAY, Config(languages=("en", "xx")))
