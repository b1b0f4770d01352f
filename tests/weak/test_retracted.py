"""Labelers that are retracted by name: what they said is left out, what others said is kept."""

from __future__ import annotations

import pyarrow as pa
import pytest

from mmcore.errors import UserError
from mmcore.lake import Lake
from mmcore.weak.retracted import Retracted, check_labeler, touched_by
from mmcore.weak.stage_retract import retract, retracted

VOTES = pa.table(
    {
        "task": ["tag", "tag", "fact", "sentiment"],
        "source": ["keyword", "alt", "alt", "comments"],
    }
)


@pytest.mark.parametrize(
    ("names", "left"),
    [
        (set(), [0, 1, 2, 3]),
        ({"alt"}, [0, 3]),
        ({"tag/alt"}, [0, 2, 3]),
        ({"tag/keyword", "sentiment/comments"}, [1, 2]),
        ({"shop@3"}, [0, 1, 2, 3]),
    ],
)
def test_votes_of_a_retracted_labeler_do_not_count(names: set[str], left: list[int]) -> None:
    listed = Retracted(frozenset(names))
    assert listed.of_all_tasks(VOTES).to_pylist() == VOTES.take(left).to_pylist()
    tags = VOTES.filter(pa.array([True, True, False, False]))
    assert listed.without("tag", tags).num_rows == sum(i < 2 for i in left)


@pytest.mark.parametrize("name", ["", "  ", "colour/alt", "tag/", "a/b/c"])
def test_what_can_be_no_name_is_refused_with_what_to_write(name: str) -> None:
    with pytest.raises(UserError, match="tag/keyword"):
        check_labeler(name)


def test_the_list_grows_and_says_which_days_to_run_again(tmp_path) -> None:
    from tests.weak.test_bootstrap import caption, row

    lake = Lake(str(tmp_path))
    from mmcore.weak.pairs import PAIRS

    tag = {"tag": "red", "confidence": 1.0, "source": "shop@3"}
    days = {"2026-11-01": [row(captions=[caption("x")], tags=[tag])], "2026-11-02": [row()]}
    for day, rows in days.items():
        writer = lake.writer("pairs", day)
        part = writer.write_table(0, pa.Table.from_pylist(rows, schema=PAIRS))
        writer.commit([part], [], {}, {})
    assert touched_by(lake.dataset("pairs", "2026-11-01").iter_parts()) == {
        "caption/alt": 1,
        "tag/shop@3": 1,
    }
    done = retract(lake, "shop@3", "drifted", "2026-11-03")
    assert done.days == {"2026-11-01": 1}
    assert retract(lake, "caption/alt", "file names", "2026-11-03").days == {"2026-11-01": 1}
    assert retract(lake, "alt", "file names", "2026-11-03").days == {"2026-11-01": 1}
    other = retract(lake, "altt", "a slip", "2026-11-03")
    assert other.days == {} and other.labelers == ["caption/alt", "tag/shop@3"]
    again = retract(lake, "shop@3", "drifted", "2026-11-04")
    found, names = retracted(lake)
    assert found is not None and found.rows == 4 and found.digest == again.dataset.digest
    assert names.has("shop@3") and not names.has("shop@4")
