"""Sorted runs: looked up, merged, kept few."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mmcore.dedup import runs
from mmcore.dedup.hashing import rotated, short_digests


def _run(*pairs: tuple[int, int]) -> runs.Run:
    keys, ids = zip(*pairs, strict=True)
    return runs.sorted_run(np.array(keys, np.uint64), np.array(ids))


def test_a_key_is_found_with_its_smallest_id() -> None:
    run = _run((2**64 - 1, 7), (5, 9), (5, 3), (0, 1))
    wanted = np.array([5, 6, 2**64 - 1, 0, 4], np.uint64)
    assert runs.smallest_ids(run, wanted).tolist() == [3, -1, 7, 1, -1]
    nothing = runs.sorted_run(np.empty(0, np.uint64), np.empty(0, np.int64))
    assert runs.smallest_ids(nothing, wanted).tolist() == [-1] * 5


def test_merging_keeps_every_row_in_the_order_of_keys() -> None:
    tables = [runs.as_table(_run((9, 1), (3, 2))), runs.as_table(_run((9, 0), (4, 5)))]
    merged = runs.as_run(runs.merge(tables))
    assert merged.keys.tolist() == [3, 4, 9, 9]
    assert merged.ids.tolist() == [2, 5, 0, 1]


def test_a_run_that_follows_another_keeps_the_smaller_id_first() -> None:
    found = runs.followed(_run((9, 1), (3, 2)), _run((9, 7), (9, 5), (0, 6)))
    assert list(zip(found.keys.tolist(), found.ids.tolist(), strict=True)) == [
        (0, 6),
        (3, 2),
        (9, 1),
        (9, 5),
        (9, 7),
    ]


def test_merging_counts_adds_them_up() -> None:
    first = pa.table({"key": pa.array([1, 5], pa.uint64()), "count": pa.array([2, 3], pa.uint32())})
    second = pa.table(
        {"key": pa.array([0, 5], pa.uint64()), "count": pa.array([7, 1], pa.uint32())}
    )
    merged = runs.merge([first, second])
    assert merged.schema == first.schema
    assert merged.to_pydict() == {"key": [0, 1, 5], "count": [7, 2, 4]}


@pytest.mark.parametrize("rows", [1, 700, 1024, 1025, 100_000])
def test_a_thousand_nights_leave_few_runs_and_copy_a_row_few_times(rows: int) -> None:
    sizes: list[int] = []
    most = copied = 0
    for _ in range(1000):
        sizes.append(rows)
        while chosen := runs.due(sizes):
            merged = sum(sizes[i] for i in chosen)
            copied += merged
            sizes = [size for i, size in enumerate(sizes) if i not in chosen] + [merged]
        most = max(most, len(sizes))
    assert sum(sizes) == 1000 * rows
    assert most <= 20
    assert copied / (1000 * rows) <= (6 if rows > 1 else 300)


def test_a_small_night_is_not_merged_into_a_large_history() -> None:
    assert runs.due([10**6, 10, 10, 10]) == []
    assert runs.due([10**6, 10, 10, 10, 10]) == [1, 2, 3, 4]


def test_cuts_bound_the_rows_of_a_range() -> None:
    firsts, rows = [[0, 100, 200], [50, 150]], [[40, 40, 40], [40, 40]]
    assert runs.cuts(firsts, rows, 80) == [0, 100, 200]
    assert runs.cuts(firsts, rows, 10_000) == [0]


def test_short_digests_are_the_first_bits_and_keep_the_order() -> None:
    digests = pa.chunked_array([["ff" * 32], [], ["0123456789abcdef" + "0" * 48, "00" * 32]])
    assert short_digests(digests).tolist() == [2**64 - 1, 0x0123456789ABCDEF, 0]
    assert short_digests(digests.combine_chunks().slice(1, 1)).tolist() == [0x0123456789ABCDEF]
    assert short_digests(pa.array([], pa.string())).tolist() == []


def test_rotating_there_and_back_is_the_same() -> None:
    hashes = np.array([1, 2**63, 12345678901234567890], np.uint64)
    assert rotated(hashes, 1).tolist()[:2] == [2, 1]
    for bits in range(64):
        assert (rotated(rotated(hashes, bits), (64 - bits) % 64) == hashes).all()
