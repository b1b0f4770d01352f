"""Retrieval, tag and sentiment metrics on cases small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mmcore.evaluate.baselines import chance_reciprocal_rank
from mmcore.evaluate.metrics import (
    accuracy_of,
    average_precision,
    chance_recall,
    confusion,
    macro_f1_of,
    micro_f1,
    precision_at,
    retrieval_ranks,
    tag_counts,
)


def _right(*rows: list[int]) -> list[np.ndarray]:
    return [np.array(row) for row in rows]


def test_rank_is_the_number_of_wrong_rows_ahead_of_the_best_right_one():
    gallery = np.eye(4)
    queries = np.array([[0.9, 0.3, 0.2, 0.1], [0.9, 0.3, 0.2, 0.1], [0.9, 0.3, 0.2, 0.1]])
    ranks = retrieval_ranks(queries, gallery, _right([0], [3], [1, 3]))
    assert ranks.tolist() == [0, 3, 1]


def test_right_rows_do_not_stand_in_each_others_way():
    ranks = retrieval_ranks(np.array([[0.9, 0.8, 0.7]]), np.eye(3), _right([1, 2]))
    assert ranks.tolist() == [1]


def test_constant_embedding_is_last_everywhere():
    same = np.full((50, 8), 8**-0.5)
    right = [np.array([index]) for index in range(50)]
    assert retrieval_ranks(same, same, right).tolist() == [49] * 50


def test_scores_that_are_not_numbers_are_last():
    queries = np.array([[np.nan, 0.0], [1.0, 0.0]])
    assert retrieval_ranks(queries, np.eye(2), _right([0], [0])).tolist() == [1, 0]


def test_ranks_do_not_depend_on_the_chunk():
    random = np.random.default_rng(0)
    queries, gallery = random.normal(size=(37, 6)), random.normal(size=(20, 6))
    right = [random.choice(20, size=3, replace=False) for _ in range(37)]
    whole = retrieval_ranks(queries, gallery, right, chunk=1000)
    assert (retrieval_ranks(queries, gallery, right, chunk=5) == whole).all()


def test_chance_equals_a_random_order():
    assert_allclose(chance_recall(np.array([1, 2]), 10, 5), [0.5, 1 - (5 * 4) / (10 * 9)])
    assert_allclose(chance_recall(np.array([1]), 3, 10), [1.0])
    # One right row of three: (1 + 1/2 + 1/3) / 3; two of three: 2/3 * 1 + 1/3 * 1/2.
    assert_allclose(chance_reciprocal_rank(np.array([1, 2]), 3), [11 / 18, 5 / 6])


def test_average_precision_of_a_hand_made_ranking():
    truth = np.array([[1, 0], [0, 0], [1, 0]], dtype=bool)
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    first, second = average_precision(truth, scores)
    assert first == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(second)


def test_equal_scores_count_against_the_model():
    truth = np.array([[True], [False], [False], [False]])
    assert average_precision(truth, np.ones((4, 1))).tolist() == [0.25]
    assert precision_at(truth.T, np.ones((1, 4)), 1).tolist() == [0.0]


def test_precision_can_reach_one_with_fewer_tags_than_places():
    truth = np.array([[True, True, False, False], [True, False, False, False]])
    scores = np.array([[0.9, 0.8, 0.7, 0.1], [0.1, 0.9, 0.8, 0.7]])
    assert precision_at(truth, scores, 3).tolist() == [1.0, 0.0]


def test_micro_f1_counts_over_all_images():
    truth = np.array([[True, False], [True, True]])
    scores = np.array([[0.6, 0.7], [0.2, 0.5]])
    counts = tag_counts(truth, scores)
    assert counts.tolist() == [[1, 1, 0], [1, 0, 1]]
    assert micro_f1(counts.sum(axis=0)) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert micro_f1(np.zeros(3)) == 0.0


def test_macro_f1_weighs_classes_equally_and_leaves_out_absent_ones():
    truth, said = np.array([0, 0, 0, 2]), np.array([0, 0, 2, 2])
    cells = confusion(truth, said, 3).sum(axis=0)
    assert accuracy_of(cells, 3) == pytest.approx(0.75)
    assert macro_f1_of(cells, 3) == pytest.approx((0.8 + 2 / 3) / 2)
