"""What every asset needs: the recipe, the lake and a connected Ray."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from mmcore.cluster import connect
from mmcore.demo import ensure_demo_recipe
from mmcore.graph import Job, today
from mmcore.lake import Lake
from mmcore.recipe import Recipe, load_recipe

DEFAULT_ROOT = "var/demo"


class Workplace(dg.ConfigurableResource):
    """The recipe and the lake's root; starts (or joins) Ray for the length of a run."""

    recipe_file: str = ""
    """Path of the recipe; empty: MMCORE_RECIPE, else the demo's, written on first use."""
    root: str = ""
    """Local path or s3:// URI of the lake; empty: MMCORE_ROOT, else var/demo."""

    _recipe: Recipe | None = PrivateAttr(None)

    @contextmanager
    def yield_for_execution(
        self, context: dg.InitResourceContext
    ) -> Generator["Workplace", None, None]:
        """One Ray per run: with the in-process executor all assets of a run share it."""
        with connect(self.recipe.cluster):
            yield self

    @property
    def recipe(self) -> Recipe:
        """The checked recipe."""
        if self._recipe is None:
            named = self.recipe_file or os.environ.get("MMCORE_RECIPE")
            self._recipe = load_recipe(named or ensure_demo_recipe(Path(self.lake.root)))
        return self._recipe

    @property
    def lake(self) -> Lake:
        # Read when a run starts, not when the definitions are imported.
        return Lake(self.root or os.environ.get("MMCORE_ROOT") or DEFAULT_ROOT)

    def job(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Job:
        """The job of this run: its partition is the day."""
        day = context.run.tags.get("dagster/partition") or self._newest_day()
        return Job(self.recipe, self.lake, day)

    def _newest_day(self) -> str:
        """For an unpartitioned asset materialized alone: the newest day there is data for."""
        return (self.lake.partitions("deduplicated") or [today()])[-1]
