"""From shards to a promoted model."""

from datetime import timedelta

import dagster as dg

from mmcore import graph
from pipelines.defs.data.assets import crawled, deduplicated, shards, tokenizer
from pipelines.defs.partitions import daily
from pipelines.defs.results import materialize
from pipelines.resources import Workplace

GROUP = "training"


@dg.asset(
    group_name=GROUP,
    partitions_def=daily,
    deps=[shards, tokenizer],
    kinds={"ray", "pytorch"},
    pool="training",
)
def candidate(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """One fusion model for five tasks, trained with Ray Train, warm-started from the champion."""
    return materialize(graph.train, workplace.job(context))


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
