"""The learning rate as a function of how much of the budget is used, from 0 to 1."""

from __future__ import annotations

import math

_FLOOR = 0.01  # of the peak, at the first step of a warm-up


def learning_rate_factor(
    progress: float, warmup: float, cooldown: float, schedule: str = "trapezoid"
) -> float:
    """Share of the peak: linear rise over the first ``warmup`` of the budget, then ``trapezoid``
    (the peak, and a linear fall to zero over the last ``cooldown``; arXiv:2405.18392) or
    ``cosine`` (half a cosine to zero over all that is left; arXiv:1608.03983).

    A function of the budget rather than of steps: a slow machine makes fewer steps but ends with
    the same small learning rate. Staying at the peak is what finds hard features (shapes) at all;
    a cosine of the same length learned the training pictures by heart instead.
    """
    progress = min(1.0, max(0.0, progress))
    rise = max(progress / warmup, _FLOOR) if progress < warmup else 1.0
    if schedule == "cosine":
        used = max(0.0, progress - warmup) / max(1e-9, 1 - warmup)
        return rise * (1 + math.cos(math.pi * used)) / 2
    return min(rise, (1 - progress) / max(1e-9, cooldown))
