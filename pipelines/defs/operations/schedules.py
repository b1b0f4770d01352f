"""When the graph runs by itself."""

from __future__ import annotations

import dagster as dg

from pipelines.defs.partitions import daily

nightly_retraining_job = dg.define_asset_job(
    "nightly_retraining_job",
    selection=dg.AssetSelection.all(),
    partitions_def=daily,
    description="Crawl today's pages, retrain from the champion, promote if the evidence allows.",
)

nightly_retraining = dg.build_schedule_from_partitioned_job(
    nightly_retraining_job, name="nightly_retraining", hour_of_day=2
)
