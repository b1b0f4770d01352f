"""Caption metrics give the numbers of the published implementations."""

from __future__ import annotations

import numpy as np
import pytest

from mmcore.evaluate.captions import bleu4, score_captions, tokenize_caption

WRITTEN = [
    "a red square on the left",
    "two green circles",
    "a a a a",
    "the dog runs on the beach with a ball",
]
REFERENCES = [
    ["a red square on the left side", "there is a red square at the left"],
    ["two green circles at the top", "three blue circles"],
    ["a cat", "the a"],
    ["a dog runs along the beach", "the brown dog plays with a ball on the beach"],
]


def test_scores_equal_those_of_pycocoevalcap():
    """Expected values were computed with pycocoevalcap 1.2 on the same tokens."""
    scores = score_captions(WRITTEN, REFERENCES)
    assert float(bleu4(scores.bleu_counts.sum(axis=0))) == pytest.approx(0.5421041475, abs=1e-9)
    assert scores.cider == pytest.approx([6.15056868, 2.65176921, 0.35567774, 2.85657735])
    assert scores.rouge_l == pytest.approx([0.91044776, 0.62886598, 0.35465116, 0.61616162])


def test_token_f1_takes_the_closest_reference():
    # Six of six words said and six of seven meant: 2 * 6 / (6 + 7).
    assert score_captions(WRITTEN, REFERENCES).token_f1[0] == pytest.approx(12 / 13)


def test_perfect_captions_reach_the_ends_of_the_scales():
    texts = ["a red square on the left", "two green circles near the top edge"]
    scores = score_captions(texts, [[text] for text in texts])
    assert float(bleu4(scores.bleu_counts.sum(axis=0))) == pytest.approx(1.0)
    assert scores.cider == pytest.approx([10.0, 10.0])
    assert scores.token_f1 == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("text", ["", "!!!", "   "])
def test_caption_without_words_scores_nothing(text):
    scores = score_captions([text, "two green circles"], [["a red square"], ["two green circles"]])
    assert (scores.cider[0], scores.rouge_l[0], scores.token_f1[0]) == (0.0, 0.0, 0.0)
    assert np.isfinite(bleu4(scores.bleu_counts.sum(axis=0)))


def test_words_are_found_in_every_script():
    assert tokenize_caption("Ein grüner Kreis, oben!") == ("ein", "grüner", "kreis", "oben")
    assert tokenize_caption("the dog’s ball") == ("the", "dog's", "ball")
    assert tokenize_caption("赤い円 2つ") == ("赤", "い", "円", "2", "つ")
