"""`mmcore …`: the command line. Errors are one sentence; exit code 2 is the user's, 1 a failure."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mmcore import __version__
from mmcore.errors import MmcoreError, UserError
from mmcore.printing import funnel_lines, print_json, summary, tree_lines

DEFAULT_ROOT = "var/lake"

root_option = click.option(
    "--root",
    envvar="MMCORE_ROOT",
    default=DEFAULT_ROOT,
    show_default=True,
    help="Where datasets and models live: a local path or s3://bucket/prefix.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
recipe_option = click.option(
    "--recipe",
    "recipe_file",
    envvar="MMCORE_RECIPE",
    default="recipe.yaml",
    show_default=True,
    help="The recipe.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mmcore")
def cli() -> None:
    """One graph from a web page to a promoted image-text model."""


@cli.command()
@click.option("--root", envvar="MMCORE_ROOT", default="var/demo", show_default=True)
@click.option("--images", default=2000, show_default=True, help="Distinct images of the site.")
@click.option("--day", default=None, help="UTC day to run for; default: today.")
def demo(root: str, images: int, day: str | None) -> None:
    """Crawl the generated site, train, evaluate and promote: the whole graph, through Dagster."""
    from mmcore.demo import run_demo
    from mmcore.graph import check_day, today

    sys.exit(run_demo(Path(root), images, check_day(day or today())))


@cli.command()
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


@cli.command()
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


@cli.command()
@click.argument("target")
@click.option("--reason", default="requested", show_default=True, help="Kept on the list.")
@click.option("--day", default=None, help="UTC day of the request; default: today.")
@root_option
@json_option
def takedown(target: str, reason: str, day: str | None, root: str, as_json: bool) -> None:
    """Take TARGET (a URL of an image or page, or a sha256) and its copies out of all shards and of
    later runs, and list the models that were trained on them."""
    from mmcore.graph import check_day, today
    from mmcore.lake import Lake
    from mmcore.withdrawal import withdraw

    done = withdraw(Lake(root), target, reason, check_day(day or today()))
    listed = done.listed
    if as_json:
        found: dict[str, Any] = {
            "images": listed.images,
            "clusters": listed.clusters,
            "kept_on": listed.kept_on,
        }
        rewritten = {
            r.dataset.label: {"removed": r.removed, "files": r.files} for r in done.rewritten
        }
        found |= {"rewritten": rewritten, "models": [asdict(model) for model in done.models]}
        print_json({"target": target, **found} | summary(listed.dataset))
        return
    if not listed.clusters:
        click.echo(f"Listed {target}: no day of {root} has kept it; held back when it comes.")
        return
    click.echo(f"Listed {target}: {len(listed.images)} images of {len(listed.clusters)} clusters.")
    for one in done.rewritten:
        files = ", ".join(one.files)
        click.echo(f"  {one.dataset.label}: {len(one.removed)} samples removed from {files}.")
    for model in done.models:
        click.echo(f"  {_model_line(model)}")
    for kept in listed.kept_on:
        click.echo(f"  deduplicated@{kept} keeps one: run dedup and all after it again for {kept}.")


def _model_line(model: Any) -> str:
    """One line about a model that has seen something."""
    splits = ", ".join(sorted(set(model.images.values())))
    start = f", by its start from {model.started_from[:12]}" if model.started_from else ""
    return f"{model.candidate} {model.digest[:12]} has seen it ({splits}{start})"


@cli.command()
@click.argument("target")
@root_option
@json_option
def trace(target: str, root: str, as_json: bool) -> None:
    """Follow TARGET (a sha256, its first digits, a sample's key, or a URL) from page to model."""
    from mmcore.lake import Lake
    from mmcore.trace import find_images, trace

    lake = Lake(root)
    found = [asdict(one) for one in trace(lake, find_images(lake, target))]
    if as_json:
        print_json(found)
        return
    for one in found:
        click.echo(f"\nimage {one.pop('sha256')}")
        for name, rows in one.items():
            click.echo(f"{name}{'' if rows else '  none'}")
            for row in rows:
                for line in tree_lines(row, "  "):
                    click.echo(line)


@cli.command()
@click.argument("labeler")
@click.option("--reason", default="requested", show_default=True, help="Kept on the list.")
@click.option("--day", default=None, help="UTC day of the request; default: today.")
@root_option
@json_option
def retract(labeler: str, reason: str, day: str | None, root: str, as_json: bool) -> None:
    """Leave the labels of LABELER out of later runs: a labeling function or a model version.

    keyword, tag/keyword (of one task only) or shop@3, as the `source` of a label names it.
    """
    from mmcore.descent import models_with
    from mmcore.graph import check_day, today
    from mmcore.lake import Lake
    from mmcore.weak.stage_retract import retract as put_on_list

    lake = Lake(root)
    done = put_on_list(lake, labeler, reason, check_day(day or today()))
    models = models_with(lake, {made: {labeler: "train"} for made in done.days})
    if as_json:
        told: dict[str, Any] = {"labeler": labeler, "labels": done.days}
        told["models"] = [{"candidate": m.candidate, "digest": m.digest} for m in models]
        print_json(told | summary(done.dataset))
        return
    click.echo(f"Retracted {labeler}: its labels are left out from now on.")
    if not done.days:
        click.echo(f"  No label is by that name; there are {', '.join(done.labelers) or 'none'}.")
    for made, number in done.days.items():
        click.echo(f"  pairs@{made} has {number:,}: run pairs and all after it again for {made}.")
    for model in models:
        click.echo(f"  {model.candidate} {model.digest[:12]} was trained on a day that has them.")


@cli.command()
@root_option
@json_option
def datasets(root: str, as_json: bool) -> None:
    """List every committed dataset."""
    from mmcore.lake import Lake

    found = [summary(dataset) for dataset in Lake(root).datasets()]
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo(f"No datasets in {root} yet: `mmcore demo` or `mmcore run all` makes some.")
    for row in found:
        size = row["bytes"] / 1e6
        click.echo(
            f"{row['dataset']:<28} {row['rows']:>9,} rows {size:>10,.1f} MB  {row['digest'][:12]}"
        )


@cli.command()
@click.argument("name")
@root_option
@json_option
def show(name: str, root: str, as_json: bool) -> None:
    """Counts, funnel, digest and parents of NAME@DAY."""
    dataset = _dataset(name, root)
    manifest = dataset.manifest
    if as_json:
        print_json(
            summary(dataset)
            | manifest.model_dump(
                include={"columns", "parents", "config", "code_version", "created_at", "metadata"}
            )
        )
        return
    click.echo(
        f"{dataset.label}  {manifest.rows:,} rows, {manifest.bytes / 1e6:,.1f} MB, "
        f"{len(manifest.parts)} parts"
    )
    click.echo(f"digest   {manifest.digest}")
    click.echo(f"made     {manifest.created_at} by mmcore {manifest.code_version}")
    for parent in manifest.parents:
        click.echo(f"parent   {parent.label}  {parent.digest[:12]}")
    for key, value in manifest.metadata.items():
        click.echo(f"\n{key}")
        for line in funnel_lines(value) if key == "funnel" else tree_lines(value):
            click.echo(f"  {line}")


@cli.command()
@click.argument("name")
@root_option
@json_option
def path(name: str, root: str, as_json: bool) -> None:
    """The files of NAME@DAY: Parquet, tars, or a model's."""
    paths = _dataset(name, root).paths()
    if as_json:
        print_json(paths)
        return
    for file in paths:
        click.echo(file)


@cli.command()
@recipe_option
@root_option
@json_option
def models(recipe_file: str, root: str, as_json: bool) -> None:
    """List registered models, their aliases and scores."""
    from mmcore import registry
    from mmcore.lake import Lake

    found = registry.list_models(_registry_settings(recipe_file), Lake(root))
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo(f"No models in {root} yet: `mmcore run all` makes one.")
    for model in found:
        aliases = ", ".join(model["aliases"]) or "-"
        scores = "  ".join(f"{key} {value:.3f}" for key, value in model["scores"].items())
        click.echo(f"{model['name']} v{model['version']}  {aliases:<22} {scores}")


@cli.command()
@click.argument("model")
@click.option("--on", "data", required=True, help="Folder with annotations.jsonl, or shards.")
@click.option("--split", default=None, help="Split to score; default: test, else val, else all.")
@recipe_option
@root_option
@json_option
def evaluate(
    model: str, data: str, split: str | None, recipe_file: str, root: str, as_json: bool
) -> None:
    """Score MODEL (alias, version or folder) on labelled data of your own."""
    from mmcore.evaluate.external import evaluate_path
    from mmcore.models import load_model

    folder = _model_folder(model, recipe_file, root)
    scores = evaluate_path(load_model(folder), Path(data), split=split)
    if as_json:
        print_json(scores)
        return
    for line in tree_lines(scores):
        click.echo(line)


@cli.command()
@click.argument("model")
@click.option(
    "--task",
    required=True,
    type=click.Choice(["caption", "vqa", "tags", "sentiment", "match"]),
)
@click.option("--image", "image_file", type=click.Path(path_type=Path), default=None)
@click.option("--text", default=None, help="Question, caption or comment.")
@recipe_option
@root_option
@json_option
def predict(
    model: str,
    task: str,
    image_file: Path | None,
    text: str | None,
    recipe_file: str,
    root: str,
    as_json: bool,
) -> None:
    """Ask MODEL about one image and, where the task needs it, one text."""
    from mmcore.models import load_model
    from mmcore.models.ask import ask

    image = _read_image(image_file)
    answer = ask(load_model(_model_folder(model, recipe_file, root)), task, image, text)
    if as_json:
        print_json(answer)
        return
    for line in tree_lines(answer):
        click.echo(line)


@cli.command()
@click.argument("model")
@click.option(
    "--labels",
    required=True,
    type=click.Path(path_type=Path),
    help="JSONL: image, and any of captions, qa, tags, sentiment.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--steps", default=200, show_default=True, help="Steps in which all weights learn.")
@click.option("--minutes", default=5.0, show_default=True, help="Most time that part may take.")
@recipe_option
@root_option
@json_option
def finetune(
    model: str,
    labels: Path,
    out: Path,
    steps: int,
    minutes: float,
    recipe_file: str,
    root: str,
    as_json: bool,
) -> None:
    """Teach MODEL a few labels: new tags, answers, sentiments or captions."""
    from pydantic import ValidationError

    from mmcore.finetune import finetune as teach
    from mmcore.train.finetune import FinetuneSettings

    try:
        settings = FinetuneSettings(steps=steps, minutes=minutes)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(f"--{problem['loc'][0]}: {problem['msg']}.") from None
    done = teach(_model_folder(model, recipe_file, root), labels, out, settings)
    if as_json:
        print_json(done)
        return
    for line in tree_lines(done):
        click.echo(line)
    click.echo(f"Wrote {out}: try `mmcore predict {out} --task tags --image …`.")


def _read_image(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read image {file}: {error.strerror}.") from None


def _dataset(name: str, root: str) -> Any:
    from mmcore.lake import Lake

    dataset, _, partition = name.partition("@")
    return Lake(root).dataset(dataset, partition or None)


def _registry_settings(recipe_file: str) -> Any:
    """The recipe's registry settings; the defaults where there is no recipe at hand."""
    from mmcore.recipe import load_recipe
    from mmcore.registry.settings import RegistrySettings

    return load_recipe(recipe_file).registry if Path(recipe_file).exists() else RegistrySettings()


def _model_folder(model: str, recipe_file: str, root: str) -> Path:
    from mmcore import registry
    from mmcore.lake import Lake

    return registry.resolve(_registry_settings(recipe_file), Lake(root), model)


def main() -> None:
    """Entry point: turns errors into one sentence and an exit code."""
    sys.exit(run_command(cli.main))


def run_command(command: Callable[..., Any]) -> int:
    """Run a click command and return its exit code."""
    try:
        command(standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("mmcore: interrupted", err=True)
        return 130
    except MmcoreError as error:
        click.echo(f"mmcore: {error}", err=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    main()
