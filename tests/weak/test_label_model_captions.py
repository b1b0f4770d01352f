"""Which text is the caption of an image, and how sure that is, by agreement alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.weak.captions import CAPTION_ROLES
from mmcore.weak.evidence import Evidence
from mmcore.weak.functions import WITHOUT_CHAMPION, vote_all
from mmcore.weak.label_model_captions import caption_beliefs
from mmcore.weak.label_model_fit import fit_all, label
from mmcore.weak.label_model_patterns import GOLD, count_patterns, gold_topics
from mmcore.weak.pairs import Given, choose_captions
from tests.weak.helpers import evidence, vocabulary_of

THINGS = ("dog", "cat", "horse", "boat", "tree", "car", "bird", "house")
_IMAGES = 200


def believed(pages: Evidence) -> np.ndarray:
    votes = vote_all(pages, vocabulary_of(pages), WITHOUT_CHAMPION)
    return caption_beliefs(votes, pages, fit_all(count_patterns(votes, GOLD.empty_table())))


def world() -> tuple[Evidence, list[str]]:
    """Captions are right, four alts in ten are another image's, headings agree with captions."""
    random = np.random.default_rng(3)
    true = [THINGS[i] for i in random.integers(0, len(THINGS), _IMAGES)]
    alts = [t if random.random() < 0.6 else THINGS[random.integers(len(THINGS))] for t in true]
    images = [
        [("caption", f"a {t} in a field"), ("alt", f"the {a} on a hill"), ("heading", f"a {t}")]
        for t, a in zip(true, alts, strict=True)
    ]
    return evidence(*images), true


def test_a_text_that_the_others_contradict_is_believed_less() -> None:
    pages, true = world()
    sure = believed(pages)
    text, role, image = pages.texts["text"].to_pylist(), pages.role, pages.image
    right = np.array([true[i] in t for t, i in zip(text, image, strict=True)])
    alt = role == "alt"
    assert not np.isnan(sure[alt]).any() and 50 < (alt & ~right).sum() < 100
    assert sure[alt & right].min() > sure[alt & ~right].max()
    assert sure[alt & ~right].max() < 0.5 < sure[role == "caption"].min()


def test_confidences_of_captions_are_probabilities() -> None:
    pages, true = world()
    chosen = choose_captions(pages, Given.flatten([]), CAPTION_ROLES, None, believed(pages))
    rows = chosen.filter(pc.equal(chosen["source"], "alt"))
    sure = rows["confidence"].to_numpy()
    pairs = zip(rows["text"].to_pylist(), rows["image"].to_pylist(), strict=True)
    right = np.array([true[i] in text for text, i in pairs])
    assert abs(sure.mean() - right.mean()) < 0.05
    first = chosen.filter(pa.array(np.diff(chosen["image"].to_numpy(), prepend=-1) != 0))
    assert set(first["source"].to_pylist()) == {"caption"}


def test_nothing_is_said_of_texts_that_name_nothing() -> None:
    pages = evidence([("alt", "click here now")], [("alt", "a red dog"), ("caption", "one dog")])
    sure = believed(pages)
    assert np.isnan(sure[0]) and sure[1:].min() > 0.5
    nothing = evidence([("alt", "click here")])
    assert np.isnan(believed(nothing)).all()


def test_a_thing_is_believed_by_its_own_text_not_by_another_of_the_same_role() -> None:
    images = [[("caption", f"a {t} in a field"), ("alt", f"the {t}")] for t in THINGS * 10]
    images[0] = [("caption", "a dog"), ("alt", "the dog"), ("alt", "a circle on paper")]
    pages = evidence(*images)
    votes = vote_all(pages, vocabulary_of(pages), WITHOUT_CHAMPION)
    models = fit_all(count_patterns(votes, GOLD.empty_table()))
    sure = {
        row["slot"]: row["confidence"]
        for row in label(votes, models, 0.0).to_pylist()
        if row["image"] == 0 and row["task"] == "tag"
    }
    assert sure["dog"] > 0.9 and sure["circle"] < 0.1


def test_annotated_tags_overrule_what_the_many_agree_on() -> None:
    random = np.random.default_rng(5)
    true = random.integers(0, len(THINGS), 300)
    wrong = (true + 1 + random.integers(0, len(THINGS) - 1, 300)) % len(THINGS)
    told = np.where(random.random(300) < 0.7, wrong, true)
    pages = evidence(
        *(
            [
                ("caption", f"a {THINGS[t]} in a field"),
                ("alt", f"the {THINGS[w]} on a hill"),
                ("title", f"one {THINGS[w]}"),
            ]
            for t, w in zip(true.tolist(), told.tolist(), strict=True)
        )
    )
    votes = vote_all(pages, vocabulary_of(pages), WITHOUT_CHAMPION)
    some = range(0, 300, 3)
    tags = pa.table({"image": pa.array(some), "tag": [THINGS[true[i]] for i in some]})
    unknown = np.setdiff1d(np.arange(300), np.array(some))
    shares = []
    for gold in (GOLD.empty_table(), gold_topics(votes, tags)):
        models = fit_all(count_patterns(votes, gold))
        found = label(votes, models, 0.5)
        said = {(r["image"], r["slot"]) for r in found.to_pylist() if r["task"] == "tag"}
        shares.append(np.mean([(i, THINGS[true[i]]) in said for i in unknown.tolist()]))
    table = {row["function"]: row for row in models["topic"].table}
    assert shares[0] < 0.6 and shares[1] > 0.95
    assert table["caption"]["gold"] == 100 and table["caption"]["gold_accuracy"] == 1
    assert table["alt"]["gold_accuracy"] < 0.5
