"""From web pages to WebDataset shards."""

import dagster as dg

from mmcore import graph
from mmcore.graph import Job
from pipelines.defs.data.pictures import labeling_functions
from pipelines.defs.partitions import daily
from pipelines.defs.results import contact_sheet, materialize
from pipelines.resources import Workplace

GROUP = "data"


@dg.asset(group_name=GROUP, partitions_def=daily, kinds={"ray", "parquet"})
def crawled(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Pages and images of the recipe's sources, with the outcome of every URL."""
    return materialize(graph.crawl, workplace.job(context))


@dg.asset(group_name=GROUP, partitions_def=daily, deps=[crawled], kinds={"ray", "parquet"})
def cleaned(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Decoded, normalised and filtered images; repaired texts with personal data masked."""
    return materialize(graph.clean, workplace.job(context), picture=_normalized_sample)


@dg.asset(group_name=GROUP, partitions_def=daily, deps=[crawled, cleaned], kinds={"ray", "parquet"})
def deduplicated(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Clusters of near-duplicate images, across days, with their merged captions."""
    return materialize(graph.dedup, workplace.job(context))


@dg.asset(group_name=GROUP, deps=[deduplicated], kinds={"json"})
def tokenizer(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Byte-level BPE tokenizer; a version stays until its settings change."""
    return materialize(graph.tokenizer, workplace.job(context))


@dg.asset(
    group_name=GROUP,
    partitions_def=daily,
    deps=[deduplicated, tokenizer],
    kinds={"ray", "parquet"},
)
def tokenized(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Captions as token ids, with how specific each is."""
    return materialize(graph.tokenize, workplace.job(context))


@dg.asset(
    group_name=GROUP,
    partitions_def=daily,
    deps=[cleaned, deduplicated, tokenized],
    kinds={"ray", "parquet"},
)
def pairs(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Weak labels for the five tasks, each with a confidence and its source."""
    return materialize(graph.pairs, workplace.job(context), picture=_labeling_functions)


@dg.asset(
    group_name=GROUP,
    partitions_def=daily,
    deps=[crawled, cleaned, tokenized, pairs],
    kinds={"ray", "tar"},
)
def shards(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """WebDataset tars in train, val and test splits that no near-duplicate crosses."""
    return materialize(graph.shards, workplace.job(context))


def _labeling_functions(job: Job) -> bytes | None:
    """How much each labeling function covers, and how often it is contradicted or right."""
    return labeling_functions(job.lake.dataset("pairs", job.day).metadata["labeling_functions"])


def _normalized_sample(job: Job) -> bytes | None:
    """The first normalised images of the day as one picture."""
    dataset = job.lake.dataset("normalized", job.day)
    images = dataset.read_part(0, ["image"])["image"].slice(0, 24).to_pylist()
    return contact_sheet(images)
