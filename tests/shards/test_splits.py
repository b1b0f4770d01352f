"""Splits: no cluster divided, none that ever moves."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from mmcore.shards.splits import assign_splits, cluster_points


def clusters(n: int) -> pa.Array:
    return pa.array([hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)])


def nothing_asked(n: int) -> pa.Array:
    return pa.nulls(n, pa.string())


def test_shares_are_those_asked_for() -> None:
    split = assign_splits(clusters(20_000), nothing_asked(20_000), 0.1, 0.2).to_pylist()
    assert abs(split.count("val") / 20_000 - 0.1) < 0.01
    assert abs(split.count("test") / 20_000 - 0.2) < 0.01


def test_cluster_keeps_its_split_whatever_else_is_there() -> None:
    many = assign_splits(clusters(500), nothing_asked(500), 0.1, 0.1)
    few = assign_splits(clusters(500).slice(100, 50), nothing_asked(50), 0.1, 0.1)
    assert few.equals(many.slice(100, 50))


def test_near_duplicates_share_a_split_and_the_most_protected_wins() -> None:
    name = clusters(3).to_pylist()
    groups = pa.array([name[0], name[0], name[0], name[1], name[1], name[2]])
    asked = pa.array(["train", "val", None, "val", "test", "train"])
    split = assign_splits(groups, asked, 0.0, 0.0).to_pylist()
    assert split == ["val", "val", "val", "test", "test", "train"]


def test_a_larger_test_share_only_adds_to_the_test_split() -> None:
    small = assign_splits(clusters(2000), nothing_asked(2000), 0.1, 0.1).to_pylist()
    large = assign_splits(clusters(2000), nothing_asked(2000), 0.1, 0.2).to_pylist()
    assert {i for i, s in enumerate(small) if s == "test"} <= {
        i for i, s in enumerate(large) if s == "test"
    }


def test_no_rows_is_no_error() -> None:
    assert assign_splits(clusters(0), nothing_asked(0), 0.1, 0.1).to_pylist() == []


def test_points_are_uniform() -> None:
    points = np.sort(cluster_points(clusters(10_000)))
    assert np.abs(points - np.arange(10_000) / 10_000).max() < 0.02
