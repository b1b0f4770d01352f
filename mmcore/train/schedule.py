"""The learning rate as a function of how much of the budget is used, from 0 to 1."""

from __future__ import annotations


def learning_rate_factor(progress: float, warmup: float, cooldown: float) -> float:
    """Share of the peak: linear rise over the first ``warmup`` of the budget, the peak, then a
    linear fall to zero over the last ``cooldown``.

    A function of the budget rather than of steps: a slow machine makes fewer steps but ends with
    the same small learning rate. Staying at the peak is what finds hard features (shapes) at all;
    a cosine of the same length learned the training pictures by heart instead.
    """
    progress = min(1.0, max(0.0, progress))
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return min(1.0, (1 - progress) / max(1e-9, cooldown))
