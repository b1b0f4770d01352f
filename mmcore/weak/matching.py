"""How likely a text is right for its image, from scores alone: no threshold to guess.

A model gives image-text pairs a score. What scores of wrong pairs look like is known without any
label: give the texts to other images. What the web's pairs score is a mixture of right and wrong
ones, so the share of wrong pairs at a score is a local false discovery rate (Efron 2001), with the
share of wrong pairs overall estimated as Storey (2002) does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Floats = NDArray[np.float64]

LEAST = 200
"""Pairs below which a density of scores is not worth estimating."""

_PER_BIN = 50
_MOST_BINS = 40
_LOW = 0.2


@dataclass(frozen=True)
class Calibration:
    """Score to probability: piecewise linear through `scores` [k], ascending, and `right` [k].

    wrong_share: estimated share of wrong pairs among those it was fitted on.
    """

    scores: Floats
    right: Floats
    wrong_share: float

    def __call__(self, scores: NDArray[np.floating]) -> Floats:
        """Probability that each pair belongs together: float64 [n]; NaN scores give NaN."""
        return np.interp(np.asarray(scores, np.float64), self.scores, self.right)

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        rounded = {"scores": self.scores.round(6).tolist(), "right": self.right.round(6).tolist()}
        return rounded | {"wrong_share": round(self.wrong_share, 4)}

    @classmethod
    def load(cls, record: dict[str, Any]) -> Calibration:
        """What `dump` gave."""
        scores, right = np.array(record["scores"]), np.array(record["right"])
        return cls(scores, right, record["wrong_share"])


def calibrate(pairs: NDArray[np.floating], strangers: NDArray[np.floating]) -> Calibration | None:
    """From scores of pairs as found [n] and of texts with images they do not belong to [m].

    None where there are fewer than `LEAST` of either. The probability never falls with the score
    (isotonic, weighted by pairs).
    """
    found, null = (np.asarray(s, np.float64)[np.isfinite(s)] for s in (pairs, strangers))
    if min(len(found), len(null)) < LEAST:
        return None
    wrong = _wrong_share(found, null)
    bins = int(np.clip(len(found) // _PER_BIN, 2, _MOST_BINS))
    edges = np.unique(np.quantile(found, np.linspace(0, 1, bins + 1)))
    if len(edges) < 3:  # all pairs score the same: the model tells nothing apart
        return Calibration(edges[:1], np.array([1 - wrong]), wrong)
    inner = edges[1:-1]
    here = np.bincount(np.searchsorted(inner, found, "right"), minlength=len(edges) - 1)
    there = np.bincount(np.searchsorted(inner, null, "right"), minlength=len(edges) - 1)
    expected = wrong * there * (len(found) / len(null))
    right = 1 - np.clip(expected / np.maximum(here, 1), 0, 1)
    fitted = isotonic_regression(right, weights=np.maximum(here, 1)).x
    return Calibration((edges[1:] + edges[:-1]) / 2, fitted, wrong)


def _wrong_share(found: Floats, null: Floats) -> float:
    """Share of pairs that score like strangers: Storey's estimate, at a low quantile of strangers.

    Down there lie their share of the wrong pairs and, of a model that sees anything, few others.
    """
    below = float((found <= np.quantile(null, _LOW)).mean()) / _LOW
    return min(1.0, below)
