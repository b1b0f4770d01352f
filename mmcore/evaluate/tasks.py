"""Scores of one model on the five tasks, with the blind baselines of each.

Rows of every statistic are images, so that intervals can be drawn over clusters of images; finer
examples (a caption, a question) are kept beside them for the report and `examples.parquet`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcore.evaluate import baselines, metrics
from mmcore.evaluate.answers import question_group, vqa_accuracy
from mmcore.evaluate.captions import bleu4, score_captions
from mmcore.evaluate.examples import Example
from mmcore.evaluate.predictions import Predictions
from mmcore.evaluate.records import SENTIMENTS, Question
from mmcore.evaluate.retrieval import score_retrieval
from mmcore.evaluate.statistics import Array, Metric, mean_metric
from mmcore.evaluate.task_scores import Metrics, Row, TaskScores, per_image

PRECISION_AT = 5


def score_tasks(examples: Sequence[Example], predictions: Predictions) -> dict[str, TaskScores]:
    """Scores of every task that has labels, in the order of the tasks."""
    wanted: tuple[tuple[_Scorer, Callable[[Example], Any]], ...] = (
        (score_retrieval, lambda e: e.labels.captions),
        (score_caption, lambda e: e.describe),
        (score_vqa, lambda e: e.labels.questions),
        (score_tags, lambda e: e.labels.tags),
        (score_sentiment, lambda e: e.labels.sentiment),
    )
    scored = {}
    for score, has_labels in wanted:
        chosen = tuple(example for example in examples if has_labels(example))
        if chosen:
            result = score(chosen, predictions)
            scored[result.task] = result
    return scored


_Scorer = Callable[[tuple[Example, ...], Predictions], TaskScores]


def score_caption(examples: tuple[Example, ...], predictions: Predictions) -> TaskScores:
    """Generated captions against all references of their images."""
    references = [example.labels.captions for example in examples]
    written = predictions.captions
    constant = [baselines.constant_caption(references)] * len(examples)
    outputs = {"constant": constant, "shuffled": baselines.shuffled(written)}
    model = _caption_metrics(written, references)
    blind = {name: _caption_metrics(texts, references) for name, texts in outputs.items()}
    scores = TaskScores("caption", examples, model, {}, blind, ())
    ours, theirs = model["cider"].stats[:, 0], blind[scores.blind]["cider"].stats[:, 0]
    rows = tuple(
        Row(i, "cider", float(ours[i]), float(theirs[i]), "", references[i][0], written[i])
        for i in range(len(examples))
    )
    return TaskScores("caption", examples, model, {}, blind, rows)


def score_vqa(examples: tuple[Example, ...], predictions: Predictions) -> TaskScores:
    """Answers with the image, against answers without it."""
    questions = [question for example in examples for question in example.labels.questions]
    owner = np.repeat(np.arange(len(examples)), [len(e.labels.questions) for e in examples])
    truths = [question.answers for question in questions]
    said = [answer for answer, _ in predictions.answers]
    model = vqa_accuracy(said, truths)
    guesses = {
        "majority": baselines.majority_answers(questions),
        "question_prior": baselines.prior_answers(questions),
        "question_only": [answer for answer, _ in predictions.blind_answers],
    }
    values = {name: vqa_accuracy(guess, truths) for name, guess in guesses.items()}
    blind = {
        name: {"accuracy": per_image(value, owner, len(examples))} for name, value in values.items()
    }
    own = {"accuracy": per_image(model, owner, len(examples))}
    best = TaskScores("vqa", examples, own, {}, blind, ()).blind
    rows = tuple(
        Row(int(image), "accuracy", float(score), float(base), q.question, q.answers[0], a, c)
        for image, score, base, q, (a, c) in zip(
            owner, model, values[best], questions, predictions.answers, strict=True
        )
    )
    return TaskScores(
        "vqa", examples, own, {}, blind, rows, groups=_by_type(questions, model, values[best])
    )


def score_tags(examples: tuple[Example, ...], predictions: Predictions) -> TaskScores:
    """Tags from the image alone. A tag the model does not know counts as never said."""
    names, truth, known = _tag_truth(examples, predictions.tag_names)
    scores, alone = (_in_order(p, known) for p in (predictions.tags_image, predictions.tags_text))
    prior = baselines.tag_prior(truth)
    model, blind = _tag_metrics(truth, scores), {"prior": _tag_metrics(truth, prior)}
    per_tag, prior_tag = (metrics.average_precision(truth, s) for s in (scores, prior))
    by_image = metrics.average_precision(truth.T, scores.T)
    by_image_prior = metrics.average_precision(truth.T, prior.T)
    rows = tuple(
        Row(
            i,
            "image_ap",
            float(by_image[i]),
            float(by_image_prior[i]),
            "",
            ", ".join(example.labels.tags),
            ", ".join(names[column] for column in np.argsort(-scores[i], kind="stable")[:5]),
        )
        for i, example in enumerate(examples)
    )
    plain = {
        "map": float(np.nanmean(per_tag)),
        "known_tags": float(truth[:, known >= 0].sum() / truth.sum()),
    }
    groups = {
        name: (int(truth[:, column].sum()), float(per_tag[column]), float(prior_tag[column]))
        for column, name in enumerate(names)
        if truth[:, column].any()
    }
    only_text = {"text_only": _tag_metrics(truth, alone)}
    return TaskScores("tags", examples, model, plain, blind, rows, only_text, groups)


def score_sentiment(examples: tuple[Example, ...], predictions: Predictions) -> TaskScores:
    """Sentiment of image and text, against the commonest class and each modality alone."""
    truth = np.array([SENTIMENTS.index(str(example.labels.sentiment)) for example in examples])
    both = predictions.sentiment_both
    said = both.argmax(axis=1)
    common = np.full(len(truth), np.bincount(truth, minlength=len(SENTIMENTS)).argmax())
    ablations = {
        "image_only": _class_metrics(truth, predictions.sentiment_image.argmax(axis=1)),
        "text_only": _class_metrics(truth, predictions.sentiment_text.argmax(axis=1)),
    }
    rows = tuple(
        Row(
            i,
            "accuracy",
            float(said[i] == truth[i]),
            float(common[i] == truth[i]),
            example.text or "",
            SENTIMENTS[truth[i]],
            SENTIMENTS[said[i]],
            float(both[i, said[i]]),
        )
        for i, example in enumerate(examples)
    )
    groups = {
        name: (
            int((truth == label).sum()),
            float((said == label)[truth == label].mean()),
            float((common == label)[truth == label].mean()),
        )
        for label, name in enumerate(SENTIMENTS)
        if (truth == label).any()
    }
    guessed = baselines.class_prior(truth, len(SENTIMENTS))
    blind = {
        "class_majority": _class_metrics(truth, common),
        "class_prior": _cell_metrics(guessed),
    }
    model = _class_metrics(truth, said)
    return TaskScores("sentiment", examples, model, {}, blind, rows, ablations, groups)


def _caption_metrics(written: Sequence[str], references: Sequence[Sequence[str]]) -> Metrics:
    scores = score_captions(written, references)
    return {
        "bleu4": Metric(scores.bleu_counts, bleu4),
        "cider": mean_metric(scores.cider),
        "rouge_l": mean_metric(scores.rouge_l),
        "token_f1": mean_metric(scores.token_f1),
    }


def _by_type(
    questions: Sequence[Question], model: Array, blind: Array
) -> dict[str, tuple[int, float, float]]:
    kinds = np.array([question_group(q.question, q.type) for q in questions], dtype=str)
    return {
        str(kind): (
            int((kinds == kind).sum()),
            float(model[kinds == kind].mean()),
            float(blind[kinds == kind].mean()),
        )
        for kind in np.unique(kinds)
    }


def _tag_truth(
    examples: Sequence[Example], vocabulary: Sequence[str]
) -> tuple[list[str], NDArray[np.bool_], NDArray[np.int64]]:
    """All tags that occur or may be said (sorted), truth [N, V], and each one's column in the
    model's vocabulary or -1."""
    folded = [{tag.strip().casefold() for tag in example.labels.tags} for example in examples]
    place = {tag.strip().casefold(): index for index, tag in enumerate(vocabulary)}
    names = sorted(set(place).union(*folded))
    column = {name: index for index, name in enumerate(names)}
    truth = np.zeros((len(examples), len(names)), dtype=bool)
    for row, tags in enumerate(folded):
        truth[row, [column[tag] for tag in tags]] = True
    return names, truth, np.array([place.get(name, -1) for name in names])


def _in_order(scores: NDArray[np.floating], known: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scores in the order of the tags that occur; 0 for a tag the model does not know."""
    padded = np.concatenate([scores, np.zeros((len(scores), 1))], axis=1)
    return padded[:, known]


def _tag_metrics(truth: NDArray[np.bool_], scores: NDArray[np.floating]) -> Metrics:
    return {
        "image_ap": mean_metric(metrics.average_precision(truth.T, scores.T)),
        "micro_f1": Metric(metrics.tag_counts(truth, scores), metrics.micro_f1),
        f"precision@{PRECISION_AT}": mean_metric(metrics.precision_at(truth, scores, PRECISION_AT)),
    }


def _class_metrics(truth: NDArray[np.int64], said: NDArray[np.int64]) -> Metrics:
    return _cell_metrics(metrics.confusion(truth, said, len(SENTIMENTS)))


def _cell_metrics(cells: Array) -> Metrics:
    count = len(SENTIMENTS)
    return {
        "accuracy": Metric(cells, lambda sums: metrics.accuracy_of(sums, count)),
        "macro_f1": Metric(cells, lambda sums: metrics.macro_f1_of(sums, count)),
    }
