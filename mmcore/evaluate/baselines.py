"""Blind baselines: what is reached without looking at the image.

Constants are fitted on the very labels they are scored on, so each is at least as good as any
constant a model could have learned: beating it is evidence, not luck.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from mmcore.evaluate.answers import normalize_answer, question_group
from mmcore.evaluate.captions import Tokens, tokenize_caption
from mmcore.evaluate.records import Question

# A prior of a smaller group would repeat its few examples rather than predict them.
MIN_GROUP = 10
_CAPTION_CANDIDATES = 50


def most_common(items: Sequence[str]) -> str:
    """The most frequent item; the first in the alphabet among equals; "" of nothing."""
    counts = Counter(items)
    return min(counts, key=lambda item: (-counts[item], item)) if counts else ""


def majority_answers(questions: Sequence[Question]) -> list[str]:
    """The one most frequent answer, for every question."""
    answer = most_common(_answers(questions))
    return [answer] * len(questions)


def prior_answers(questions: Sequence[Question]) -> list[str]:
    """The most frequent answer to the same question, else to its type, else to all.

    A group counts where at least `MIN_GROUP` questions are in it.
    """
    answers = _answers(questions)
    guess = majority_answers(questions)
    keys: tuple[Callable[[Question], Hashable], ...] = (
        lambda q: question_group(q.question, q.type),
        lambda q: normalize_answer(q.question),
    )
    for key in keys:
        groups: dict[Hashable, list[int]] = {}
        for index, question in enumerate(questions):
            groups.setdefault(key(question), []).append(index)
        for members in groups.values():
            if len(members) >= MIN_GROUP:
                best = most_common([answers[index] for index in members])
                for index in members:
                    guess[index] = best
    return guess


def constant_caption(references: Sequence[Sequence[str]]) -> str:
    """The one caption that fits the most images best (mean token F1), from the commonest ones."""
    counts = Counter(text for texts in references for text in texts)
    common = sorted(counts, key=lambda text: (-counts[text], text))[:_CAPTION_CANDIDATES]
    truths = [[Counter(tokenize_caption(text)) for text in texts] for texts in references]
    return max(common, key=lambda text: _mean_f1(tokenize_caption(text), truths), default="")


def shuffled(items: Sequence[str]) -> list[str]:
    """The model's own outputs, each for the next image: its style without looking."""
    return [*items[1:], *items[:1]]


def tag_prior(truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The same scores for every image, float64 [N, V], in the order of the tags' frequencies.

    The commonest tags are said (0.5 and more): as many as give the best micro F1.
    """
    share = truth.mean(axis=0)
    order = np.argsort(-share, kind="stable")
    right = np.cumsum(truth.sum(axis=0)[order])
    said = np.arange(1, len(order) + 1) * len(truth)
    f1 = 2 * right / np.maximum(said + truth.sum(), 1)
    scores = share / 2.5
    scores[order[: int(f1.argmax()) + 1]] += 0.5
    return np.broadcast_to(scores, truth.shape)


def class_prior(truth: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Expected confusion cells of guessing at random by frequency, float64 [N, classes²]."""
    cells = np.zeros((len(truth), classes, classes))
    share = np.bincount(truth, minlength=classes) / max(len(truth), 1)
    cells[np.arange(len(truth)), truth] = share
    return cells.reshape(len(truth), classes * classes)


def chance_reciprocal_rank(positives: NDArray[np.int64], gallery: int) -> NDArray[np.float64]:
    """Expected reciprocal rank of the first of P right rows in a random order, float64 [Q]."""
    expected = {count: _reciprocal(int(count), gallery) for count in np.unique(positives)}
    return np.array([expected[count] for count in positives])


def _reciprocal(positives: int, gallery: int) -> float:
    survival, total = 1.0, 0.0
    for rank in range(1, gallery - positives + 2):
        hit = survival * positives / (gallery - rank + 1)
        total += hit / rank
        survival -= hit
    return total


def _answers(questions: Sequence[Question]) -> list[str]:
    return [most_common([normalize_answer(a) for a in q.answers]) for q in questions]


def _mean_f1(tokens: Tokens, truths: Sequence[Sequence[Counter[str]]]) -> float:
    counts = Counter(tokens)

    def f1(reference: Counter[str]) -> float:
        overlap = (counts & reference).total()
        return 2 * overlap / max(len(tokens) + reference.total(), 1)

    return float(np.mean([max(map(f1, texts)) for texts in truths]))
