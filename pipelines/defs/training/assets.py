"""From shards to a promoted model."""

import json
from dataclasses import replace
from datetime import timedelta

import dagster as dg

from mmcore import graph
from mmcore.graph import Job
from pipelines.defs.data.assets import crawled, deduplicated, shards, tokenizer
from pipelines.defs.partitions import daily
from pipelines.defs.results import Metadata, inline_picture, markdown, materialize
from pipelines.defs.training.following import Observed
from pipelines.defs.training.pictures import fitted, training_curves, validation_table
from pipelines.resources import Workplace

GROUP = "training"
PREDICTIONS = "predictions.png"


@dg.asset(
    group_name=GROUP,
    partitions_def=daily,
    deps=[shards, tokenizer],
    kinds={"ray", "pytorch"},
    pool="training",
)
def candidate(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """One fusion model for five tasks, trained with Ray Train, warm-started from the champion."""
    job = replace(workplace.job(context), followers=(Observed(context),))
    return materialize(graph.train, job, more=_training)


@dg.asset(
    group_name=GROUP,
    partitions_def=daily,
    deps=[crawled, deduplicated, shards, candidate],
    kinds={"ray"},
)
def evaluation(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Scores per task beside blind baselines and the champion; the report card."""
    return materialize(graph.evaluate, workplace.job(context))


@dg.asset(
    group_name=GROUP,
    partitions_def=daily,
    deps=[candidate, evaluation],
    kinds={"mlflow"},
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36)),
)
def champion(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """The registered model behind the alias `champion`."""
    return materialize(graph.promote, workplace.job(context))


def _training(job: Job) -> Metadata:
    """Curves, validations and the newest pictures of the day's candidate."""
    candidate = job.lake.dataset("candidate", job.day)
    training = json.loads(candidate.read_file("training.json"))
    metadata: Metadata = {"validations": dg.MetadataValue.md(markdown(validation_table(training)))}
    curves = training_curves(training)
    if curves:
        metadata["curves"] = inline_picture("curves", curves)
    if any(part.file == PREDICTIONS for part in candidate.parts):
        picture = fitted(candidate.read_file(PREDICTIONS))
        metadata["predictions"] = inline_picture("predictions", picture)
    return metadata
