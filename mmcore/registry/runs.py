"""Runs: one for each training, which a registered version then points to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcore.errors import MmcoreError
from mmcore.registry.settings import Location

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DIGEST_TAG = "mmcore.candidate"
DAY_TAG = "mmcore.day"


def experiment_id(client: MlflowClient, location: Location, name: str) -> str:
    """The experiment that holds the runs of a model; made where there is none."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    artifacts = f"{location.artifact_location}/{name}" if location.artifact_location else None
    try:
        client.create_experiment(name, artifact_location=artifacts)
    except MlflowException as error:
        # Another process may have made it in between.
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise MmcoreError(f"The registry cannot keep runs of {name}: {error}") from error
    found = client.get_experiment_by_name(name)
    if found is None:
        raise MmcoreError(f"The registry made no experiment {name}.")
    return found.experiment_id


def unfinished_run(client: MlflowClient, experiment: str, name: str) -> Run | None:
    """The run of a training that was broken off, set to running again; None where there is none."""
    runs = client.search_runs(
        [experiment],
        filter_string=f"attributes.run_name = '{name}' AND attributes.status != 'FINISHED'",
        max_results=1,
    )
    if not runs:
        return None
    client.update_run(runs[0].info.run_id, status="RUNNING")
    return runs[0]


def run_of_candidate(client: MlflowClient, experiment: str, digest: str) -> str:
    """The run of a candidate: that of its training, or one that a broken attempt left behind."""
    runs = client.search_runs(
        [experiment], filter_string=f"tags.`{DIGEST_TAG}` = '{digest}'", max_results=1
    )
    if runs:
        return runs[0].info.run_id
    run = client.create_run(experiment, tags={DIGEST_TAG: digest}, run_name=digest[:12])
    return run.info.run_id
