"""What must hold before a candidate becomes champion."""

import json

import dagster as dg

from mmcore.registry import decide
from pipelines.defs.training.assets import evaluation
from pipelines.resources import Workplace


@dg.asset_check(asset=evaluation, blocking=True)
def good_enough_to_promote(
    context: dg.AssetCheckExecutionContext, workplace: Workplace
) -> dg.AssetCheckResult:
    """The recipe's gate: better than blind on every task, not worse than the champion on any."""
    job = workplace.job(context)
    scores = json.loads(job.lake.dataset("evaluation", job.day).read_file("scores.json"))
    decision = decide(scores, job.recipe.gate)
    findings = "\n".join(
        f"- {'holds' if finding.passed else '**fails**'}: {finding.message}"
        for finding in decision.findings
    )
    return dg.AssetCheckResult(
        passed=decision.passed,
        description=" ".join(decision.reasons) or "Every condition of the gate holds.",
        metadata={"findings": dg.MetadataValue.md(findings)},
    )
