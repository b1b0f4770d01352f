"""What an evaluation says, as data: the content of `scores.json` and `examples.parquet`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmcore.evaluate.examples import ExampleSet, kind_of_task
from mmcore.evaluate.predictions import Predictions
from mmcore.evaluate.provenance import summarize_sources
from mmcore.evaluate.summary import plain_scores, summarize
from mmcore.evaluate.task_scores import TaskScores

EXAMPLE_COLUMNS = pa.schema(
    [
        ("task", pa.string()),
        ("sha256", pa.string()),
        ("cluster", pa.string()),
        ("metric", pa.string()),
        ("model", pa.float64()),
        ("baseline", pa.float64()),
        ("champion", pa.float64()),
        ("query", pa.string()),
        ("truth", pa.string()),
        ("output", pa.string()),
        ("confidence", pa.float64()),
    ]
)


@dataclass(frozen=True)
class ScoredModel:
    """One model: its identity, what it said and its scores."""

    label: str
    digest: str
    predictions: Predictions
    tasks: Mapping[str, TaskScores]


def collect_scores(
    examples: ExampleSet,
    model: ScoredModel,
    champion: ScoredModel | None,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """The scores of a model beside its blind baselines and the champion, JSON-able."""
    rivals = champion.tasks if champion else {}
    return {
        "split": examples.split,
        "images": len(examples.examples),
        "examples": {task: len(scored.rows) for task, scored in model.tasks.items()},
        "model": {"label": model.label, "digest": model.digest},
        "champion": {"digest": champion.digest} if champion else None,
        "scores": plain_scores(model.tasks),
        "tasks": {
            task: summarize(
                scored,
                rivals.get(task),
                labels=kind_of_task(examples, task),
                replicates=replicates,
                seed=seed,
            )
            for task, scored in model.tasks.items()
        },
        "sources": summarize_sources(examples.sources),
    }


def examples_parquet(tasks: Mapping[str, TaskScores], champion: Mapping[str, TaskScores]) -> bytes:
    """One row per example and task, with the champion's score where there is a champion."""
    rows = []
    for task, scored in tasks.items():
        rivals = champion[task].rows if task in champion else (None,) * len(scored.rows)
        for row, rival in zip(scored.rows, rivals, strict=True):
            example = scored.examples[row.image]
            rows.append(
                {
                    "task": task,
                    "sha256": example.sha256,
                    "cluster": example.cluster,
                    "metric": row.metric,
                    "model": row.model,
                    "baseline": row.baseline,
                    "champion": rival.model if rival else None,
                    "query": row.query,
                    "truth": row.truth,
                    "output": row.output,
                    "confidence": row.confidence,
                }
            )
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=EXAMPLE_COLUMNS), sink, compression="zstd")
    return sink.getvalue()
