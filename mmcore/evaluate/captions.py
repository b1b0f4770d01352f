"""Caption metrics: BLEU-4, CIDEr-D, ROUGE-L and token F1, with every number kept per image."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Scripts written without spaces are compared by character, everything else by word.
_UNSEGMENTED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_UNSEGMENTED}]|[^\W_{_UNSEGMENTED}]+(?:'[^\W_]+)*")
_ORDERS = 4
_CIDER_SIGMA = 6.0
_ROUGE_BETA = 1.2
_TINY = 1e-15
_SMALL = 1e-9

Tokens = tuple[str, ...]
Ngram = tuple[str, ...]


def tokenize_caption(text: str) -> Tokens:
    """Lower-cased words of a caption without punctuation (NFKC, any script)."""
    return tuple(_TOKEN.findall(unicodedata.normalize("NFKC", text).replace("’", "'").casefold()))


@dataclass(frozen=True)
class CaptionScores:
    """Per-image caption scores; N images.

    cider, rouge_l, token_f1: float64 [N]. bleu_counts: float64 [N, 10] = matched n-grams (4),
    candidate n-grams (4), candidate length, closest reference length: `bleu4` of their sum is the
    corpus score, so any resample of images can be scored from a weighted sum.
    """

    cider: NDArray[np.float64]
    rouge_l: NDArray[np.float64]
    token_f1: NDArray[np.float64]
    bleu_counts: NDArray[np.float64]


def score_captions(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """Score one candidate per image against that image's references (at least one each)."""
    hypotheses = [tokenize_caption(text) for text in candidates]
    truths = [[tokenize_caption(text) for text in texts] for texts in references]
    pairs = list(zip(hypotheses, truths, strict=True))
    bleu = np.array([_bleu_counts(hypothesis, refs) for hypothesis, refs in pairs])
    return CaptionScores(
        cider=cider_d(hypotheses, truths),
        rouge_l=np.array([_rouge_l(hypothesis, refs) for hypothesis, refs in pairs]),
        token_f1=np.array([_token_f1(hypothesis, refs) for hypothesis, refs in pairs]),
        bleu_counts=bleu.reshape(-1, 2 * _ORDERS + 2),
    )


def bleu4(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corpus BLEU-4 (Papineni et al. 2002, closest reference length) of summed counts [..., 10]."""
    matched, total = counts[..., :_ORDERS], counts[..., _ORDERS : 2 * _ORDERS]
    length, closest = counts[..., -2], counts[..., -1]
    precision = (matched + _TINY) / (total + _SMALL)
    ratio = (length + _TINY) / (closest + _SMALL)
    brevity = np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)
    return np.exp(np.log(precision).mean(axis=-1)) * brevity


def cider_d(
    hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> NDArray[np.float64]:
    """CIDEr-D (Vedantam et al. 2015) per image, float64 [N], 0 to 10.

    Document frequencies come from the references given. No stemming.
    """
    truth_counts = [[_ngrams(reference) for reference in texts] for texts in references]
    frequency: Counter[Ngram] = Counter()
    for counted in truth_counts:
        frequency.update({ngram for counts in counted for ngram in counts})
    log_images = np.log(max(len(references), 1))
    weight = {ngram: log_images - float(np.log(count)) for ngram, count in frequency.items()}
    scores = np.zeros(len(hypotheses))
    for index, (hypothesis, texts, counted) in enumerate(
        zip(hypotheses, references, truth_counts, strict=True)
    ):
        vector = _Weighted.of(_ngrams(hypothesis), weight, log_images)
        similar = [
            _cider_similarity(
                vector, _Weighted.of(counts, weight, log_images), len(hypothesis), len(text)
            )
            for text, counts in zip(texts, counted, strict=True)
        ]
        scores[index] = 10.0 * float(np.mean(similar)) if similar else 0.0
    return scores


@dataclass(frozen=True)
class _Weighted:
    """tf-idf of the n-grams of one caption, and its norm per order."""

    values: dict[Ngram, float]
    norms: NDArray[np.float64]

    @classmethod
    def of(cls, counts: Counter[Ngram], weight: dict[Ngram, float], unseen: float) -> _Weighted:
        values = {ngram: count * weight.get(ngram, unseen) for ngram, count in counts.items()}
        squares = np.zeros(_ORDERS)
        for ngram, value in values.items():
            squares[len(ngram) - 1] += value * value
        return cls(values, np.sqrt(squares))


def _cider_similarity(
    hypothesis: _Weighted, reference: _Weighted, hypothesis_length: int, reference_length: int
) -> float:
    dots = np.zeros(_ORDERS)
    for ngram, value in hypothesis.values.items():
        other = reference.values.get(ngram)
        if other is not None:
            dots[len(ngram) - 1] += min(value, other) * other
    norms = hypothesis.norms * reference.norms
    cosine = np.divide(dots, norms, out=np.zeros(_ORDERS), where=norms > 0)
    # The published code measures length in bigrams, which differs only for captions of no words.
    gap = max(hypothesis_length - 1, 0) - max(reference_length - 1, 0)
    return float(cosine.mean()) * float(np.exp(-(gap**2) / (2 * _CIDER_SIGMA**2)))


def _ngrams(tokens: Tokens) -> Counter[Ngram]:
    return Counter(
        tokens[start : start + order]
        for order in range(1, _ORDERS + 1)
        for start in range(len(tokens) - order + 1)
    )


def _bleu_counts(hypothesis: Tokens, references: Sequence[Tokens]) -> list[float]:
    counts = _ngrams(hypothesis)
    ceiling: Counter[Ngram] = Counter()
    for reference in references:
        ceiling |= _ngrams(reference)
    matched, total = [0.0] * _ORDERS, [0.0] * _ORDERS
    for ngram, count in counts.items():
        total[len(ngram) - 1] += count
        matched[len(ngram) - 1] += min(count, ceiling[ngram])
    length = len(hypothesis)
    closest = min((abs(len(ref) - length), len(ref)) for ref in references)[1]
    return [*matched, *total, float(length), float(closest)]


def _rouge_l(hypothesis: Tokens, references: Sequence[Tokens]) -> float:
    """ROUGE-L F (beta 1.2) from the best precision and the best recall over the references."""
    if not hypothesis:
        return 0.0
    common = [_longest_common(hypothesis, reference) for reference in references]
    precision = max(common) / len(hypothesis)
    recall = max(
        found / len(ref) if ref else 0.0 for found, ref in zip(common, references, strict=True)
    )
    if precision == 0 or recall == 0:
        return 0.0
    beta = _ROUGE_BETA**2
    return (1 + beta) * precision * recall / (recall + beta * precision)


def _longest_common(left: Tokens, right: Tokens) -> int:
    row = [0] * (len(right) + 1)
    for word in left:
        diagonal = 0
        for column, other in enumerate(right, start=1):
            above = row[column]
            row[column] = diagonal + 1 if word == other else max(above, row[column - 1])
            diagonal = above
    return row[-1]


def _token_f1(hypothesis: Tokens, references: Sequence[Tokens]) -> float:
    """Bag-of-words F1 against the closest reference."""
    counts = Counter(hypothesis)
    best = 0.0
    for reference in references:
        overlap = (counts & Counter(reference)).total()
        if overlap:
            best = max(best, 2 * overlap / (len(hypothesis) + len(reference)))
    return best
