"""Takedown: what is on the list leaves the index and does not come back."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from mmcore.cli import cli
from mmcore.dedup import stage_index
from mmcore.dedup.stage import Config, run
from mmcore.dedup.stage_takedown import take_down
from mmcore.errors import UserError
from mmcore.lake import Lake
from tests.dedup.signatures import Shown, by_image, night

FIRST, SECOND, THIRD, FOURTH = (f"2026-11-0{n}" for n in range(1, 5))
URL = "https://site.test/photo.png"


def _reasons(lake: Lake, day: str, shown: list[Shown]) -> list[str]:
    return [row["reason"] for row in by_image(lake.dataset("deduplicated", day), shown)]


@pytest.mark.parametrize("target", ["photo.png", "abc123", "", "ftp://x/y", "https://a b"])
def test_what_is_neither_url_nor_key_is_refused(lake: Lake, target: str) -> None:
    with pytest.raises(UserError, match="neither a URL nor a sha256"):
        take_down(lake, target, "asked", FIRST)
    assert lake.find("takedown") is None


@pytest.mark.usefixtures("ray_session")
class TestTakedown:
    def test_a_key_is_forgotten_and_its_copies_do_not_come_back(self, lake: Lake) -> None:
        gone, stays = Shown(1), Shown(2)
        night(lake, FIRST, [gone, Shown(1, 1), stays])
        done = take_down(lake, gone.sha256, "asked", SECOND)
        assert sorted(done.images) == sorted([gone.sha256, Shown(1, 1).sha256])
        assert done.kept_on == [FIRST]
        later = [gone, Shown(1, 2), Shown(1, 3, side=900), Shown(2, 1)]
        night(lake, SECOND, later)
        assert _reasons(lake, SECOND, later) == [*["taken_down"] * 3, "seen_before"]
        index = stage_index.opened(lake, lake.dataset("image_index", SECOND))
        names = [name for part in index.parts("clusters") for name in part["cluster"].to_pylist()]
        assert names == [stays.sha256]
        assert sum(part.num_rows for part in index.parts("seen")) == 2  # Shown(2) and its copy
        assert sum(part.num_rows for part in index.parts("band0")) == 1
        night(lake, THIRD, [Shown(1, 4)])
        assert _reasons(lake, THIRD, [Shown(1, 4)]) == ["taken_down"]

    def test_the_day_that_kept_it_drops_it_when_it_runs_again(self, lake: Lake) -> None:
        night(lake, FIRST, [Shown(1), Shown(2)])
        take_down(lake, Shown(1).sha256, "asked", SECOND)
        run(lake, FIRST, Config())
        assert _reasons(lake, FIRST, [Shown(1), Shown(2)]) == ["taken_down", "ok"]

    def test_a_url_that_was_never_seen_blocks_what_is_found_there_and_its_copies(
        self, lake: Lake
    ) -> None:
        night(lake, FIRST, [Shown(5)])
        take_down(lake, URL, "asked", FIRST)
        there = [{"sha256": Shown(1).sha256, "image_url": URL}, {"sha256": Shown(1, 1).sha256}]
        night(lake, SECOND, [Shown(1), Shown(1, 1), Shown(3)], crawled=there)
        assert _reasons(lake, SECOND, [Shown(1), Shown(1, 1), Shown(3)]) == [
            "taken_down",
            "taken_down",
            "ok",
        ]
        night(lake, THIRD, [Shown(6)])
        copies = [Shown(1, 2), Shown(3, 2)]
        night(lake, FOURTH, copies)  # at another URL, two nights later
        assert _reasons(lake, FOURTH, copies) == ["taken_down", "seen_before"]

    def test_a_page_stands_for_every_image_on_it(self, lake: Lake) -> None:
        page = "https://site.test/about"
        found = [
            {"sha256": Shown(n).sha256, "page_url": page if n < 3 else "https://site.test/"}
            for n in (1, 2, 3)
        ]
        night(lake, FIRST, [Shown(1), Shown(2), Shown(3)], crawled=found)
        done = take_down(lake, page, "asked", FIRST)
        assert sorted(done.images) == sorted([Shown(1).sha256, Shown(2).sha256])

    def test_the_list_only_grows_and_asking_twice_changes_nothing(self, lake: Lake) -> None:
        night(lake, FIRST, [Shown(1)])
        first = take_down(lake, Shown(1).sha256, "asked", FIRST).dataset
        again = take_down(lake, Shown(1).sha256, "asked again", SECOND).dataset
        assert again.digest == first.digest
        both = take_down(lake, URL, "asked", SECOND).dataset
        assert both.read(["target"])["target"].to_pylist() == [Shown(1).sha256, URL]

    def test_the_command_says_what_it_found_and_what_is_left_to_do(self, lake: Lake) -> None:
        night(lake, FIRST, [Shown(1)])
        asked = ["takedown", Shown(1).sha256, "--root", lake.root, "--day", SECOND]
        said = CliRunner().invoke(cli, asked).output
        assert "1 images of 1 clusters" in said
        assert f"run dedup and all after it again for {FIRST}" in said
        found = json.loads(CliRunner().invoke(cli, [*asked, "--json"]).output)
        assert found["images"] == [Shown(1).sha256]
        assert (
            "held back when it comes"
            in CliRunner().invoke(cli, ["takedown", URL, "--root", lake.root]).output
        )
