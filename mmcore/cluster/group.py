"""A group of workers that compute together, by Ray Train: started, watched, started again.

What they compute is the caller's: a function of a `Member`. It keeps its own checkpoints, so that
a group that lost a worker, or was started anew on more or fewer of them, goes on from there.
"""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmcore.cluster.board import find_board, new_board
from mmcore.cluster.notices import watch_notices
from mmcore.cluster.progress import flush
from mmcore.errors import MmcoreError, UserError

LEAVE_SECONDS = 60.0
"""How long a driver that was told to end waits for its workers' last checkpoint."""


@dataclass(frozen=True)
class GroupSettings:
    """The size and the patience of a group.

    workers: fewest and most; Ray chooses by what is free and looks again every ``resize_seconds``.
    cpus: of each worker, may be a fraction. retries: times the group is started again after a
    failure. hang_seconds: a worker that calls ``alive`` less often is ended, which is a failure.
    storage: path or URI that every node reaches.
    """

    workers: tuple[int, int]
    cpus: float
    gpus: bool
    retries: int
    resize_seconds: float
    hang_seconds: float
    storage: str


@dataclass(frozen=True)
class Member:
    """One worker: who it is, and how it knows that it must leave.

    group: a name that the members of one group on one machine share, and no other group has.
    ``leaving()``: whether to leave soon. ``alive()``: to be called between steps.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    group: str
    device: str
    leaving: Callable[[], bool]
    alive: Callable[[], None]


def run_group(
    work: Callable[[Member], bool], settings: GroupSettings, lost: threading.Event
) -> bool:
    """Run ``work`` on a group, with torch.distributed between its members; rank 0's answer.

    Where this thread is interrupted (Ctrl-C, SIGTERM, a cancelled Dagster run) or ``lost`` is set,
    the members are told to leave and have ``LEAVE_SECONDS`` for it. MmcoreError where the group
    failed more often than ``retries``; a UserError that all members meet, or the first, is raised
    at once, as no other try would end better.
    """
    board, name = find_board() or new_board(), f"group-{uuid.uuid4().hex[:12]}"
    fit = _trainer(work, settings, board, name).fit
    outcome: dict[str, Any] = {}

    def body() -> None:
        try:
            outcome["result"] = fit()
        except BaseException as error:  # handed to the caller below
            outcome["error"] = error

    # Off the main thread: there Ray Train would take over Ctrl-C for good.
    thread = threading.Thread(target=body, name="ray-train", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(timeout=0.5)
            if lost.is_set():
                raise MmcoreError("Another process has taken this run over.")
    except BaseException:
        board.ring.remote(name)
        thread.join(timeout=LEAVE_SECONDS)
        raise
    finally:
        if not thread.is_alive():  # else the bell goes on ringing for whoever is slow to hear it
            board.forget.remote(name)
    if "error" in outcome:
        raise _readable(outcome["error"])
    answer: bool | UserError = outcome["result"].return_value
    if isinstance(answer, UserError):
        raise answer
    return answer


def _trainer(work: Callable[[Member], bool], settings: GroupSettings, board: Any, name: str) -> Any:
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    logging.getLogger("ray.train").setLevel(logging.ERROR)
    fewest, most = settings.workers
    # Ray's types of these two are those of its older API
    member: Any = _run_member
    scaling: Any = ray.train.ScalingConfig
    options = {"work": work, "board": board, "group": name, "hang_seconds": settings.hang_seconds}
    return TorchTrainer(
        member,
        train_loop_config=options,
        torch_config=TorchConfig(
            # numbers on the processor are summed too, on GPUs beside NCCL
            backend="cpu:gloo,cuda:nccl" if settings.gpus else "gloo",
            timeout_s=max(1, round(settings.hang_seconds)),
        ),
        scaling_config=scaling(
            num_workers=most if fewest == most else (fewest, most),
            use_gpu=settings.gpus,
            resources_per_worker={"CPU": settings.cpus, **({"GPU": 1.0} if settings.gpus else {})},
            elastic_resize_monitor_interval_s=settings.resize_seconds,
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=settings.storage,
            failure_config=ray.train.FailureConfig(max_failures=settings.retries),
        ),
    )


def _run_member(options: dict[str, Any]) -> bool | UserError:
    """The function that Ray Train calls on each worker.

    A UserError is its answer, because Ray would take one that is raised for a reason to start
    again.
    """
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    world, rank = context.get_world_size(), context.get_world_rank()
    member = Member(
        rank,
        world,
        context.get_local_rank(),
        context.get_local_world_size(),
        # alone, it may be told apart from a predecessor that is still ending
        options["group"] if world > 1 else f"{options['group']}-{uuid.uuid4().hex[:12]}",
        str(ray.train.torch.get_device()),
        watch_notices(options["board"], options["group"], rank),
        _Watchdog(options["hang_seconds"]),
    )
    try:
        answer: bool = options["work"](member)
        return answer
    except UserError as error:
        _part_from_others()
        return UserError(str(error))  # without the frames, which would keep alive what they hold
    finally:
        flush()  # Ray Train ends the process as soon as it sees that the work is done
        faulthandler.cancel_dump_traceback_later()


def _part_from_others() -> None:
    """Close the connections, so that a member without this error fails too instead of waiting."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


class _Watchdog:
    """Ends the process, with its stacks in Ray's log, if it is not called for so long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._armed = float("-inf")

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._armed >= min(1.0, self._seconds / 4):  # a timer a second, not one a step
            self._armed = now
            log: Any = sys.__stderr__
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=log)


def _readable(error: BaseException) -> BaseException:
    """The worker's own error where it is one that was written for a person."""
    seen: BaseException | None = error
    while seen is not None:
        for inner in (seen, *getattr(seen, "worker_failures", {}).values()):
            cause = getattr(inner, "cause", None) or getattr(inner, "_base_exc", None) or inner
            if isinstance(cause, MmcoreError):
                return type(cause)(str(cause))
        seen = seen.__cause__
    return MmcoreError(f"A group of workers failed: {error}")
