"""Is a candidate pair one picture? Decided on 16x16 RGB thumbnails, where a hash sees only layout.

A copy may be brighter or of more contrast: one gain and one offset, the same for all channels and
within limits, are taken out first. What is left must be small on average and small in every place:
a product in another colour, one object more or a smile turned down changes few cells, but these a
lot. A place is a 2x2 block of cells with signed differences, so that edges which another resizer
put a fraction of a cell elsewhere cancel out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EDGE = 16
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_GAIN = (1 / 1.3, 1.3)
_OFFSET = (-40.0, 40.0)
_PAIRS_AT_ONCE = 500  # 15 kB each meanwhile: in the cache this is three times faster
_WHITE = 245.0
_BRIGHT = 190.0  # a cell of this mean may have pixels near white, which lost what was added

Floats = npt.NDArray[np.float32]
Thumbs = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Difference:
    """Of each pair [P], on the scale 0 to 255: mean over the picture, and of the worst place."""

    mean: Floats
    local: Floats

    def within(self, max_mean: float, max_local: float) -> npt.NDArray[np.bool_]:
        """Which pairs show one picture."""
        return (self.mean <= max_mean) & (self.local <= max_local)


def difference(left: Thumbs, right: Thumbs) -> Difference:
    """Compare thumbnails uint8 [P, 16, 16, 3] pairwise; symmetric in its arguments."""
    a, b = left.astype(np.float32), right.astype(np.float32)
    swap = a.mean(axis=(1, 2, 3)) > b.mean(axis=(1, 2, 3))
    swap = swap[:, None, None, None]
    darker, brighter = np.where(swap, b, a), np.where(swap, a, b)
    relit = _relit(darker, brighter)
    residual = relit - brighter
    residual -= np.clip(residual, 0, _lost(darker, relit))
    mean = np.abs(residual).mean(axis=(1, 2, 3))
    rows = residual[:, 1:] + residual[:, :-1]
    places = (rows[:, :, 1:] + rows[:, :, :-1]) / 4
    local = np.abs(places).mean(axis=3).max(axis=(1, 2))
    return Difference(mean, local)


def _lost(darker: Floats, relit: Floats) -> Floats:
    """At most how much of each value white may have cut off: all that was added near white, none of
    it in the shade."""
    near_white = np.clip(2 * (relit - _BRIGHT) / (_WHITE - _BRIGHT), 0, 1)
    return near_white * np.maximum(relit - darker, 0)


def _relit(darker: Floats, brighter: Floats) -> Floats:
    """The darker pictures, with the gain and offset that bring their luma nearest to the others."""
    # Cells near white tell little of the gain; where there are no others, they must do.
    weight = np.clip((_WHITE - brighter.max(axis=3)) / (_WHITE - _BRIGHT), 0.01, 1)
    weight /= weight.sum(axis=(1, 2), keepdims=True)
    x, y = darker @ _LUMA, brighter @ _LUMA  # [P, 16, 16]
    mean_x = (weight * x).sum(axis=(1, 2), keepdims=True)
    mean_y = (weight * y).sum(axis=(1, 2), keepdims=True)
    variance = (weight * (x - mean_x) ** 2).sum(axis=(1, 2), keepdims=True)
    covariance = (weight * (x - mean_x) * (y - mean_y)).sum(axis=(1, 2), keepdims=True)
    gain = np.clip(covariance / np.maximum(variance, 1e-3), *_GAIN)
    offset = np.clip(mean_y - gain * mean_x, *_OFFSET)
    return np.clip(darker * gain[..., None] + offset[..., None], 0, 255)


def same_picture(
    left: Thumbs, right: Thumbs, max_mean: float, max_local: float
) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Verdict [P] and local difference [P] of pairs of thumbnails."""
    same, local = [np.empty(0, np.bool_)], [np.empty(0, np.float32)]
    for start in range(0, len(left), _PAIRS_AT_ONCE):
        pairs = slice(start, start + _PAIRS_AT_ONCE)
        found = difference(left[pairs], right[pairs])
        same.append(found.within(max_mean, max_local))
        local.append(found.local)
    return np.concatenate(same), np.concatenate(local)
