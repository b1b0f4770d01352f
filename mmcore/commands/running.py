"""Commands that run the graph: demo, init, run."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from mmcore.commands.options import json_option, recipe_option, root_option
from mmcore.errors import UserError
from mmcore.printing import print_json, summary


@click.command()
@click.option("--root", envvar="MMCORE_ROOT", default="var/demo", show_default=True)
@click.option("--images", default=2000, show_default=True, help="Distinct images of the site.")
@click.option("--day", default=None, help="UTC day to run for; default: today.")
def demo(root: str, images: int, day: str | None) -> None:
    """Crawl the generated site, train, evaluate and promote: the whole graph, through Dagster."""
    from mmcore.demo import run_demo
    from mmcore.graph import check_day, today

    sys.exit(run_demo(Path(root), images, check_day(day or today())))


@click.command()
@click.argument("file", default="recipe.yaml")
@click.option("--name", default="my-model", show_default=True, help="Name in the registry.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def init(file: str, name: str, force: bool) -> None:
    """Write a commented recipe to start from."""
    from mmcore.recipe import commented_recipe

    path = Path(file)
    if path.exists() and not force:
        raise UserError(f"{path} is there already: choose another name or pass --force.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(commented_recipe(file, name), encoding="utf-8")
    click.echo(f"Wrote {path}: fill in sources, then run `mmcore run all --recipe {path}`.")


@click.command()
@click.argument("stage")
@recipe_option
@root_option
@click.option("--day", default=None, help="UTC day, YYYY-MM-DD; default: today.")
@click.option("--from-scratch", is_flag=True, help="Do not warm-start from the champion.")
@click.option("--retry-failed", is_flag=True, help="Crawl only what failed in the day's crawl.")
@json_option
def run(
    stage: str,
    recipe_file: str,
    root: str,
    day: str | None,
    from_scratch: bool,
    retry_failed: bool,
    as_json: bool,
) -> None:
    """Run one STAGE, or `all` of them, for a day.

    Stages: crawl, clean, dedup, tokenizer, tokenize, pairs, shards, train, evaluate, promote.
    """
    from mmcore import graph
    from mmcore.cluster import connect
    from mmcore.lake import Lake
    from mmcore.recipe import load_recipe

    if stage != "all":
        graph.check_stage(stage)
    job = graph.Job(
        recipe=load_recipe(recipe_file),
        lake=Lake(root),
        day=graph.check_day(day or graph.today()),
        retrain_from_scratch=from_scratch,
        retry_failed=retry_failed,
    )
    results = []
    with connect(job.recipe.cluster):
        for name in graph.STAGES if stage == "all" else [stage]:
            start = time.monotonic()
            dataset = graph.run_stage(name, job)
            seconds = time.monotonic() - start
            results.append(summary(dataset) | {"stage": name, "seconds": round(seconds, 2)})
            click.echo(
                f"{name:<10} {dataset.label}  {dataset.rows:,} rows  {seconds:.1f} s", err=True
            )
    if as_json:
        print_json(results)
