"""`mmcore takedown`, all of it: the list, the shards that are written, the models that remain."""

from __future__ import annotations

from dataclasses import dataclass

from mmcore.dedup.stage_takedown import TakenDown, take_down
from mmcore.descent import SeenBy, models_with
from mmcore.lake import Lake
from mmcore.shards.stage_takedown import Rewritten, delete_superseded, rewrite_shards


@dataclass(frozen=True)
class Withdrawal:
    """listed: what is on the takedown list now; rewritten: days whose shards held some of it;
    models: candidates that have seen it, by this and earlier takedowns of the same target."""

    listed: TakenDown
    rewritten: list[Rewritten]
    models: list[SeenBy]


def withdraw(lake: Lake, target: str, reason: str, day: str) -> Withdrawal:
    """List a target, take it and its near-duplicates out of every day's shards, and name the models
    that were trained on them. Only the current version of each day's shards keeps its files. Safe
    to repeat, also after a kill: what is out stays out, the models are named again.
    """
    listed = take_down(lake, target, reason, day)
    days = lake.partitions("shards")
    rewritten = [done for done in (rewrite_shards(lake, d) for d in days) if done is not None]
    for partition in days:
        delete_superseded(lake, partition)
    held = {d: _was_in(lake, d, set(listed.images)) for d in days}
    models = models_with(lake, {d: images for d, images in held.items() if images})
    return Withdrawal(listed, rewritten, models)


def _was_in(lake: Lake, day: str, images: set[str]) -> dict[str, str]:
    taken = lake.dataset("shards", day).metadata.get("taken_down", {})
    return {sha256: was["split"] for sha256, was in taken.items() if sha256 in images}
