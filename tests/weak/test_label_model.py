"""Accuracies and answers from votes alone, against a truth that the model never sees."""

from __future__ import annotations

import numpy as np
import pytest

from mmcore.weak.label_model import LabelModel, Patterns, fit, from_matrix

ITEMS = 4000


def draw(
    accuracy: list[float],
    coverage: float = 0.8,
    classes: int = 2,
    balance: list[float] | None = None,
    copies: tuple[tuple[int, int], ...] = (),
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, ITEMS, p=balance)
    columns = []
    for right in accuracy:
        wrong = (truth + rng.integers(1, classes, ITEMS)) % classes
        columns.append(np.where(rng.random(ITEMS) < right, truth, wrong))
    matrix = np.stack(columns, 1)
    for source, target in copies:
        matrix[:, target] = matrix[:, source]
    matrix[rng.random(matrix.shape) >= coverage] = -1
    return matrix, truth


def train(matrix: np.ndarray, classes: int = 2) -> LabelModel:
    return fit(from_matrix(matrix, classes))


def right(probability: np.ndarray, truth: np.ndarray) -> float:
    return float((probability.argmax(1) == truth).mean())


def majority(matrix: np.ndarray, classes: int = 2) -> np.ndarray:
    return np.stack([(matrix == k).sum(1) for k in range(classes)], 1)


@pytest.mark.parametrize("classes", [2, 5])
def test_accuracy_of_each_function_is_found_without_the_truth(classes: int) -> None:
    accuracy = [0.6, 0.7, 0.75, 0.85, 0.9]
    matrix, _ = draw(accuracy, classes=classes)
    assert train(matrix, classes).accuracy == pytest.approx(accuracy, abs=0.04)


def test_answers_beat_the_majority_and_say_how_sure_they_are() -> None:
    matrix, truth = draw([0.6, 0.6, 0.65, 0.7, 0.9])
    found = train(matrix).predict_matrix(matrix)
    assert right(found, truth) > right(majority(matrix), truth) + 0.02
    sure = found.max(1)
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 1.0)):
        some = (sure >= low) & (sure < high)
        assert sure[some].mean() == pytest.approx(right(found[some], truth[some]), abs=0.06)


def test_copies_of_one_function_count_as_one() -> None:
    matrix, truth = draw([0.65, 0.65, 0.65, 0.8, 0.75, 0.8], coverage=0.95, copies=((0, 1), (0, 2)))
    model = train(matrix)
    linked = model.dependencies.correlation > 0.5
    assert {tuple(pair) for pair in np.argwhere(np.triu(linked))} == {(0, 1), (0, 2), (1, 2)}
    assert right(model.predict_matrix(matrix), truth) > right(majority(matrix), truth) + 0.05
    trio = np.array([[0, 0, 0, -1, -1, -1], [0, -1, -1, -1, -1, -1]])
    three, one = model.predict_matrix(trio)[:, 0]
    assert three == pytest.approx(one, abs=0.03)


def test_independent_functions_are_not_called_copies() -> None:
    for seed in range(5):
        matrix, _ = draw([0.6, 0.7, 0.8, 0.9, 0.75, 0.65], seed=seed)
        assert not train(matrix).dependencies.correlation.any()


def test_function_that_is_mostly_wrong_is_turned_round() -> None:
    matrix, _ = draw([0.2, 0.8, 0.75, 0.7, 0.8])
    model = train(matrix)
    assert model.accuracy[0] < 0.3
    assert model.predict_matrix(np.array([[0, -1, -1, -1, -1]]))[0].argmax() == 1


def test_rare_class_is_found_to_be_rare() -> None:
    matrix, _ = draw([0.7, 0.8, 0.8, 0.85, 0.9], balance=[0.9, 0.1])
    assert train(matrix).balance == pytest.approx([0.9, 0.1], abs=0.03)


def test_known_answers_correct_what_agreement_gets_wrong() -> None:
    # two functions that are wrong together outvote a good one, until some answers are known
    matrix, truth = draw([0.3, 0.3, 0.9], coverage=1.0, copies=((0, 1),))
    alone = train(matrix)
    gold = np.where(np.arange(ITEMS) < 400, truth, -1)
    told = fit(from_matrix(matrix, 2, gold))
    rest = slice(400, None)
    assert right(told.predict_matrix(matrix)[rest], truth[rest]) > 0.85
    assert right(alone.predict_matrix(matrix)[rest], truth[rest]) < 0.7


def test_no_votes_leave_the_balance_and_no_items_the_prior() -> None:
    matrix, _ = draw([0.7, 0.8, 0.9], balance=[0.8, 0.2])
    model = train(matrix)
    assert model.predict_matrix(np.full((1, 3), -1))[0] == pytest.approx(model.balance)
    empty = fit(Patterns(np.zeros((0, 2, 2)), np.zeros(0), np.zeros(0, np.int64)))
    assert empty.balance == pytest.approx([0.5, 0.5])


def test_counts_of_patterns_are_all_that_matters() -> None:
    matrix, _ = draw([0.6, 0.7, 0.8, 0.9])
    shuffled = np.random.default_rng(1).permutation(matrix)
    one, two = train(matrix), train(shuffled)
    assert np.array_equal(one.confusion, two.confusion)
    assert np.array_equal(one.predict_matrix(matrix), two.predict_matrix(matrix))


def test_many_functions_are_told_apart_too() -> None:
    matrix, truth = draw([0.7] * 45, coverage=0.5)
    assert right(train(matrix).predict_matrix(matrix), truth) > 0.97
