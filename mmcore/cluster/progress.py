"""Progress a person can read: one short line every few seconds, on the driver's terminal.

Workers post lines to a named actor; a thread of the driver prints them, so that they reach the
terminal and Dagster's log alike without Ray's prefixes. Records (numbers, a small picture) travel
the same way to whoever listens to them in the driver.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmcore.cluster.board import NAME, Record, find_board, new_board

Listener = Callable[[Record], None]

_SECONDS_BETWEEN_LINES = 3.0
_listeners: list[tuple[str, Listener]] = []
_relaying = threading.Lock()  # records reach their listeners one after the other
_posted: list[Any] = []
_asked: dict[Any, Any] = {}  # boards that have not answered yet, and what they were asked


def say(stage: str, message: str) -> None:
    """Print one line of progress: `crawl     1,240 images …`."""
    print(f"  {stage:<12} {message}", file=sys.stderr, flush=True)


def post(stage: str, message: str) -> None:
    """Say a line from inside a Ray task; it appears on the driver's terminal."""
    board = find_board()
    if board is None:
        say(stage, message)
        return
    _keep(board.post.remote(stage, message))


def report(stage: str, record: Record) -> None:
    """Hand a record from inside a Ray task to the driver's listeners; nobody may be there."""
    board = find_board()
    if board is not None:
        _keep(board.post.remote(stage, record))


def flush(seconds: float = 10.0) -> None:
    """Wait until what this process has posted and reported is on the board: a process that ends
    takes what is still under way with it."""
    import ray

    if _posted:
        with contextlib.suppress(ray.exceptions.RayError):  # no board, no driver; or too slow
            ray.get(_posted[0], timeout=seconds)


def _keep(posted: Any) -> None:
    """Remember the last post of this process; the board takes them in their order."""
    _posted[:] = [posted]


@contextlib.contextmanager
def listening(stage: str, listener: Listener) -> Iterator[None]:
    """Hand the records that a stage reports during the block to a function of this process, one
    after the other, from a thread; one that raises is not called again."""
    catch_up()  # of work that nobody, or somebody else, listened to
    entry = (stage, listener)
    _listeners.append(entry)
    try:
        yield
    finally:
        catch_up()
        if entry in _listeners:
            _listeners.remove(entry)


def numbers(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of a record by their path, as curves are named: `losses/vqa`."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= numbers(value, f"{prefix}{name}/")
        elif isinstance(value, bool):  # a number to Python, but no curve
            continue
        elif isinstance(value, int | float) and math.isfinite(value):
            found[prefix + name] = float(value)
    return found


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


def catch_up() -> None:
    """Relay what was posted and not fetched yet: a block of work may have ended just now."""
    import ray

    board = find_board()
    if board is not None:
        with contextlib.suppress(ray.exceptions.RayError):
            _relay(board)


@contextlib.contextmanager
def relay_progress() -> Iterator[None]:
    """Print what workers post for the length of the block."""
    import ray

    board = new_board(NAME)
    stop = threading.Event()

    def _relay_until_stopped() -> None:
        while not stop.wait(1.0):
            _relay(board)

    thread = threading.Thread(target=_relay_until_stopped, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)
        with contextlib.suppress(ray.exceptions.RayError):
            _relay(board)
            ray.kill(board)


def _relay(board: Any) -> None:
    import ray

    with _relaying:
        asked = _asked.pop(board._actor_id, None) or board.drain.remote()
        try:
            drained = ray.get(asked, timeout=5)
        except ray.exceptions.GetTimeoutError:
            # a machine with every core at work answers late: the next round takes that answer
            _asked[board._actor_id] = asked
            return
        for stage, posted in drained:
            if isinstance(posted, str):
                say(stage, posted)
            else:
                _hand_over(stage, posted)


def _hand_over(stage: str, record: Record) -> None:
    for entry in [e for e in _listeners if e[0] == stage]:
        try:
            entry[1](record)
        except Exception as error:  # following the work must never stop it
            say(stage, f"progress is no longer followed: {error}")
            _listeners.remove(entry)
