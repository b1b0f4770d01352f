"""The learning rate as a function of how much of the budget is used, from 0 to 1."""

from __future__ import annotations

import math


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Share of the peak: linear over the first ``warmup`` of the budget, then a cosine to zero.

    A function of the budget rather than of steps: a slow machine makes fewer steps but ends with
    the same small learning rate.
    """
    progress = min(1.0, max(0.0, progress))
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(1e-9, 1 - warmup)))
