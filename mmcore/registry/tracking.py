"""A training followed in MLflow while it runs: curves, settings, pictures.

Everything goes through one thread, so that a slow server holds nobody up, and what has gathered in
the meantime is sent together. A server that fails is reported in a line and left alone: the
training goes on, and `register` makes a run for its candidate later.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmcore.cluster import Listener, Record, numbers, say
from mmcore.lake import Lake
from mmcore.registry.client import open_client
from mmcore.registry.evidence import loggable_params
from mmcore.registry.runs import DAY_TAG, DIGEST_TAG, experiment_id, unfinished_run
from mmcore.registry.settings import Location, RegistrySettings, locate

PICTURES = "progress"
"""Folder of a run's artifacts with the pictures of its predictions."""

_MOST_AT_ONCE = 100  # parameters; MLflow takes no more, and 1,000 metrics
_SECONDS_TO_FINISH = 60.0
_NO_CURVES = ("samples", "seconds")  # the axis, and a straight line


@contextlib.contextmanager
def tracked(
    settings: RegistrySettings,
    lake: Lake,
    model: str,
    day: str,
    run_name: str,
    inputs: Mapping[str, Any],
) -> Iterator[Listener]:
    """Follow a training as a run of the model's experiment for the length of the block.

    inputs: what decides the training, the run's parameters. Yields what takes the training's
    records; `{"candidate": digest}` makes the run that of a candidate, which `register` finds. The
    run ends as finished, failed, or killed where the block was interrupted.
    """
    location = locate(settings, lake)
    run = _Run(location, model, run_name, {DAY_TAG: day}, loggable_params(inputs))
    thread = threading.Thread(target=run.work, name="mlflow", daemon=True)
    thread.start()
    status = "KILLED"
    try:
        yield run.waiting.put
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        run.waiting.put({"status": status})
        thread.join(_SECONDS_TO_FINISH)
        if thread.is_alive():
            say("train", f"MLflow has not answered for {_SECONDS_TO_FINISH:.0f} s and is left.")


@dataclass
class _Run:
    """A run and the records that wait for it; one that holds `status` is the last."""

    location: Location
    model: str
    name: str
    tags: dict[str, str]
    params: dict[str, str]
    waiting: queue.SimpleQueue[Record] = field(default_factory=queue.SimpleQueue)

    def work(self) -> None:
        """Send records until the last; the thread's whole life."""
        try:
            self._follow()
        except Exception as error:  # MLflow, SQLAlchemy, HTTP: whatever a tracking server meets
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            say("train", f"progress is not in MLflow: {first}")

    def _follow(self) -> None:
        from mlflow.entities import Param, RunTag

        client = open_client(self.location)
        experiment = experiment_id(client, self.location, self.model)
        run = unfinished_run(client, experiment, self.name)
        if run is None:
            run = client.create_run(experiment, run_name=self.name, tags=self.tags)
        self._run_id, self._client = run.info.run_id, client
        # of a training that goes on some may have changed, such as the number of workers
        new = {key: value for key, value in self.params.items() if key not in run.data.params}
        params = [Param(key, value) for key, value in new.items()]
        for start in range(0, len(params), _MOST_AT_ONCE):
            client.log_batch(self._run_id, params=params[start : start + _MOST_AT_ONCE])
        while True:
            records = self._gathered()
            self._send_numbers(records)
            for record in records:
                if "predictions" in record:
                    self._send_picture(record)
                if "candidate" in record:
                    tag = RunTag(DIGEST_TAG, record["candidate"])
                    client.log_batch(self._run_id, tags=[tag])
                if "status" in record:
                    client.set_terminated(self._run_id, record["status"])
                    return

    def _gathered(self) -> list[Record]:
        """Wait for a record; it and those behind it."""
        records = [self.waiting.get()]
        with contextlib.suppress(queue.Empty):
            while True:
                records.append(self.waiting.get_nowait())
        return records

    def _send_numbers(self, records: list[Record]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(key, value, now, record["samples"])
            for record in records
            if "samples" in record
            for key, value in numbers(record).items()
            if key not in _NO_CURVES
        ]
        for start in range(0, len(metrics), 10 * _MOST_AT_ONCE):
            self._client.log_batch(
                self._run_id, metrics=metrics[start : start + 10 * _MOST_AT_ONCE]
            )

    def _send_picture(self, record: Record) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, f"predictions-{record['samples']:012d}.png")
            path.write_bytes(record["predictions"])
            self._client.log_artifact(self._run_id, str(path), PICTURES)
