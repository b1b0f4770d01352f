"""Scores of the five tasks for a model whose every mistake is known."""

from __future__ import annotations

import numpy as np
import pytest

from mmcore.evaluate.examples import Example
from mmcore.evaluate.predictions import concatenate, predict
from mmcore.evaluate.records import Labels, Question
from mmcore.evaluate.tasks import TaskScores, score_tasks
from tests.evaluate.colours import ColourModel, Square


def _examples(count: int = 40, **changes: object) -> list[Example]:
    made = []
    for number in range(count):
        record = Square(number).record()
        questions = tuple(Question(q["question"], (q["answer"],), q["type"]) for q in record["qa"])
        labels = Labels(
            tuple(record["captions"]), questions, tuple(record["tags"]), record["sentiment"]
        )
        made.append(Example(number, str(number), str(number), labels, describe=True))
    return made


def _score(examples: list[Example], model: ColourModel) -> dict[str, TaskScores]:
    images = [Square(example.number).image for example in examples]
    return score_tasks(examples, predict(model, examples, images))


def _values(scores: TaskScores) -> dict[str, float]:
    return {name: metric.value for name, metric in scores.metrics.items()}


def test_perfect_model_reaches_the_top_of_every_task():
    scores = _score(_examples(), ColourModel(()))
    assert list(scores) == ["retrieval", "caption", "vqa", "tags", "sentiment"]
    assert all(value == pytest.approx(1.0) for value in _values(scores["retrieval"]).values())
    assert _values(scores["vqa"]) == {"accuracy": 1.0}
    assert _values(scores["tags"])["image_ap"] == 1.0
    assert _values(scores["sentiment"]) == {"accuracy": 1.0, "macro_f1": 1.0}


def test_every_mistake_is_counted_once():
    scores = _score(_examples(), ColourModel((1, 5)))
    # Two of forty colours are wrong, no side is: 2 of 80 answers, 2 of 80 tags.
    assert _values(scores["vqa"])["accuracy"] == pytest.approx(78 / 80)
    assert scores["vqa"].groups["colour"] == (40, pytest.approx(38 / 40), pytest.approx(0.25))
    assert _values(scores["tags"])["micro_f1"] == pytest.approx(78 / 80)
    assert _values(scores["retrieval"])["image_to_text.r@1"] == pytest.approx(38 / 40)


def test_blind_baselines_are_what_a_guess_reaches():
    scores = _score(_examples(), ColourModel(()))
    assert scores["retrieval"].baselines["chance"]["text_to_image.r@1"].value == pytest.approx(
        1 / 8
    )
    vqa = {name: metrics["accuracy"].value for name, metrics in scores["vqa"].baselines.items()}
    assert vqa == {
        "majority": pytest.approx(0.25),
        "question_prior": pytest.approx((0.25 + 0.5) / 2),
        "question_only": pytest.approx((0.25 + 0.5) / 2),
    }
    assert scores["sentiment"].baselines["class_majority"]["accuracy"].value == pytest.approx(0.5)
    assert scores["caption"].baselines["constant"]["token_f1"].value < 0.95


def test_images_of_one_cluster_are_right_for_each_others_captions():
    examples = _examples(8)
    twin = Example(0, "twin", examples[0].cluster, Labels(captions=("something else",)))
    scores = _score([*examples, twin], ColourModel(()))
    own = scores["retrieval"].rows[-1]
    assert own.query == "something else"
    # No word of the query is known, so all images tie: seven wrong ones stand before a right one.
    assert own.model == pytest.approx(1 / 8)


def test_tag_the_model_has_no_name_for_is_a_miss():
    examples = [
        Example(n, str(n), str(n), Labels(tags=(Square(n).colour, "unheard of"))) for n in range(8)
    ]
    scores = _score(examples, ColourModel(()))["tags"]
    assert scores.plain["known_tags"] == pytest.approx(0.5)
    assert _values(scores)["micro_f1"] < 0.7


def test_tag_that_is_never_true_counts_when_it_is_said():
    examples = [Example(n, str(n), str(n), Labels(tags=(Square(n).colour,))) for n in range(8)]
    # The model also says the side of every square, which nobody labelled: 8 right, 8 too many.
    scores = _score(examples, ColourModel(()))["tags"]
    assert _values(scores)["micro_f1"] == pytest.approx(2 * 8 / (2 * 8 + 8))


def test_blocks_give_the_same_scores_as_one_piece():
    examples = _examples(20)
    model = ColourModel((3,))
    images = [Square(example.number).image for example in examples]
    whole = predict(model, examples, images)
    pieces = [predict(model, examples[i : i + 7], images[i : i + 7]) for i in (0, 7, 14)]
    joined = concatenate(pieces)
    assert joined.answers == whole.answers and joined.captions == whole.captions
    assert np.array_equal(joined.text_embeddings, whole.text_embeddings)
    assert np.array_equal(joined.tags_image, whole.tags_image)


def test_block_without_labels_of_a_task_does_not_disturb_the_others():
    examples = [*_examples(4), Example(4, "4", "4", Labels(tags=("red",)))]
    images = [Square(example.number).image for example in examples]
    model = ColourModel(())
    joined = concatenate([predict(model, [e], [i]) for e, i in zip(examples, images, strict=True)])
    assert score_tasks(examples, joined)["retrieval"].plain["text_to_image.median_rank"] == 1.0
