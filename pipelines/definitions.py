"""Everything Dagster knows of mmcore."""

from __future__ import annotations

import dagster as dg

from pipelines.defs.data import assets as data
from pipelines.defs.data import checks as data_checks
from pipelines.defs.operations.schedules import nightly_retraining, nightly_retraining_job
from pipelines.defs.training import assets as training
from pipelines.defs.training import checks
from pipelines.resources import Workplace

defs = dg.Definitions(
    assets=[
        *dg.load_assets_from_modules([data]),
        training.candidate,
        training.evaluation,
        training.champion,
    ],
    asset_checks=dg.load_asset_checks_from_modules([data_checks, checks]),
    jobs=[nightly_retraining_job],
    schedules=[nightly_retraining],
    resources={"workplace": Workplace()},
    # One process a run, so that one embedded Ray serves all its assets.
    executor=dg.in_process_executor,
)
