"""One way to reach Ray: the cluster this process was submitted to, or an embedded one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mmcore.cluster.notices import PREEMPTION_SWITCH
from mmcore.cluster.progress import relay_progress
from mmcore.errors import UserError

_EMBEDDED = {
    # Usage statistics leave the machine; a laptop's run must not.
    "RAY_USAGE_STATS_ENABLED": "0",
    # A CPU-only run must not hide accelerators from its children either; silences a warning.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Nobody reads the metrics of an embedded Ray, and nobody takes its only machine away; each
    # process that is not there leaves its share of the cores to the work.
    "RAY_enable_metrics_collection": "0",
    PREEMPTION_SWITCH: "0",
}
"""Environment of an embedded Ray, where nothing else is set."""


class ClusterSettings(BaseModel):
    """How much of this machine the embedded Ray may use. A real cluster has its own limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: int | None = Field(None, ge=1, description="Logical CPUs; empty: all of this machine.")
    object_store_mb: int = Field(256, ge=80, description="Ray's shared memory.")


@contextlib.contextmanager
def connect(settings: ClusterSettings | None = None) -> Iterator[None]:
    """Have Ray for the length of the block.

    Already initialised: used as it is. `RAY_ADDRESS` set (always so inside a Ray job): that
    cluster. Else an embedded Ray that ends with the block.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    ours = {} if address else {k: v for k, v in _EMBEDDED.items() if k not in os.environ}
    with _environment(ours):
        handler = signal.getsignal(signal.SIGTERM)
        try:
            if address:
                ray.init(address=address, logging_level=logging.WARNING)
            else:
                _start_embedded(settings or ClusterSettings())
        except ConnectionError as error:
            raise UserError(
                f"No Ray cluster answers at RAY_ADDRESS={address}: start it, or unset RAY_ADDRESS "
                "to use an embedded one."
            ) from error
        try:
            _take_sigterm_back(handler)
            _quiet_ray_data()
            with relay_progress():
                yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set them for the length of the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _take_sigterm_back(handler: Any) -> None:
    """Let SIGTERM do what it did before Ray came, or end the process like Ctrl-C: an exception in
    the main thread. Ray's own handler prints stacks and aborts three seconds later."""
    if threading.current_thread() is not threading.main_thread():
        return  # only there may handlers be set, so Ray has set none either

    def ended(number: int, frame: Any) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, handler if callable(handler) else ended)


def _start_embedded(settings: ClusterSettings) -> None:
    import ray

    # Ray turns its token authentication on here, which is right, and need not warn about it.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    # Inherited by Ray's processes: by a runtime_env, those it has started ahead would be of no use.
    with _environment({"OMP_NUM_THREADS": "1"}):
        ray.init(
            address="local",
            num_cpus=settings.cpus or max(2, os.cpu_count() or 2),
            object_store_memory=settings.object_store_mb * 2**20,
            include_dashboard=False,
            # What workers have to say comes through `post`; their raw output is in Ray's log files.
            log_to_driver=False,
            logging_level=logging.WARNING,
        )


def _quiet_ray_data() -> None:
    """Leave the terminal to mmcore's own progress lines."""
    import ray.data  # configures its loggers, so it comes before they are quietened

    # Errors reach the caller as exceptions; Ray Data's own lines would say them a second time.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def available_cpus() -> float:
    """CPUs of the connected Ray."""
    import ray

    return float(ray.cluster_resources().get("CPU", 0))


def require_cpus(wanted: float, what: str) -> None:
    """Refuse what Ray could never schedule, instead of waiting for ever."""
    have = available_cpus()
    if wanted > have:
        raise UserError(
            f"{what} needs {wanted:g} CPUs but the Ray cluster has {have:g}: lower train.workers "
            "or give Ray more CPUs (cluster.cpus)."
        )
