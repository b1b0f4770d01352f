"""The one actor between a driver and its workers: what they report, and when they must leave.

One actor for both, because a process of Ray costs two thirds of a percent of a core even while it
has nothing to do.
"""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]

NAME = "mmcore-board"


class Board:
    """Holds lines and records until the driver fetches them, and the bells that it has rung."""

    def __init__(self) -> None:
        self._posted: list[tuple[str, str | Record]] = []
        self._rung: set[str] = set()

    def post(self, stage: str, posted: str | Record) -> None:
        """Keep a line or a record for the driver."""
        self._posted.append((stage, posted))

    def drain(self) -> list[tuple[str, str | Record]]:
        """What was posted since the last call, in order."""
        posted, self._posted = self._posted, []
        return posted

    def ring(self, group: str) -> None:
        """Ask a group of workers to leave."""
        self._rung.add(group)

    def rung(self, group: str) -> bool:
        """Whether the group was asked to leave."""
        return group in self._rung

    def forget(self, group: str) -> None:
        """The group has ended."""
        self._rung.discard(group)


def find_board() -> Any:
    """The actor, or None where no driver relays: a test, or a driver of another kind."""
    import ray

    if not ray.is_initialized():
        return None
    try:
        return ray.get_actor(NAME)
    except ValueError:
        return None


def new_board(name: str | None = None) -> Any:
    """Start one, or find the one of this name. It takes no CPU from the work, and does not outlive
    the driver."""
    import ray

    actor: Any = ray.remote(num_cpus=0)(Board)
    return actor.options(name=name, get_if_exists=name is not None).remote()
