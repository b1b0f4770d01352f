"""Questions that can be answered from what a page says, in natural wording."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.weak.draws import image_hashes
from mmcore.weak.functions import vote_all
from mmcore.weak.negatives import Mentions, Pool, draw_absent
from mmcore.weak.questions import ask
from mmcore.weak.vocabulary import mentions
from mmcore.weak.votes import combine
from tests.weak.helpers import evidence, sha256, vocabulary_of

OTHERS = [
    [("caption", f"A {colour} {noun} and two {noun}s on the right of the picture")]
    for colour in ("blue", "green", "yellow")
    for noun in ("star", "heart", "ring", "dog")
] + [[("alt", "a sad face")], [("alt", "a sad face and a calm face")]]


def asked(*texts: tuple[str, str], cap: int = 99, seed: int = 0) -> list[dict[str, Any]]:
    """The questions about one image in a small corpus."""
    found = evidence(list(texts), *OTHERS)
    vocabulary = vocabulary_of(found)
    labels = combine(vote_all(found, vocabulary))
    facts = labels.filter(pc.equal(labels["task"], "fact"))
    keys = np.array([sha256(i) for i in range(found.images)], object)
    hashes = image_hashes(pa.array(keys, pa.string()), seed)
    named = Mentions(*mentions(found), found.images)
    rows = ask(facts, hashes, named, vocabulary.world(2), cap).to_pylist()
    return [row for row in rows if row["image"] == 0]


def answers(rows: list[dict[str, Any]], lang: str = "en") -> dict[str, set[str]]:
    """Answers by type of question."""
    out: dict[str, set[str]] = {}
    for row in rows:
        if row["lang"] == lang:
            out.setdefault(row["type"], set()).add(row["answer"])
    return out


def test_every_kind_of_fact_is_asked_about() -> None:
    rows = asked(
        ("caption", "Two large striped red circles on the left and a happy face on the right.")
    )
    found = answers(rows)
    assert found["colour"] == {"red"}
    assert found["count"] == {"2", "1"}
    assert found["size"] == {"large"}
    assert found["texture"] == {"striped"}
    assert found["where"] == {"left", "right"}
    assert found["what"] == {"circle", "face"}
    assert found["shape"] == {"circle"}
    assert found["mood"] == {"happy"}
    assert found["exists"] == found["is"] == {"yes", "no"}


def test_questions_are_worded_for_the_number_of_things() -> None:
    questions = {row["question"] for row in asked(("caption", "two red circles on the left"))}
    about = [q for q in questions if "colour" in q or "color" in q or q.startswith("where")]
    assert about and all("circles" in q for q in about)
    single = {row["question"] for row in asked(("caption", "an orange ring on the left"))}
    assert not [q for q in single if " are the ring" in q or "a orange" in q]


def test_german_pages_are_asked_about_in_german_and_english() -> None:
    rows = asked(("caption", "Drei kleine blaue Kreise links und ein trauriges Gesicht rechts"))
    german, english = answers(rows, "de"), answers(rows)
    assert german["colour"] == {"blau"} and english["colour"] == {"blue"}
    assert german["where"] == {"links", "rechts"} and english["where"] == {"left", "right"}
    assert german["exists"] == {"ja", "nein"}
    wording = " ".join(row["question"] for row in rows if row["lang"] == "de")
    assert "die Kreise" in wording and "das Gesicht" in wording
    assert "gibt es ein Kreis?" not in wording


def test_german_nouns_outside_the_list_get_their_gender_from_the_corpus() -> None:
    rows = asked(("caption", "Ein roter Traktor links"), ("alt", "ein roter Traktor"))
    questions = [r["question"] for r in rows if r["lang"] == "de" and "Traktor" in r["question"]]
    assert questions and not [q for q in questions if "die Traktor" in q or "das Traktor" in q]


def test_two_things_of_a_kind_in_one_text_are_not_told_apart() -> None:
    rows = asked(("caption", "a red circle on the left and a blue circle on the right"))
    assert not {"colour", "where", "count"} & {row["type"] for row in rows}


def test_texts_that_contradict_each_other_are_not_asked_about() -> None:
    rows = asked(("caption", "a red circle"), ("alt", "a blue circle"))
    assert "colour" not in answers(rows)


def test_people_have_no_colour_and_no_size() -> None:
    rows = asked(("caption", "a little girl beside a black man with a brown dog"))
    assert {r["question"].split()[-1].strip("?") for r in rows if r["type"] == "colour"} <= {
        "dog",
        "have",
    }
    assert not [r for r in rows if r["type"] in ("colour", "size") and "girl" in r["question"]]
    assert not [r for r in rows if r["type"] in ("colour", "size") and " man" in r["question"]]


def test_what_any_text_names_is_never_denied() -> None:
    rows = asked(("caption", "a red circle"), ("context", "Beside it a star, a heart, a dog."))
    denied = [r["question"] for r in rows if r["answer"] == "no" and r["type"] == "exists"]
    assert not [q for q in denied if "star" in q or "heart" in q or "dog" in q]


def test_yes_and_no_are_balanced() -> None:
    total: Counter[str] = Counter()
    for seed in range(10):
        rows = asked(("caption", "a red circle on the left"), ("alt", "a red circle"), seed=seed)
        total.update(r["answer"] for r in rows if r["type"] == "exists")
    assert total["yes"] == total["no"] > 0


def test_cap_keeps_every_kind_before_more_of_one() -> None:
    text = ("caption", "Two large striped red circles on the left and a happy face on the right.")
    rows = asked(text, cap=8)
    assert len(rows) == 8 and len({row["type"] for row in rows}) == 8


def test_questions_are_the_same_each_time_and_vary_with_the_seed() -> None:
    text = ("caption", "Two large striped red circles on the left and a happy face on the right.")
    assert asked(text) == asked(text)
    assert any(asked(text) != asked(text, seed=seed) for seed in (1, 2, 3))


def test_likely_but_unsaid_things_are_not_denied() -> None:
    pool = np.array(["shirt", "hand", "boat"], object)
    mentioned = Mentions(np.array([0]), np.array(["person"], object), 1)
    hashes = np.arange(200, dtype=np.uint64)
    drawn = draw_absent(
        np.zeros(200, np.int64), hashes, Pool(pool, np.ones(3), np.ones(3)), mentioned, "x"
    )
    assert set(drawn) <= {"boat", ""} and list(drawn).count("boat") > 180


def affirmed_and_denied(texts: list[str]) -> dict[str, Counter[str]]:
    """Answers per question's object, "a dog" or "a brown dog", over images of one caption each."""
    found = evidence(*[[("caption", text)] for text in texts])
    vocabulary = vocabulary_of(found)
    labels = combine(vote_all(found, vocabulary))
    facts = labels.filter(pc.equal(labels["task"], "fact"))
    hashes = image_hashes(pa.array([sha256(i) for i in range(len(texts))]), 0)
    named = Mentions(*mentions(found), len(texts))
    answers: dict[str, Counter[str]] = {}
    for row in ask(facts, hashes, named, vocabulary.world(1), 24).to_pylist():
        if row["type"] == "exists":
            thing = re.sub(r"^.* an? |\?$| in the picture", "", row["question"])
            answers.setdefault(thing, Counter())[row["answer"]] += 1
    return answers


def test_what_most_images_show_is_denied_nearly_as_often_as_affirmed() -> None:
    texts = ["a man holds a ball"] * 200 + ["a man sees a tree"] * 100 + ["a tree by a rock"] * 100
    found = affirmed_and_denied(texts)
    assert found["man"]["no"] > 40
    for thing in ("man", "tree", "ball", "rock"):
        answers = found[thing]
        assert max(answers.values()) < 0.7 * answers.total(), thing


def test_nobody_is_asked_for_a_blue_dog_where_dogs_are_never_blue() -> None:
    texts = ["a brown dog"] * 40 + ["a black dog"] * 40 + ["a blue car"] * 40 + ["a red car"] * 40
    found = affirmed_and_denied(texts)
    assert found["brown dog"]["no"] > 10 and found["blue car"]["no"] > 10
    assert "blue dog" not in found and "black car" not in found


def test_what_is_never_denied_is_not_affirmed_either() -> None:
    assert "dog" not in affirmed_and_denied(["a dog on a rock", "a dog", "a dog by a tree"] * 20)
