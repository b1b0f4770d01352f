"""Ratings that visitors write into their comments: `★★★★☆`, `4/5`, `8 out of 10`, `4 von 5`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_GOOD, _BAD = 0.7, 0.4
# not a date (3/10/2026), not a score line (12-3/5)
_SHARE = (
    r"(?:^|[^\d/.,\-])(?P<value>\d{1,3}(?:[.,]\d)?)\s*(?:/|out of|von|aus)\s*"
    r"(?P<scale>5|10|100)(?:$|[^\d/.,]|[.,](?:\D|$))"
)
# "5 stars" opens or is a comment; "I count 5 stars" speaks of the picture
_STARS = r"^\W*(?P<value>[1-5](?:[.,]5)?)\s*(?:stars?|sterne?n?)\s*(?:$|[!.,:;])"
_SYMBOLS = r"(?P<full>[★⭐]+)️?(?P<empty>☆*)"


def ratings(texts: pa.Array) -> NDArray[np.float64]:
    """The share of the best possible rating that each text gives: float64 [n], NaN for none.

    Stars without empty ones are of five.
    """
    lower = pc.utf8_lower(pc.fill_null(texts, ""))
    out = np.full(len(lower), np.nan)
    found = pc.extract_regex(lower, _SHARE)
    out = _filled(out, _number(found, "value"), _number(found, "scale"))
    found = pc.extract_regex(lower, _STARS)
    out = _filled(out, _number(found, "value"), np.full(len(lower), 5.0))
    found = pc.extract_regex(lower, _SYMBOLS)
    full, empty = (
        pc.fill_null(pc.utf8_length(pc.struct_field(found, name)), 0).to_numpy().astype(float)
        for name in ("full", "empty")
    )
    full = np.where(full > 0, full, np.nan)
    # a single star is a decoration
    full = np.where((full == 1) & (empty == 0), np.nan, full)
    return _filled(out, full, np.where(empty > 0, full + empty, 5.0))


def rating_labels(share: NDArray[np.float64]) -> NDArray[np.object_]:
    """negative, neutral or positive for each share, "" for NaN: object [n]."""
    label = np.where(share >= _GOOD, "positive", np.where(share <= _BAD, "negative", "neutral"))
    return np.where(np.isnan(share), "", label).astype(object)


def _number(found: pa.Array, name: str) -> NDArray[np.float64]:
    text = pc.replace_substring(pc.struct_field(found, name), ",", ".")
    return pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)


def _filled(
    out: NDArray[np.float64], value: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        fits = np.isnan(out) & (value <= scale)
    return np.where(fits, value / scale, out)
