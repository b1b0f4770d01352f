"""Memory that a training step frees and soon wants again."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt(3)
_KEPT, _LARGEST = 1 << 30, 1 << 25


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed instead of giving it back to the system after every step, which
    then has to hand out the same pages again, zeroed: a tenth of a small model's step on a CPU.

    For the whole process; returns whether that could be set (Linux with glibc only).
    """
    if sys.platform != "linux" or ctypes.util.find_library("c") is None:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # one arena: freed blocks of one thread serve the others, and none keeps a heap of its own
    settings = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, _KEPT))
    return all(mallopt(name, value) for name, value in settings)
