"""The index across nights, on Ray: recognised, merged, repaired, the same when run again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmcore.dedup import stage_images, stage_index, stage_search
from mmcore.dedup.stage import Config, run
from mmcore.lake import Lake
from tests.dedup.signatures import Shown, by_image, night, write_day


def _day(number: int) -> str:
    return f"2026-11-{number:02d}"


@pytest.mark.usefixtures("ray_session")
class TestNights:
    def test_after_many_nights_every_picture_is_known_by_bytes_and_by_look(
        self, lake: Lake
    ) -> None:
        nights = [[Shown(100 * n + i) for i in range(30)] for n in range(1, 10)]
        first: dict[int, str] = {}
        for number, shown in enumerate(nights, 1):
            rows = by_image(night(lake, _day(number), shown), shown)
            assert {row["reason"] for row in rows} == {"ok"}
            first |= {image.picture: image.sha256 for image in shown}
        old = [image for shown in nights for image in shown]
        again = [*old[::7], *(Shown(image.picture, copy=3, side=800) for image in old)]
        new = [Shown(5000), Shown(5001)]
        found = night(lake, _day(10), [*again, *new])
        for image, row in zip(again, by_image(found, again), strict=True):
            assert row["reason"] == "seen_before"
            assert row["cluster"] == first[image.picture]
            assert row["day_first_seen"] == _day(image.picture // 100)
        assert {row["reason"] for row in by_image(found, new)} == {"ok"}
        index = lake.dataset("image_index", _day(10))
        assert index.metadata["clusters"] == 272
        assert all(runs <= 6 for runs in index.metadata["runs"].values())

    def test_a_night_writes_what_is_new_and_not_the_history(self, lake: Lake) -> None:
        night(lake, _day(1), [Shown(i) for i in range(1, 200)])
        night(lake, _day(2), [Shown(i) for i in range(1, 202)])
        index = lake.dataset("image_index", _day(2))
        assert index.metadata["images"] == 201
        # two new images: a row in each of the six tables, and the list of files
        assert index.metadata["written_rows"] == 2 * 6

    def test_a_day_run_again_gives_the_same_though_later_days_are_there(self, lake: Lake) -> None:
        days = {1: [Shown(1), Shown(2)], 2: [Shown(2, 1), Shown(3)], 3: [Shown(3, 2), Shown(4)]}
        for number, shown in days.items():
            night(lake, _day(number), shown)
        names = ("deduplicated", "image_index")
        before = {(n, d): lake.dataset(n, _day(d)).digest for n in names for d in days}
        for number in days:  # another setting that changes no row of them: everything runs again
            run(lake, _day(number), Config(bucket_cap=999))
        assert {(n, d): lake.dataset(n, _day(d)).digest for n in names for d in days} == before

    def test_an_earlier_day_that_changed_is_known_as_it_is_now(self, lake: Lake) -> None:
        night(lake, _day(1), [Shown(1), Shown(2)])
        night(lake, _day(2), [Shown(3)])
        night(lake, _day(1), [Shown(2), Shown(9)])
        shown = [Shown(1, 1), Shown(2, 1), Shown(3, 1), Shown(9, 1)]
        rows = by_image(night(lake, _day(3), shown), shown)
        assert [row["reason"] for row in rows] == ["ok", *["seen_before"] * 3]
        assert [row["day_first_seen"] for row in rows] == [_day(d) for d in (3, 1, 2, 1)]

    def test_a_day_that_was_filled_in_is_known_to_later_days(self, lake: Lake) -> None:
        night(lake, _day(1), [Shown(1)])
        night(lake, _day(3), [Shown(3)])
        night(lake, _day(2), [Shown(2), Shown(1, 1)])
        shown = [Shown(i, 2) for i in (1, 2, 3, 4)]
        rows = by_image(night(lake, _day(4), shown), shown)
        assert [row["day_first_seen"] for row in rows] == [_day(d) for d in (1, 2, 3, 4)]

    def test_a_day_whose_datasets_are_gone_stays_known(self, lake: Lake) -> None:
        night(lake, _day(1), [Shown(1)])
        night(lake, _day(2), [Shown(2)])
        for name in ("deduplicated", "cleaned", "crawled", "texts"):
            lake.storage.delete(f"datasets/{name}/{_day(1)}")
        (row,) = by_image(night(lake, _day(3), [Shown(1, 1)]), [Shown(1, 1)])
        assert (row["reason"], row["day_first_seen"]) == ("seen_before", _day(1))

    def test_a_copy_of_yesterdays_test_image_stays_out_of_training(self, lake: Lake) -> None:
        night(lake, _day(1), [Shown(1)], crawled=[{"sha256": Shown(1).sha256, "split": "test"}])
        night(lake, _day(2), [Shown(7)])
        copy = Shown(1, 2, side=900)
        asked = [{"sha256": copy.sha256, "split": "train"}]
        (row,) = by_image(night(lake, _day(3), [copy], crawled=asked), [copy])
        assert (row["split"], row["kept"], row["cluster"]) == ("test", False, Shown(1).sha256)

    def test_clusters_do_not_depend_on_the_size_of_a_block(
        self, lake: Lake, tmp_path: Path
    ) -> None:
        night(lake, _day(1), [Shown(i) for i in range(1, 20)])
        shown = [Shown(i, c, side=300 + c) for i in range(10, 40) for c in range(1, 4)]
        write_day(lake, _day(2), shown)
        history, cleaned = stage_index.before(lake, _day(2)), lake.dataset("cleaned", _day(2))
        day, thumbnails = stage_images.read(lake.writer("scratch"), cleaned)
        everything = np.arange(len(day))
        found = [
            stage_search.search(history, day, everything, thumbnails, Config().limits, block).leader
            for block in (7, 1000)
        ]
        assert (found[0] == found[1]).all()
        assert len(np.unique(found[0])) == 30
