"""Do generated labels make a training set better? Asked of a small model, before a large one pays.

A linear probe on the champion's image features is trained twice: on the labels that pages gave, and
on those together with the generated ones. Both are examined on images that were held out of both,
against labels that pages or people gave. Only a gain that a bootstrap over images proves counts.

A linear probe of frozen features is the usual cheap stand-in for a full training (Alain and Bengio
2016); features come from the same champion, so this is about labels, not about what it sees.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

_HELD_OUT = 0.2
_REPLICATES = 1000
_LEAST_EXAM = 30
_RIDGE = (0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Verdict:
    """What a held-out examination said about one kind of generated label.

    before, after: mean score without and with the generated labels; low, high: 99 % interval of the
    mean gain, as four kinds are examined a night and none shall pass by luck; used: whether low is
    above 0; reason: the same in words.
    """

    kind: str
    examined: int
    generated: int
    before: float
    after: float
    low: float
    high: float
    used: bool
    reason: str

    def row(self) -> dict[str, Any]:
        """As metadata."""
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}


def held_out(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which clusters are for the exam, by a hash of each: bool [n], the same on every night."""
    return hashes < np.uint64(int(_HELD_OUT * 2**64))


def examine(
    kind: str,
    features: Floats,
    before: Floats,
    before_weight: Floats,
    after: Floats,
    after_weight: Floats,
    exam: NDArray[np.bool_],
) -> Verdict:
    """Train on the rows that are not `exam`, score on those that are and have labels before.

    features: [n, D]; before, after: targets [n, K], one column a class or tag; the weights [n] say
    how much a row's labels are trusted, 0 where it has none. What is examined is always `before`.
    """
    asked = exam & (before_weight > 0)
    new = int(((after_weight > 0) & ~exam & (np.abs(after - before).sum(axis=1) > 0)).sum())
    if asked.sum() < _LEAST_EXAM or not new or not (~exam & (before_weight > 0)).any():
        few = f"only {int(asked.sum())} labelled images to examine on" if new else "none generated"
        return Verdict(kind, int(asked.sum()), new, 0.0, 0.0, 0.0, 0.0, False, few)
    truth = before[asked]
    scores = []
    for targets, weight in ((before, before_weight), (after, after_weight)):
        learn = ~exam & (weight > 0)
        guess = _ridge(features[learn], targets[learn], weight[learn], features[asked])
        scores.append(_ranked(guess, truth))
    return _verdict(kind, new, *scores)


def _verdict(kind: str, new: int, before: Floats, after: Floats) -> Verdict:
    gain = after - before
    random = np.random.default_rng(0)
    draws = random.integers(0, len(gain), (_REPLICATES, len(gain)))
    low, high = np.quantile(gain[draws].mean(axis=1), [0.005, 0.995])
    used = bool(low > 0)
    said = "better on held-out images" if used else "no gain that the held-out images prove"
    return Verdict(
        kind,
        len(gain),
        new,
        float(before.mean()),
        float(after.mean()),
        float(low),
        float(high),
        used,
        said,
    )


def _ridge(x: Floats, y: Floats, weight: Floats, asked: Floats) -> Floats:
    """Weighted ridge regression, its strength chosen by generalised cross-validation
    (Golub, Heath and Wahba 1979): predictions [m, K] for `asked` [m, D]."""
    w = np.sqrt(weight / weight.mean())[:, None]
    mean_x, mean_y = (np.average(v, axis=0, weights=weight) for v in (x, y))
    u, s, vt = np.linalg.svd((x - mean_x) * w, full_matrices=False)
    target = (y - mean_y) * w
    projected = u.T @ target
    best, chosen = np.inf, _RIDGE[0]
    for strength in _RIDGE:
        shrink = s**2 / (s**2 + strength)
        rest = ((target - u @ (shrink[:, None] * projected)) ** 2).sum()
        score = rest / max(len(x) - shrink.sum(), 1e-9) ** 2
        if score < best:
            best, chosen = score, strength
    return mean_y + (asked - mean_x) @ (vt.T @ ((s / (s**2 + chosen))[:, None] * projected))


def _ranked(guess: Floats, truth: Floats) -> Floats:
    """Average precision of each row's true classes among all: float64 [m]."""
    order = np.argsort(-guess, axis=1, kind="stable")
    hits = np.take_along_axis(truth > 0.5, order, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (precision * hits).sum(axis=1) / np.maximum(hits.sum(axis=1), 1)


def examine_captions(
    kind: str,
    features: Floats,
    texts: Floats,
    image: NDArray[np.int64],
    before: Floats,
    after: Floats,
    exam: NDArray[np.bool_],
) -> Verdict:
    """As `examine`, for captions: a linear map from image to text features, examined by retrieval.

    features: [n, D] of the images; texts: [c, E] of all captions, generated ones too; image: [c],
    whose each is; before, after: [c], how much each is trusted in the two training sets (0: not in
    it). Score: reciprocal rank of the image's own caption among those of all images examined.
    """
    learn = ~exam[image]
    new = int((learn & (before != after)).sum())
    own = _best(image, np.where(learn, 0.0, before), len(features))
    asked = np.flatnonzero(own >= 0)
    if len(asked) < _LEAST_EXAM or not new:
        few = f"only {len(asked)} captioned images to examine on" if new else "none changed"
        return Verdict(kind, len(asked), new, 0.0, 0.0, 0.0, 0.0, False, few)
    if not (learn & (before > 0)).any() or not (learn & (after > 0)).any():
        return Verdict(kind, len(asked), new, 0.0, 0.0, 0.0, 0.0, False, "nothing to learn from")
    scores = []
    for weight in (before, after):
        used = learn & (weight > 0)
        guess = _ridge(features[image[used]], texts[used], weight[used], features[asked])
        similar = guess @ (texts[own[asked]] - texts[used].mean(axis=0)).T
        rank = 1 + (similar > np.diag(similar)[:, None]).sum(axis=1)
        scores.append(1.0 / rank)
    return _verdict(kind, new, *scores)


def _best(image: NDArray[np.int64], trust: Floats, count: int) -> NDArray[np.int64]:
    """The most trusted caption of each image: int64 [count], -1 where none is trusted."""
    order = np.lexsort((np.arange(len(image))[::-1], trust))
    order = order[trust[order] > 0]
    best = np.full(count, -1, np.int64)
    best[image[order]] = order  # later assignments win: the most trusted, the first of equals
    return best
