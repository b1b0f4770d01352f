"""A Pillow plug-in gone wrong: images of certain widths kill, hang or fill the process that reads
them. It is put in place inside the child process only, by the work that the tests hand over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from PIL import PngImagePlugin

from mmcore.clean.measure import Measure
from mmcore.clean.policy import PixelPolicy

CRASHES, SPINS, SLEEPS, EATS = 101, 102, 103, 104
"""Widths of PNGs with a palette that raise SIGSEGV, loop, wait for ever, or ask for memory without
end."""


def measure(rows: pa.Table, started: Callable[[], None]) -> tuple[pa.Table, pa.Table]:
    """As the stage measures, with the traps in place."""
    PngImagePlugin.PngImageFile.load = _load  # type: ignore[method-assign]
    return Measure(PixelPolicy())(rows, started)


_original = PngImagePlugin.PngImageFile.load


def _load(self: PngImagePlugin.PngImageFile) -> Any:
    if self.width == CRASHES:
        os.kill(os.getpid(), signal.SIGSEGV)
    while self.width == SPINS:
        pass
    while self.width == SLEEPS:
        time.sleep(1)
    while self.width == EATS:
        held = getattr(self, "held", [])
        self.held = [*held, bytearray(64 << 20)]  # type: ignore[attr-defined]
    return _original(self)
