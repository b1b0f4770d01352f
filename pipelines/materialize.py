"""Materialize the whole graph for one day in this process, as the UI's *Materialize all* would.

`python -m pipelines.materialize --day 2026-11-23`; used by `mmcore demo`. Needs DAGSTER_HOME, so
that the run shows in the UI. Exit code 1 where an asset or a blocking check failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import dagster as dg

from mmcore.graph import today


def materialize(day: str, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Run the nightly job for a day; errors are in the result and in the instance's event log."""
    from pipelines.definitions import defs

    return defs.resolve_job_def("nightly_retraining_job").execute_in_process(
        instance=instance,
        partition_key=day,
        raise_on_error=False,
        # mmcore's own progress lines tell a person enough; the UI has every event.
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """Why a run failed: each failed check with its reasons, each failed asset with its error."""
    checks = {
        step: f"{check.check_name} refused {check.asset_key.to_user_string()}: {check.description}"
        for event in result.all_events
        if event.event_type_value == "ASSET_CHECK_EVALUATION"
        for step, check in [(event.step_key, event.asset_check_evaluation_data)]
        if not check.passed
    }
    steps = {
        event.step_key: f"{event.step_key} failed: {_root_cause(event.step_failure_data.error)}"
        for event in result.all_events
        if event.event_type_value == "STEP_FAILURE" and event.step_key not in checks
    }
    return [*checks.values(), *steps.values()]


def _root_cause(error: Any) -> str:
    while error.cause is not None:
        error = error.cause
    return str(error.message).strip()


def settle(home: Path) -> None:
    """Give a new DAGSTER_HOME the project's instance settings; an existing one keeps its own."""
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copy(Path(__file__).with_name("dagster.yaml"), home)


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--day", default=today(), help="UTC day, YYYY-MM-DD; default: today")
    arguments = parser.parse_args()
    settle(Path(os.environ.setdefault("DAGSTER_HOME", str(Path("var/dagster").absolute()))))
    with dg.DagsterInstance.get() as instance:
        result = materialize(arguments.day, instance)
    for line in failures(result):
        print(f"mmcore: {line}", file=sys.stderr)
    return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main())
