"""Progress a person can read: one short line every few seconds, on the driver's terminal.

Workers post lines to a named actor; a thread of the driver prints them, so that they reach the
terminal and Dagster's log alike without Ray's prefixes.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

_ACTOR = "mmcore-progress"
_SECONDS_BETWEEN_LINES = 3.0


def say(stage: str, message: str) -> None:
    """Print one line of progress: `crawl     1,240 images …`."""
    print(f"  {stage:<12} {message}", file=sys.stderr, flush=True)


def post(stage: str, message: str) -> None:
    """Say a line from inside a Ray task; it appears on the driver's terminal."""
    import ray

    try:
        board = ray.get_actor(_ACTOR)
    except ValueError:  # no driver relays: a test, or a driver of another kind
        say(stage, message)
        return
    board.post.remote(stage, message)


class Progress:
    """Counts units of work and says a line now and then. Not for use across threads."""

    def __init__(self, stage: str, total: int | None, unit: str) -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self.done = 0
        self._start = self._last = time.monotonic()

    def update(self, count: int, note: str = "") -> None:
        """Add `count` units; says a line if the last is some seconds old."""
        self.done += count
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            say(self.stage, self._line(now, note))

    def _line(self, now: float, note: str) -> str:
        rate = self.done / max(now - self._start, 1e-9)
        of = f"/{self.total:,}" if self.total else ""
        left = (self.total - self.done) / rate if self.total and rate else None
        eta = f", {left:.0f} s left" if left else ""
        return f"{self.done:,}{of} {self.unit}, {rate:,.0f}/s{eta}{', ' + note if note else ''}"

    def finish(self) -> None:
        now = time.monotonic()
        say(self.stage, f"{self.done:,} {self.unit} in {now - self._start:.1f} s")


@contextlib.contextmanager
def progress(stage: str, total: int | None, unit: str) -> Iterator[Progress]:
    """Progress of a block of work; a closing line says how much was done in what time."""
    bar = Progress(stage, total, unit)
    yield bar
    bar.finish()


class _Board:
    """The actor that holds lines until the driver fetches them."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []

    def post(self, stage: str, message: str) -> None:
        self._lines.append((stage, message))

    def drain(self) -> list[tuple[str, str]]:
        lines, self._lines = self._lines, []
        return lines


@contextlib.contextmanager
def relay_progress() -> Iterator[None]:
    """Print what workers post for the length of the block."""
    import ray

    # No CPU and no detached lifetime: it must not take a core from the work or outlive the driver.
    board: Any = ray.remote(num_cpus=0)(_Board).options(name=_ACTOR, get_if_exists=True).remote()
    stop = threading.Event()

    def _print_until_stopped() -> None:
        while not stop.wait(1.0):
            _print_lines(board)

    thread = threading.Thread(target=_print_until_stopped, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)
        with contextlib.suppress(ray.exceptions.RayError):
            _print_lines(board)
            ray.kill(board)


def _print_lines(board: Any) -> None:
    import ray

    # A machine with every core at work may answer late; the lines wait for the next round.
    with contextlib.suppress(ray.exceptions.GetTimeoutError):
        for stage, message in ray.get(board.drain.remote(), timeout=5):
            say(stage, message)
