"""How a member of a worker group learns that it must leave soon.

Three ways: SIGTERM to its process, Ray's notice that its node is to be taken away, and the driver's
bell (the driver itself was told to end). Each only sets a flag; the work looks at it between steps.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

_BELL_SECONDS = 0.5
_PREEMPTION_SECONDS = 5.0

_LEAVE = threading.Event()  # of the process, as its signals are


class Bell:
    """An actor that the driver rings and rank 0 listens to."""

    def __init__(self) -> None:
        self._rung = False

    def ring(self) -> None:
        """Ask the group to leave."""
        self._rung = True

    def rung(self) -> bool:
        """Whether it was rung."""
        return self._rung


def watch_notices(bell: Any, rank: int) -> Callable[[], bool]:
    """Begin to watch, on every rank; the function tells whether this process must leave."""
    import ray

    # Ray Train runs the work in a thread, and only an actor's main thread may catch signals.
    actor = ray.get_runtime_context().current_actor
    ray.get(actor.__ray_call__.remote(_catch_sigterm))
    watches = [_watch_preemption, *([lambda: _watch_bell(bell)] if rank == 0 else [])]
    for watch in watches:
        threading.Thread(target=watch, name="notices", daemon=True).start()
    return _LEAVE.is_set


def _catch_sigterm(actor: Any) -> None:
    """The first SIGTERM is a request, the second ends the process at once."""

    def caught(number: int, frame: Any) -> None:
        if _LEAVE.is_set():
            os._exit(128 + number)
        _LEAVE.set()

    signal.signal(signal.SIGTERM, caught)


def _watch_bell(bell: Any) -> None:
    import ray

    with contextlib.suppress(ray.exceptions.RayError):  # no bell, no driver: leave as well
        while not ray.get(bell.rung.remote()):
            time.sleep(_BELL_SECONDS)
    _LEAVE.set()


def _watch_preemption() -> None:
    """On every rank: Ray makes the ranks agree on the answer, so all of them must ask."""
    import ray
    import ray.train

    with contextlib.suppress(ray.exceptions.RayError):
        while ray.train.get_preemption_info() is None:
            time.sleep(_PREEMPTION_SECONDS)
        _LEAVE.set()
