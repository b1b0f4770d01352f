"""Nearly equal texts: shingles, MinHash candidates, exact Jaccard, in any script and length."""

from __future__ import annotations

import random
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from mmcore.dedup import jaccard, minhash, near_texts, shingles, texts

VOCABULARY = [
    a + b for a in ("ka", "to", "ri", "me", "su") for b in ("lo", "na", "pi", "wen", "do")
]


def _keys(*lines: str | None) -> pa.Array:
    return texts.text_key(pa.array(lines, pa.string()))


def _sets(words: int, *lines: str) -> shingles.Shingles:
    return near_texts.sign(_keys(*lines), near_texts.Likeness(words)).sets


def _similarity(one: str, other: str, words: int = 2) -> float:
    sets = _sets(words, one, other)
    return float(jaccard.jaccard(sets, np.array([1]), np.array([0]), 0)[0])


def _sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(VOCABULARY, k=draw.randint(1, 14))) for _ in range(count)]


def _by_hand(text: str, words: int) -> set[tuple[str, ...]]:
    """The definition, one text at a time."""
    found = re.findall(r"\w+", text)
    if len(found) < shingles.WORDS:
        letters = tuple("".join(found))
        return {letters[i : i + 3] for i in range(max(1, len(letters) - 2))}
    return {tuple(found[i : i + words]) for i in range(len(found) - words + 1)}


@pytest.mark.parametrize("words", [1, 2, 5])
def test_similarity_is_that_of_sets_of_word_runs(words: int) -> None:
    lines = _sentences(400, 1)
    left, right = np.random.default_rng(1).integers(0, 400, (2, 3000))
    sets = _sets(words, *lines)
    found = jaccard.jaccard(sets, left, right, 0)
    cut = [_by_hand(line, words) for line in lines]
    wanted = [len(cut[i] & cut[j]) / len(cut[i] | cut[j]) for i, j in zip(left, right, strict=True)]
    assert np.array_equal(found, wanted)
    assert 0 < np.count_nonzero(found) < len(found)


def test_where_a_block_of_texts_ends_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = _keys(*_sentences(300, 2))
    whole = near_texts.sign(keys, near_texts.Likeness())
    monkeypatch.setattr(shingles, "_BLOCK_BYTES", 100)
    cut = near_texts.sign(pa.chunked_array([keys[:7], keys[7:7], keys[7:]]), near_texts.Likeness())
    assert np.array_equal(whole.keys, cut.keys)
    assert np.array_equal(whole.sets.hashes, cut.sets.hashes)
    assert np.array_equal(whole.sets.offsets, cut.sets.offsets)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("red kite", "red kites"),
        ("猫が窓辺で静かに眠っている写真です", "猫が窓辺で静かに眠っている写真でした"),
        ("แมวนอนหลับอยู่ริมหน้าต่างบ้าน", "แมวนอนหลับอยู่ริมหน้าต่างบ้านๆ"),
        ("一只红色的风筝飞过绿色的山丘", "一只红色的风筝，飞过绿色的山丘上"),
    ],
)
def test_short_texts_and_scripts_without_spaces_are_compared(one: str, other: str) -> None:
    assert _similarity(one, other) > 0.6


def test_a_long_text_in_a_script_without_spaces_is_not_one_word() -> None:
    # Spaces here part sentences; seven of them would make "words" that never recur.
    text = "風船が空を飛ぶ 丘の上に家がある 犬が走る 猫が眠る 川が流れる 雨が降る 花が咲く"
    assert _similarity(text, text.replace("犬が走る", "犬が歩く")) > 0.8


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a dog bites the tall man", "a man bites the tall dog"),
        ("a red kite over a blue hill", "a blue kite over a red hill"),
        ("cat", "dog"),
    ],
)
def test_the_same_words_in_another_order_are_another_text(one: str, other: str) -> None:
    assert _similarity(one, other) < 0.6


def test_punctuation_does_not_count() -> None:
    assert _similarity("A kite, red – over “the” hill!", "a kite red over the hill") == 1


def test_texts_without_letters_are_like_no_other() -> None:
    signed = near_texts.sign(_keys("!!!", "???", "", None, "- -"), near_texts.Likeness())
    assert signed.sets.sizes.tolist() == [0] * 5
    assert (
        len(set(signed.keys[0].tolist())) == 3
    )  # nothing is left of the first, and null is nothing
    found = jaccard.jaccard(signed.sets, np.array([1, 3]), np.array([0, 2]), 0)
    assert found.tolist() == [0, 0]


def test_one_shingle_more_than_a_block_holds() -> None:
    text = " ".join(f"word{i}" for i in range(60_000))
    sets = _sets(2, "short", text, text + " more")
    assert sets.sizes.tolist() == [3, 59_999, 60_000]
    assert jaccard.jaccard(sets, np.array([2]), np.array([1]), 0.8)[0] == 59_999 / 60_000


def test_candidates_are_found_as_often_as_theory_says() -> None:
    banding = minhash.TextBanding(bands=4, rows=3)
    draw = np.random.default_rng(3)
    shared, apart, pairs = 20, 10, 3000  # similarity .5
    hashes = draw.integers(0, 2**shingles.BITS, (pairs, shared + 2 * apart), np.uint64)
    one, other = hashes[:, :-apart], np.delete(hashes, slice(shared, shared + apart), axis=1)
    offsets = np.arange(pairs + 1) * (shared + apart)
    keys = [minhash.band_keys(shingles.Shingles(s.ravel(), offsets), banding) for s in (one, other)]
    rate = (keys[0] == keys[1]).any(axis=0).mean()
    assert rate == pytest.approx(banding.chance(0.5), abs=0.03)
    assert banding.chance(0.5) == pytest.approx(0.414, abs=0.001)


def test_bands_are_as_many_as_the_threshold_needs() -> None:
    for least in (0.5, 0.8, 0.95):
        banding = minhash.TextBanding.for_similarity(least)
        assert banding.chance(least) >= 0.999
        fewer = minhash.TextBanding(banding.bands - 1, banding.rows)
        assert fewer.chance(least) < 0.999


def _edges(lines: list[str], cap: int = 1000) -> set[tuple[int, int]]:
    likeness = near_texts.Likeness()
    signed = near_texts.sign(_keys(*lines), likeness)
    found = (
        pairs
        for band in range(likeness.banding.bands)
        for pairs in near_texts.candidates(signed.keys[band], signed.sets.sizes, likeness, cap)
    )
    edges = near_texts.verified(found, signed.sets.take, likeness.least)
    assert (edges.similarity >= 0.8).all()
    pairs = list(zip(edges.earlier.tolist(), edges.later.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    return set(pairs)


def test_a_pair_of_several_bands_is_verified_once_and_few_texts_are_read_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(near_texts, "_TEXTS_AT_ONCE", 20)
    sets = near_texts.sign(_keys(*_sentences(100, 8)), near_texts.Likeness()).sets
    later, earlier = (side.astype(np.int64) for side in np.tril_indices(100, -1))
    read: list[int] = []

    def take(positions: np.ndarray) -> shingles.Shingles:
        read.append(len(positions))
        assert (np.diff(positions) > 0).all()
        return sets.take(positions)

    band = minhash.Pairs(later, earlier)
    edges = near_texts.verified([band, band, band], take, 0)
    assert edges.candidates == len(later) == len(edges.later)
    assert np.array_equal(edges.similarity, jaccard.jaccard(sets, edges.later, edges.earlier, 0))
    assert max(read) <= 20


def test_signing_needs_no_pandas() -> None:
    program = """
import io, sys
from pyarrow import csv
from mmcore.dedup import near_texts, texts
file = io.BytesIO("text\\nA red circle on the left\\ngrößer\\n漢字の文章です。\\na\\n".encode())
said = csv.read_csv(file)["text"]  # where pa.array would import it
signed = near_texts.sign(texts.text_key(said), near_texts.Likeness())
assert len(signed.sets.sizes) == 4 and (signed.sets.sizes > 0).all()
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_all_pairs_above_the_threshold_are_found_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(near_texts, "_TEXTS_AT_ONCE", 50)
    monkeypatch.setattr(near_texts, "_PAIRS_COLLECTED", 200)
    monkeypatch.setattr(near_texts, "_PAIRS_AT_ONCE", 70)
    base = _sentences(300, 4)
    lines = base + [line + " tail" for line in base[:150]] + [line[:-1] for line in base[150:]]
    cut = [_by_hand(line, 2) for line in lines]
    wanted = {
        (i, j)
        for j in range(len(cut))
        for i in range(j)
        if len(cut[i] & cut[j]) >= 0.8 * len(cut[i] | cut[j])
    }
    found = _edges(lines)
    assert len(wanted) > 100
    assert found <= wanted
    assert len(found) >= 0.99 * len(wanted)


def test_a_full_bucket_is_compared_with_its_best_ranked_only() -> None:
    lines = ["a red kite over the green hill"] * 40
    assert len(_edges(lines)) == 40 * 39 / 2
    assert _edges(lines, cap=2) == {(i, j) for j in range(40) for i in range(min(j, 2))}
    keys = near_texts.sign(_keys(*lines), near_texts.Likeness()).keys
    assert minhash.capped(keys[0], 2) == 37
