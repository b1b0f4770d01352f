"""Intervals cover the truth, pair what is compared, and treat a cluster as one observation."""

from __future__ import annotations

import numpy as np
import pytest

from mmcore.evaluate.statistics import Bootstrap, Metric, mean_metric


def _bootstrap(clusters: list[str], seed: int = 0) -> Bootstrap:
    return Bootstrap(clusters, replicates=400, seed=seed)


def test_interval_matches_the_standard_error_of_a_mean():
    values = np.random.default_rng(1).normal(0.5, 1.0, size=400)
    estimate = _bootstrap([str(i) for i in range(400)]).estimate(mean_metric(values))
    half = 1.96 * values.std() / 20
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.02)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.02)


def test_interval_holds_the_truth_about_95_times_in_100():
    random = np.random.default_rng(2)
    held = 0
    for seed in range(200):
        values = random.normal(0.0, 1.0, size=60)
        estimate = _bootstrap([str(i) for i in range(60)], seed).estimate(mean_metric(values))
        held += estimate.low <= 0.0 <= estimate.high
    assert 180 <= held <= 199


def test_repeating_every_example_does_not_narrow_the_interval():
    values = np.random.default_rng(3).normal(size=50)
    names = [str(i) for i in range(50)]
    once = _bootstrap(names).estimate(mean_metric(values))
    often = _bootstrap(names * 10).estimate(mean_metric(np.tile(values, 10)))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_paired_difference_sees_a_small_steady_gain_through_large_noise():
    noise = np.random.default_rng(4).normal(0.0, 5.0, size=200)
    names = [str(i) for i in range(200)]
    gain = _bootstrap(names).difference(mean_metric(noise + 0.1), mean_metric(noise))
    assert gain.low == pytest.approx(0.1) and gain.high == pytest.approx(0.1)


def test_equal_models_differ_by_exactly_nothing():
    values = mean_metric(np.random.default_rng(5).normal(size=30))
    same = _bootstrap([str(i) for i in range(30)]).difference(values, values)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_score_that_is_no_mean_is_resampled_as_a_whole():
    stats = np.array([[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]])
    ratio = Metric(stats, lambda sums: sums[..., 0] / np.maximum(sums[..., 1], 1e-12))
    estimate = _bootstrap(["a", "b", "c"]).estimate(ratio)
    assert estimate.value == pytest.approx(4 / 7)
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 0.75


def test_same_seed_gives_the_same_interval():
    values = mean_metric(np.random.default_rng(6).normal(size=40))
    names = [str(i) for i in range(40)]
    assert _bootstrap(names, 7).estimate(values) == _bootstrap(names, 7).estimate(values)
