"""The replay order: every new sample once an epoch, an exact share of earlier ones among them."""

from __future__ import annotations

import numpy as np
import pytest

from mmcore.errors import UserError
from mmcore.shards.order import SampleOrder, rank_share
from mmcore.shards.replay import ReplayOrder

EARLIER, NEW = 40, 20


def order(replay: float = 0.3, seed: int = 5, new: int = NEW) -> ReplayOrder:
    earlier = SampleOrder(np.array([25, EARLIER - 25]), seed)
    return ReplayOrder(earlier, SampleOrder(np.array([new]), seed), EARLIER, replay)


def test_an_epoch_visits_every_new_sample_once_and_the_share_of_earlier_ones() -> None:
    made = order()
    assert made.epoch_length == 26 and made.replayed == 6
    for epoch in range(5):
        samples = made.slice(26 * epoch, 26 * (epoch + 1)).samples
        assert sorted(samples[samples >= EARLIER]) == list(range(EARLIER, EARLIER + NEW))
        assert len(np.unique(samples[samples < EARLIER])) == 6


def test_replays_differ_from_epoch_to_epoch_until_all_were_replayed_equally_often() -> None:
    made = order(replay=0.5)  # 10 of 40 an epoch
    samples = made.slice(0, 8 * made.epoch_length).samples
    counts = np.bincount(samples[samples < EARLIER], minlength=EARLIER)
    assert (counts == 2).all()
    first = made.slice(0, 4 * made.epoch_length).samples
    assert len(np.unique(first[first < EARLIER])) == EARLIER


@pytest.mark.parametrize("replay", [0.0, 0.07, 0.3, 1.0, 2.5])
def test_every_stretch_has_its_share_of_replays_give_or_take_one(replay: float) -> None:
    made = order(replay)
    share = made.replayed / made.epoch_length
    for start in range(0, 90, 7):
        replays = (made.slice(start, start + 13).samples < EARLIER).sum()
        assert abs(replays - 13 * share) < 1


@pytest.mark.parametrize("world", [1, 2, 3])
def test_any_number_of_ranks_and_any_resumption_see_one_stream(world: int) -> None:
    whole = order().slice(0, 120).samples
    seen = []
    for cursor in range(0, 120, 12):
        again = order()  # as after a restart: the cursor is all that is known
        shares = [rank_share(cursor, 12, rank, world) for rank in range(world)]
        seen += [again.slice(*share).samples for share in shares]
    np.testing.assert_array_equal(np.concatenate(seen), whole)


def test_the_fingerprint_tells_orders_apart_and_the_seed_shuffles() -> None:
    assert order().fingerprint == order().fingerprint
    assert len({order(0.3).fingerprint, order(0.2).fingerprint, order(seed=6).fingerprint}) == 3
    assert order().slice(0, 26).samples.tolist() != order(seed=6).slice(0, 26).samples.tolist()


def test_visits_of_tasks_are_kept() -> None:
    often = np.array([1, 3], np.uint8)
    new = SampleOrder(np.array([2]), 0, visits=often)
    made = ReplayOrder(SampleOrder(np.array([4]), 0), new, 4, 0.5)
    visits = made.slice(0, made.epoch_length)
    assert made.epoch_length == 6
    assert sorted(zip(visits.samples.tolist(), visits.repeats.tolist(), strict=True))[2:] == [
        (4, 0),
        (5, 0),
        (5, 1),
        (5, 2),
    ]


def test_no_new_samples_are_refused_and_no_earlier_ones_where_some_are_asked_for() -> None:
    with pytest.raises(UserError, match="no new samples"):
        order(new=0)
    empty = SampleOrder(np.zeros(0, np.int64), 0)
    with pytest.raises(UserError, match="no earlier samples"):
        ReplayOrder(empty, SampleOrder(np.array([3]), 0), 0, 0.5)
    with pytest.raises(UserError, match="0 <= start <= stop"):
        order().slice(3, 2)
