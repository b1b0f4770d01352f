"""The image half of the clean stage on Ray: isolation, blocklist, placeholders, coverage."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from mmcore.clean.stage import Config, run
from mmcore.lake import Lake
from tests.clean.helpers import encode, picture, sha, write_crawled, write_raw

DAY = "2026-11-23"


def _reasons(lake: Lake) -> dict[str, str]:
    table = lake.dataset("cleaned", DAY).read(["sha256", "reason"])
    return dict(zip(table["sha256"].to_pylist(), table["reason"].to_pylist(), strict=True))


def _world(lake: Lake, images: list[bytes], rows_per_part: int = 1000) -> None:
    write_raw(lake, DAY, images, rows_per_part)
    write_crawled(lake, DAY, [{"sha256": sha(images[0])}])


def _holders(lake: Lake, data: bytes) -> list[str]:
    """Files of the lake in which these bytes lie."""
    files = (path for path in Path(lake.root).rglob("*") if path.is_file())
    return [str(path) for path in files if data in path.read_bytes()]


@pytest.mark.usefixtures("ray_session")
class TestImages:
    def test_an_image_that_takes_too_long_costs_its_row_only(self, lake: Lake) -> None:
        slow = encode(picture(1, (6000, 5000)), "WEBP", quality=50)
        quick = [encode(picture(seed)) for seed in range(2, 5)]
        _world(lake, [*quick, slow])
        run(lake, DAY, Config(decode_seconds=0.1))
        wanted = {sha(data): "ok" for data in quick} | {sha(slow): "decoder_hung"}
        assert _reasons(lake) == wanted
        assert lake.dataset("normalized", DAY).rows == 3

    def test_what_is_blocklisted_leaves_the_lake(self, lake: Lake, tmp_path: Path) -> None:
        by_file, by_look, fine = (encode(picture(seed, (300, 200)), "JPEG") for seed in (1, 2, 3))
        _world(lake, [fine, by_file, by_look], rows_per_part=2)
        run(lake, DAY, Config())  # one night before anybody listed them
        rows = lake.dataset("cleaned", DAY).read(["sha256", "phash"]).to_pylist()
        look = next(row["phash"] for row in rows if row["sha256"] == sha(by_look))
        stored = lake.dataset("normalized", DAY).read().to_pylist()
        small = {row["sha256"]: row["image"] for row in stored}
        blocklist = tmp_path / "blocked.txt"
        blocklist.write_text(f"{sha(by_file)}\n{look ^ 0b101:016x}  # two bits off\n")
        config = Config(blocklist=str(blocklist))

        first = run(lake, DAY, config)
        wanted = {sha(by_file): "blocklisted", sha(by_look): "blocklisted", sha(fine): "ok"}
        assert _reasons(lake) == wanted
        assert first.metadata["funnel"]["blocklisted"] == 2
        for data in (by_file, by_look):
            assert _holders(lake, data) == []
            assert _holders(lake, small[sha(data)]) == []
            row = first.read().filter(pc.equal(first.read()["sha256"], sha(data)))
            assert row["thumb"].null_count == row["phash"].null_count == row["format"].null_count
            assert row["thumb"].null_count == 1
        assert len(_holders(lake, fine)) == 1
        raw = lake.dataset("raw", DAY)
        raw.verify()
        assert (raw.rows, raw.read(["image"])["image"].null_count) == (3, 2)

        # The next run finds the bytes gone and comes to the same datasets.
        assert run(lake, DAY, config).manifest == first.manifest
        again = run(lake, DAY, config.model_copy(update={"decode_mb": 1024}))
        assert again.digest == first.digest

    def test_a_file_under_many_urls_is_a_placeholder(self, lake: Lake) -> None:
        logo, photo = encode(picture(1)), encode(picture(2))
        _world(lake, [logo, photo])
        keys = [sha(logo)] * 25 + [sha(photo)] * 9
        outcomes = pa.table(
            {
                "url": [f"http://site.test/{i}.png" for i in range(34)],
                "kind": ["image"] * 34,
                "reason": ["ok"] * 34,
                "sha256": keys,
            }
        )
        writer = lake.writer("outcomes", DAY)
        parts = [writer.write_table(i, outcomes.slice(17 * i, 17)) for i in range(2)]
        writer.commit(parts, [], {})
        cleaned = run(lake, DAY, Config()).read(["sha256", "reason", "urls"]).to_pylist()
        found = {row["sha256"]: (row["reason"], row["urls"]) for row in cleaned}
        assert found == {sha(logo): ("placeholder", 25), sha(photo): ("ok", 9)}
        run(lake, DAY, Config(max_urls=30))
        assert _reasons(lake)[sha(logo)] == "ok"

    def test_coverage_counts_what_is_kept(self, lake: Lake) -> None:
        images = [
            encode(picture(1, (400, 300)), "JPEG"),
            encode(picture(2, (200, 300))),
            encode(picture(3, (150, 150)).convert("L"), "WEBP"),
            encode(picture(4, (20, 20))),
        ]
        _world(lake, images)
        coverage = run(lake, DAY, Config()).metadata["coverage"]
        assert coverage["formats"] == {"JPEG": 1, "PNG": 1, "WEBP": 1}
        assert coverage["shapes"] == {"landscape": 1, "portrait": 1, "square": 1}
        assert coverage["shorter_sides"] == {"128-256": 2, "256-512": 1}
        assert coverage["colours"] == {"colour": 2, "grey": 1}
        assert coverage["faces"] == {"unknown": 3}

    def test_pixels_are_stored_as_the_policy_says(self, lake: Lake) -> None:
        _world(lake, [encode(picture(1, (200, 100)))])
        run(lake, DAY, Config(store_as="webp", enlarge=True, shorter_side=128))
        (stored,) = lake.dataset("normalized", DAY).read()["image"].to_pylist()
        image = Image.open(io.BytesIO(stored))
        assert (image.format, image.size) == ("WEBP", (256, 128))
