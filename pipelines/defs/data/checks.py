"""What must hold before anything is trained on the shards."""

import dagster as dg

from mmcore import graph
from pipelines.defs.data.assets import shards
from pipelines.resources import Workplace

_SHOWN = 20


@dg.asset_check(asset=shards, blocking=True)
def no_leakage_between_splits(
    context: dg.AssetCheckExecutionContext, workplace: Workplace
) -> dg.AssetCheckResult:
    """No image, cluster or near-duplicate of one split is in another, over all days.

    Pairs that only the champion takes for one image count where the recipe sets `dedup.semantic`.
    """
    job = workplace.job(context)
    found = graph.leakage(job)
    strict = job.recipe.dedup.semantic is not None
    leaks = found.leaks + (found.meaning if strict else [])
    lines = [f"- {x.by}: {x.first} ({x.splits[0]}), {x.second} ({x.splits[1]})" for x in leaks]
    return dg.AssetCheckResult(
        passed=not leaks,
        description=f"{len(leaks)} pairs of images stand in two splits."
        if leaks
        else "The splits share no image, cluster or near-duplicate.",
        metadata={
            "samples": dg.MetadataValue.json(found.samples),
            "leaks": dg.MetadataValue.md("\n".join(lines[:_SHOWN]) or "none"),
            "near_by_hash_only": found.hash_only,
            "near_by_embedding": len(found.meaning),
            "embedded": found.embedded,
        },
    )
