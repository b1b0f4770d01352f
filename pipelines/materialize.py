"""Materialize the whole graph for one day in this process, as the UI's *Materialize all* would.

`python -m pipelines.materialize --day 2026-11-23`; used by `mmcore demo`. Needs DAGSTER_HOME, so
that the run shows in the UI. Exit code 1 where an asset or a blocking check failed.
"""

from __future__ import annotations

import argparse
import sys

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
        run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
    )


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--day", default=today(), help="UTC day, YYYY-MM-DD; default: today")
    arguments = parser.parse_args()
    with dg.DagsterInstance.get() as instance:
        return 0 if materialize(arguments.day, instance).success else 1


if __name__ == "__main__":
    sys.exit(main())
