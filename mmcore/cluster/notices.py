"""How a member of a worker group learns that it must leave soon.

Three ways: SIGTERM to its process, Ray's notice that its node is to be taken away (on a cluster; an
embedded Ray has one node, its driver's), and the driver's bell (the driver itself was told to end).
Each only sets a flag; the work looks at it between steps.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

PREEMPTION_SWITCH = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
"""Ray's own switch, which its controller hands on to the workers."""

_BELL_SECONDS = 1.0
_PREEMPTION_SECONDS = 5.0

_LEAVE = threading.Event()  # of the process, as its signals are


def watch_notices(board: Any, group: str, rank: int) -> Callable[[], bool]:
    """Begin to watch, on every rank; the function tells whether this process must leave. Rank 0
    listens to the group's bell on the ``mmcore.cluster.board``."""
    import ray

    # Ray Train runs the work in a thread, and only an actor's main thread may catch signals.
    actor = ray.get_runtime_context().current_actor
    ray.get(actor.__ray_call__.remote(_catch_sigterm))
    watches: list[Callable[[], None]] = []
    if os.environ.get(PREEMPTION_SWITCH) != "0":
        watches.append(_watch_preemption)
    if rank == 0:
        watches.append(lambda: _watch_bell(board, group))
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


def _watch_bell(board: Any, group: str) -> None:
    import ray

    with contextlib.suppress(ray.exceptions.RayError):  # no bell, no driver: leave as well
        while not ray.get(board.rung.remote(group)):
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
