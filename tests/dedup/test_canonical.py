"""Which copy stands for a cluster: the best of its first day, by resolution, then by key."""

from __future__ import annotations

import itertools

import pytest

from mmcore.lake import Lake
from tests.dedup.signatures import Shown, by_image, night

DAY, NEXT = "2026-11-23", "2026-11-24"

pytestmark = pytest.mark.usefixtures("ray_session")


def _decided(lake: Lake, day: str, shown: list[Shown]) -> list[tuple[str, str, str]]:
    rows = by_image(lake.dataset("deduplicated", day), shown)
    return [(row["cluster"], row["canonical"], row["reason"]) for row in rows]


def test_the_best_resolution_of_a_day_leads_whatever_its_key(lake: Lake) -> None:
    # Of each picture three copies; the large one is the first, second or third by key.
    shown, best = [], {}
    for picture in range(1, 25):
        sides = [400, 500, 600]
        copies = [Shown(picture, copy, side) for copy, side in enumerate(sides)]
        best[picture] = copies[-1]
        shown += copies
    ranks = {
        sorted(s.sha256 for s in shown if s.picture == p).index(b.sha256) for p, b in best.items()
    }
    assert ranks == {0, 1, 2}
    for order in (shown, shown[::-1]):
        night(lake, DAY, order)
        assert _decided(lake, DAY, shown) == [
            (
                best[s.picture].sha256,
                best[s.picture].sha256,
                "ok" if s == best[s.picture] else "near_duplicate",
            )
            for s in shown
        ]


def test_of_equal_resolution_the_smallest_key_leads(lake: Lake) -> None:
    shown = [Shown(picture, copy) for picture in range(1, 9) for copy in range(3)]
    night(lake, DAY, shown)
    first = {
        picture: min(image.sha256 for image in copies)
        for picture, copies in itertools.groupby(shown, key=lambda image: image.picture)
    }
    assert [row[0] for row in _decided(lake, DAY, shown)] == [first[s.picture] for s in shown]


def test_a_better_copy_of_a_later_day_does_not_rename_the_cluster(lake: Lake) -> None:
    small, large = Shown(1, side=300), Shown(1, 1, side=2000)
    night(lake, DAY, [small])
    night(lake, NEXT, [large])
    assert _decided(lake, NEXT, [large]) == [(small.sha256, small.sha256, "seen_before")]
    # What was published stays as it is, also when its day runs again.
    night(lake, DAY, [small])
    assert _decided(lake, DAY, [small]) == [(small.sha256, small.sha256, "ok")]
