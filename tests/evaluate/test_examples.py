"""A task is scored on the best kind of labels there is enough of, and never on a mixture."""

from __future__ import annotations

from mmcore.evaluate.examples import Candidate, candidate_from_sample, choose_labels, kind_of_task
from mmcore.evaluate.records import Labels, Question
from tests.evaluate.colours import Square

LIMITS = {"max_captions": 5, "max_questions": 20, "max_described": 100}


def _candidate(number: int, **labels: Labels) -> Candidate:
    return Candidate(number, f"s{number}", f"c{number}", None, labels, {})


def test_gold_is_used_alone_where_there_is_enough_of_it():
    gold, weak = Labels(captions=("gold",)), Labels(captions=("weak",), tags=("red",))
    candidates = [_candidate(n, weak=weak, **({"gold": gold} if n < 3 else {})) for n in range(10)]
    chosen = choose_labels(candidates, "test", min_checked=3, **LIMITS)
    assert [e.labels.captions for e in chosen.examples] == [("gold",)] * 3 + [()] * 7
    assert all(e.labels.tags == ("red",) for e in chosen.examples)
    assert (kind_of_task(chosen, "retrieval"), kind_of_task(chosen, "tags")) == ("gold", "weak")


def test_too_few_gold_labels_give_way_to_the_kind_most_images_have():
    gold, weak = Labels(captions=("gold",)), Labels(captions=("weak",))
    candidates = [_candidate(n, weak=weak, **({"gold": gold} if n < 3 else {})) for n in range(10)]
    chosen = choose_labels(candidates, "test", min_checked=4, **LIMITS)
    assert all(e.labels.captions == ("weak",) for e in chosen.examples)


def test_annotation_and_weak_labels_of_a_sample_are_told_apart():
    sample = Square(1).sample("test", source="annotation")
    sample.labels["captions"].append({"text": "from alt", "source": "alt"})
    found = candidate_from_sample(0, sample, {}).labels
    assert found["annotation"].captions == ("a green square on the left", "left: a green square")
    assert found["weak"].captions == ("from alt",)
    assert found["weak"].sentiment is None


def test_gold_of_the_cluster_reaches_the_sample():
    sample = Square(1).sample("test")
    gold = {Square(1).sha256: Labels(tags=("x",))}
    assert candidate_from_sample(0, sample, gold).labels["gold"] == Labels(tags=("x",))


def test_labels_of_another_form_count_as_not_labelled():
    sample = Square(1).sample("test")
    sample.labels.update(
        captions=3, caption=None, qa=[1, {"question": "q"}], tags=[{}], sentiment="great"
    )
    assert candidate_from_sample(0, sample, {}).labels["weak"] == Labels()


def test_limits_spread_the_questions_and_bound_the_captions():
    labels = Labels(
        captions=("a", "b", "c"), questions=tuple(Question(str(n), ("x",)) for n in range(10))
    )
    chosen = choose_labels(
        [_candidate(n, weak=labels) for n in range(4)],
        "test",
        min_checked=1,
        max_captions=2,
        max_questions=5,
        max_described=3,
    )
    assert chosen.examples[0].labels.captions == ("a", "b")
    assert [q.question for q in chosen.examples[0].labels.questions] == ["0", "2", "4", "6", "8"]
    assert [e.describe for e in chosen.examples] == [True, True, True, False]
