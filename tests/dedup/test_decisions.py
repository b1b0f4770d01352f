"""What the driver keeps of a day's images: few bytes each, in the order of the result."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from mmcore.dedup import decisions, images
from mmcore.dedup.decisions import Decisions
from mmcore.dedup.history import History, State
from mmcore.dedup.images import EXACT, NEAR, OK, SEEN, Assigned, Facts, Images
from mmcore.lake import Lake


def _day(count: int) -> Images:
    """Images whose digests fall as their areas do: the best has the largest key."""
    digests = np.arange(count, dtype=np.uint64) + np.uint64(100)
    return images.ranked(Facts(digests, digests, digests, np.arange(count)))


def _decided(lake: Lake, day: Images, code: list[int], reason: list[int]) -> Decisions:
    assigned = Assigned(np.array(code), np.array(reason, np.int8))
    return decisions.decide(day, assigned, History(lake.storage), rows_per_part=2)


def _bytes(arrays: Any) -> int:
    return sum(getattr(arrays, field.name).nbytes for field in fields(arrays))


def test_clusters_are_numbered_by_name_and_images_lie_by_key(lake: Lake) -> None:
    day = _day(5)  # from best to worst: 104, 103, 102, 101, 100
    found = _decided(lake, day, [0, 0, 2, 3, 3], [OK, NEAR, OK, OK, EXACT])
    assert found.keys.tolist() == [100, 101, 102, 103, 104]
    # The clusters are called 101, 102 and 104 after their best images.
    assert found.cluster.tolist() == [0, 0, 1, 2, 2]
    assert found.leads.tolist() == [False, True, True, False, True]
    assert found.reason.tolist() == [EXACT, OK, OK, NEAR, OK]
    assert found.part.tolist() == [0, 1, 2]
    assert found.ids.tolist() == [-1, -1, -1]
    assert found.kept.tolist() == [True, True, True]
    assert found.funnel == {"images": 5, "exact_duplicate": 1, "near_duplicate": 1, "kept": 3}
    assert list(found.funnel) == ["images", "exact_duplicate", "near_duplicate", "kept"]


def test_a_known_cluster_is_not_kept_and_a_reason_nobody_has_is_not_counted(lake: Lake) -> None:
    assigned = Assigned(np.array([0, 0]), np.array([SEEN, SEEN], np.int8))
    history = History(lake.storage, State(ids=1))
    found = decisions.decide(_day(2), assigned, history, rows_per_part=2)
    assert (found.ids.tolist(), found.leads.tolist()) == ([0], [False, False])
    assert found.kept.tolist() == [False]
    assert found.funnel == {"images": 2, "seen_before": 2, "kept": 0}


def test_an_image_takes_few_bytes(lake: Lake) -> None:
    day = _day(1000)
    assert _bytes(day) <= 32 * 1000
    found = _decided(lake, day, list(range(1000)), [OK] * 1000)
    assert _bytes(found) <= 28 * 1000  # 14 an image, and as many a cluster


def test_parts_do_not_cut_through_a_cluster() -> None:
    sizes = np.array([2, 7, 2, 1])  # aa bbbbbbb cc d
    assert decisions.parts_of(sizes, 4).tolist() == [0, 1, 1, 1]
    assert decisions.parts_of(sizes, 3).tolist() == [0, 1, 2, 2]
    assert decisions.parts_of(np.array([12]), 4).tolist() == [0]
    assert decisions.parts_of(np.empty(0, np.int64), 4).tolist() == []
