"""The sample order: one function of (snapshot, seed, epoch), whatever the machine."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mmcore.errors import UserError
from mmcore.shards.order import SampleOrder, rank_share, sample_order

SHARDS = np.array([10, 0, 7, 23, 1, 40, 12, 10])  # 103 samples
WINDOWS = (1, 5, 16, 1000)


def order_of(n: int, seed: int = 7, window: int = 1000, shard: int = 100) -> SampleOrder:
    return SampleOrder(np.diff([*range(0, n, shard), n]), seed, window)


def epoch(order: SampleOrder, number: int) -> np.ndarray:
    length = order.epoch_length
    return order.slice(number * length, (number + 1) * length).samples


@pytest.mark.parametrize("window", WINDOWS)
def test_every_epoch_visits_every_sample_once(window: int) -> None:
    order = SampleOrder(SHARDS, 7, window)
    for number in range(3):
        assert np.array_equal(np.sort(epoch(order, number)), np.arange(103))


def test_order_is_the_same_on_every_machine_and_version() -> None:
    assert sample_order(8, 0, 0).tolist() == [0, 1, 6, 3, 5, 4, 2, 7]
    assert sample_order(8, 1, 0).tolist() != sample_order(8, 0, 0).tolist()
    order = SampleOrder(np.array([3, 3, 3]), 0, 4)
    assert epoch(order, 0).tolist() == [0, 1, 2, 3, 5, 4, 6, 8, 7]


def test_a_set_that_fits_in_a_window_is_shuffled_as_a_whole() -> None:
    order = SampleOrder(SHARDS, 7, 103)
    for number in range(3):
        assert np.array_equal(epoch(order, number), sample_order(103, 7, number))


@pytest.mark.parametrize("window", WINDOWS)
def test_any_stretch_is_the_same_however_it_is_asked_for(window: int) -> None:
    order = SampleOrder(SHARDS, 3, window)
    whole = order.slice(0, 400).samples
    for start, stop in ((0, 1), (7, 7), (99, 110), (206, 390)):
        fresh = SampleOrder(SHARDS, 3, window)
        assert np.array_equal(fresh.slice(start, stop).samples, whole[start:stop])


def test_a_window_reads_few_shards() -> None:
    order = order_of(10_000, window=1000, shard=100)
    for start in range(0, 10_000, 1000):
        assert len(set(order.slice(start, start + 1000).samples // 100)) <= 11


def test_epochs_and_seeds_give_unrelated_orders() -> None:
    orders = [epoch(order_of(20_000, seed), number) for seed in (0, 1) for number in (0, 1)]
    orders.append(np.arange(20_000))
    for i, a in enumerate(orders):
        for b in orders[:i]:
            assert abs(np.corrcoef(a, b)[0, 1]) < 0.3  # 200 shards move as wholes
    whole = [epoch(order_of(20_000, seed, 20_000), 0) for seed in (0, 1)]
    assert abs(np.corrcoef(*whole)[0, 1]) < 0.03


def test_samples_of_a_page_are_spread_over_their_window() -> None:
    position = np.argsort(epoch(order_of(20_000, 3, 2000), 5))
    steps = np.abs(np.diff(position)).reshape(-1, 1)
    inside = steps[steps < 2000]
    assert len(inside) > 0.9 * len(steps)
    assert abs(inside.mean() - 2000 / 3) < 40  # the mean distance of two random places


def test_extra_visits_come_in_every_epoch_and_the_first_visits_stay_exact() -> None:
    visits = np.where(np.arange(103) % 10 == 0, 3, 1).astype(np.uint8)
    order = SampleOrder(SHARDS, 1, 16, visits)
    assert order.epoch_length == 103 + 2 * 11
    for number in range(2):
        length = order.epoch_length
        found = order.slice(number * length, (number + 1) * length)
        assert np.array_equal(np.sort(found.samples[found.repeats == 0]), np.arange(103))
        for repeat in (1, 2):
            again = np.sort(found.samples[found.repeats == repeat])
            assert np.array_equal(again, np.arange(0, 103, 10))


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
def test_ranks_together_read_the_global_batch(world: int) -> None:
    shares = [rank_share(37, 10, rank, world) for rank in range(world)]
    assert shares[0][0] == 37 and shares[-1][1] == 47
    assert all(a[1] == b[0] for a, b in itertools.pairwise(shares))
    sizes = [stop - start for start, stop in shares]
    assert max(sizes) - min(sizes) <= 1


def test_killed_and_resumed_on_other_worlds_nothing_is_lost_or_repeated() -> None:
    order, batch, cursor, seen = SampleOrder(SHARDS, 1, 16), 8, 0, []
    for steps, world in ((5, 2), (3, 4), (11, 1), (20, 3)):
        for _ in range(steps):
            for rank in range(world):
                seen.append(order.slice(*rank_share(cursor, batch, rank, world)).samples)
            cursor += batch
    read = np.concatenate(seen)
    assert np.array_equal(read, order.slice(0, cursor).samples)
    assert np.array_equal(np.sort(read[:103]), np.arange(103))
    assert np.array_equal(np.sort(read[103:206]), np.arange(103))


def test_batch_larger_than_the_dataset_goes_on_in_the_next_epochs() -> None:
    order = SampleOrder(np.array([3]), 0)
    whole = [*epoch(order, 0), *epoch(order, 1), *epoch(order, 2)]
    assert order.slice(*rank_share(0, 9, 0, 1)).samples.tolist() == whole


def test_cursor_names_its_epoch() -> None:
    assert order_of(100).place(250) == (2, 50)


def test_ten_million_samples_need_memory_for_a_window_only() -> None:
    order = SampleOrder(np.full(20_000, 500), 0)
    order.slice(5_000_000, 5_000_256)
    held = sum(part.nbytes for found in order._windows.values() for part in found)
    assert held < 10 * order.window


def test_impossible_requests_say_what_to_change() -> None:
    with pytest.raises(UserError, match="split is not empty"):
        SampleOrder(np.array([], int), 0).slice(0, 4)
    with pytest.raises(UserError, match="raise the batch size"):
        rank_share(0, 2, 0, 3)
    with pytest.raises(UserError, match="rank"):
        rank_share(0, 4, 2, 2)
    with pytest.raises(UserError, match="window"):
        order_of(10, window=0)
    with pytest.raises(UserError, match="visits"):
        SampleOrder(SHARDS, 0, visits=np.zeros(103, np.uint8))
