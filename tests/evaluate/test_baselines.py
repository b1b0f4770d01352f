"""Blind baselines are as strong as a guess without the image can be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mmcore.evaluate.baselines import (
    class_prior,
    constant_caption,
    majority_answers,
    most_common,
    prior_answers,
    shuffled,
    tag_prior,
)
from mmcore.evaluate.metrics import accuracy_of, macro_f1_of, micro_f1, tag_counts
from mmcore.evaluate.records import Question


def _asked(question: str, answer: str, times: int, kind: str | None = None) -> list[Question]:
    return [Question(question, (answer,), kind)] * times


def test_most_common_is_the_first_in_the_alphabet_among_equals():
    assert most_common(["b", "a", "b", "a", "c"]) == "a"
    assert most_common([]) == ""


def test_majority_folds_spellings_of_an_answer():
    questions = [Question("how many?", (answer,)) for answer in ("two", "2", "3")]
    assert majority_answers(questions) == ["2", "2", "2"]


def test_prior_uses_the_question_itself_when_it_is_asked_often():
    questions = [
        *_asked("what colour is it?", "red", 8),
        *_asked("what colour is it?", "blue", 4),
        *_asked("what shape is it?", "circle", 12),
        *_asked("what is this?", "cat", 3),
    ]
    guess = prior_answers(questions)
    assert guess[:12] == ["red"] * 12
    assert guess[12:24] == ["circle"] * 12
    # Asked too rarely to have a prior of its own: the commonest answer to "what …?".
    assert guess[24:] == ["circle"] * 3


def test_prior_of_a_rare_question_does_not_repeat_its_answer():
    questions = [*_asked("is it?", "yes", 10), Question("who is it?", ("ann",))]
    assert prior_answers(questions)[-1] == "yes"


def test_constant_caption_is_the_one_that_fits_most_images():
    references = [["a red square"], ["a red circle"], ["a blue circle"], ["a red circle"]]
    assert constant_caption(references) == "a red circle"


def test_shuffled_captions_keep_the_texts_and_move_every_one():
    assert shuffled(["a", "b", "c"]) == ["b", "c", "a"]


def test_tag_prior_is_the_same_for_every_image_and_says_what_pays():
    truth = np.array([[True, False, False], [True, True, False], [True, False, True]])
    prior = tag_prior(truth)
    assert (prior == prior[0]).all()
    # Saying the first tag alone: F1 = 6 / (3 + 5); the first two: 8 / (6 + 5).
    assert (prior[0] >= 0.5).tolist() == [True, False, False]
    assert prior[0, 0] > prior[0, 1] == prior[0, 2]


def test_tag_prior_beats_every_other_constant_set_of_tags():
    truth = np.random.default_rng(0).random((40, 6)) < np.array([0.9, 0.6, 0.5, 0.3, 0.1, 0.05])
    best = float(micro_f1(tag_counts(truth, tag_prior(truth)).sum(axis=0)))
    for said in itertools.product([0.0, 1.0], repeat=6):
        constant = np.broadcast_to(np.array(said), truth.shape)
        assert float(micro_f1(tag_counts(truth, constant).sum(axis=0))) <= best + 1e-12


def test_random_guess_by_frequency_has_macro_f1_of_one_over_the_classes():
    truth = np.array([0] * 8 + [1] + [2])
    cells = class_prior(truth, 3).sum(axis=0)
    assert macro_f1_of(cells, 3) == pytest.approx(1 / 3)
    assert accuracy_of(cells, 3) == pytest.approx(0.8**2 + 0.1**2 + 0.1**2)
