"""A training in Dagster's event log while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from mmcore.cluster import Listener, Record, numbers
from pipelines.defs.results import inline_picture
from pipelines.defs.training.pictures import compressed

_RECORDS_BETWEEN = 15  # a record comes every few seconds; an event a minute is plenty


class Observed:
    """Follows a training: observations of its asset, which the UI draws as curves and pictures.

    Every validation is one, so is the picture of predictions that is drawn after it, and of the
    records in between one in `_RECORDS_BETWEEN`.
    """

    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self._context = context

    @contextmanager
    def __call__(self, name: str, inputs: Mapping[str, Any]) -> Iterator[Listener]:
        passed = 0

        def listen(record: Record) -> None:
            nonlocal passed
            passed += "progress" in record
            if (
                "validation" in record
                or "predictions" in record
                or ("progress" in record and passed % _RECORDS_BETWEEN == 1)
            ):
                self._observe(record)

        yield listen

    def _observe(self, record: Record) -> None:
        context = self._context
        metadata: dict[str, Any] = {key: value for key, value in numbers(record).items()}
        if "predictions" in record:
            picture = compressed(record["predictions"])
            metadata["predictions"] = inline_picture("predictions", picture, "webp")
        context.log_event(
            dg.AssetObservation(
                context.asset_key,
                partition=context.partition_key if context.has_partition_key else None,
                metadata=metadata,
            )
        )
