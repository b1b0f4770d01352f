"""The sample order: one function of (n, seed, epoch), whatever the machine."""

from __future__ import annotations

import numpy as np
import pytest

from mmcore.errors import UserError
from mmcore.shards.order import batch_indices, locate_cursor, sample_order, stream


def test_every_epoch_visits_every_sample_once() -> None:
    for epoch in range(3):
        assert np.array_equal(np.sort(sample_order(1001, 7, epoch)), np.arange(1001))


def test_order_is_the_same_on_every_machine_and_version() -> None:
    assert sample_order(8, 0, 0).tolist() == [0, 1, 6, 3, 5, 4, 2, 7]
    assert sample_order(8, 1, 0).tolist() != sample_order(8, 0, 0).tolist()


def test_epochs_and_seeds_give_unrelated_orders() -> None:
    n = 20_000
    orders = [sample_order(n, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))]
    orders.append(np.arange(n))
    for i, a in enumerate(orders):
        for b in orders[:i]:
            assert abs(np.corrcoef(a, b)[0, 1]) < 0.03


def test_neighbours_in_storage_are_far_apart_in_the_order() -> None:
    position = np.argsort(sample_order(20_000, 3, 5))
    steps = np.abs(np.diff(position))
    assert abs(steps.mean() - 20_000 / 3) < 200  # the mean distance of two random positions


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
def test_ranks_together_read_the_global_batch(world: int) -> None:
    whole = batch_indices(100, 5, 0, 37, 10, 0, 1)
    pieces = [batch_indices(100, 5, 0, 37, 10, rank, world) for rank in range(world)]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


def test_killed_and_resumed_on_other_worlds_nothing_is_lost_or_repeated() -> None:
    n, batch, cursor, seen = 103, 8, 0, []
    for steps, world in ((5, 2), (3, 4), (11, 1), (20, 3)):
        for _ in range(steps):
            for rank in range(world):
                seen.append(batch_indices(n, 1, 0, cursor, batch, rank, world))
            cursor += batch
    read = np.concatenate(seen)
    assert np.array_equal(read, stream(n, 1, 0, cursor))
    assert np.array_equal(np.sort(read[:n]), np.arange(n))
    assert np.array_equal(np.sort(read[n : 2 * n]), np.arange(n))


def test_batch_larger_than_the_dataset_goes_on_in_the_next_epochs() -> None:
    assert np.array_equal(batch_indices(3, 0, 0, 0, 9, 0, 1), stream(3, 0, 0, 9))
    assert np.array_equal(batch_indices(3, 0, 1, 1, 4, 0, 1), stream(3, 0, 4, 8))


def test_cursor_names_its_epoch() -> None:
    assert locate_cursor(100, 250) == (2, 50)


def test_impossible_requests_say_what_to_change() -> None:
    with pytest.raises(UserError, match="split is not empty"):
        batch_indices(0, 0, 0, 0, 4, 0, 1)
    with pytest.raises(UserError, match="raise the batch size"):
        batch_indices(10, 0, 0, 0, 2, 0, 3)
    with pytest.raises(UserError, match="rank"):
        batch_indices(10, 0, 0, 0, 4, 2, 2)
