"""Commands that use a model: models, evaluate, predict, finetune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmcore.commands.options import json_option, recipe_option, root_option
from mmcore.errors import UserError
from mmcore.printing import print_json, tree_lines


@click.command()
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


@click.command()
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


@click.command()
@click.argument("model")
@click.option(
    "--task",
    required=True,
    type=click.Choice(["caption", "vqa", "tags", "sentiment", "match"]),
)
@click.option("--image", "image_file", type=click.Path(path_type=Path), default=None)
@click.option("--text", default=None, help="Question, caption or comment.")
@click.option("--language", default=None, help="Of a caption; default: the model's commonest.")
@click.option(
    "--num-beams",
    type=click.IntRange(min=1),
    default=None,
    help="Write by beam search; default: greedy, the likeliest word each time.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=None,
    help="Write with words drawn from the likeliest of this probability (nucleus; 0.9).",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Write with words drawn by chance; below 1 likely words gain (1.0).",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=None, help="Of words drawn by chance (0)."
)
@click.option(
    "--write",
    is_flag=True,
    help="Answer in the model's own words; for models trained with generative_vqa.",
)
@recipe_option
@root_option
@json_option
def predict(
    model: str,
    task: str,
    image_file: Path | None,
    text: str | None,
    language: str | None,
    num_beams: int | None,
    top_p: float | None,
    temperature: float | None,
    seed: int | None,
    write: bool,
    recipe_file: str,
    root: str,
    as_json: bool,
) -> None:
    """Ask MODEL about one image and, where the task needs it, one text."""
    from mmcore.models import load_model
    from mmcore.models.ask import Writing, ask, search_of

    image = _read_image(image_file)
    writing = Writing(search_of(num_beams, top_p, temperature, seed), language, write)
    predictor = load_model(_model_folder(model, recipe_file, root))
    answer = ask(predictor, task, image, text, writing)
    if as_json:
        print_json(answer)
        return
    for line in tree_lines(answer):
        click.echo(line)


@click.command()
@click.argument("model")
@click.option(
    "--labels",
    required=True,
    type=click.Path(path_type=Path),
    help="JSONL: image, and any of captions, lang, qa, tags, sentiment.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--probe-steps", default=300, show_default=True, help="Steps of the heads alone.")
@click.option("--probe-lr", default=3e-3, show_default=True, help="Learning rate of the heads.")
@click.option("--steps", default=200, show_default=True, help="Steps in which all weights learn.")
@click.option("--lr", default=1e-4, show_default=True, help="Learning rate of all weights.")
@click.option("--batch-size", default=32, show_default=True, help="Images of one of those steps.")
@click.option("--minutes", default=5.0, show_default=True, help="Most time that part may take.")
@click.option("--seed", default=0, show_default=True, help="Of the order and the new names.")
@recipe_option
@root_option
@json_option
def finetune(
    model: str,
    labels: Path,
    out: Path,
    recipe_file: str,
    root: str,
    as_json: bool,
    **options: float,
) -> None:
    """Teach MODEL a few labels: new tags, answers, sentiments or captions.

    First the heads learn alone, then, more gently, all weights.
    """
    from pydantic import ValidationError

    from mmcore.finetune import finetune as teach
    from mmcore.train.finetune import FinetuneSettings

    try:
        settings = FinetuneSettings.model_validate(options)
    except ValidationError as error:
        problem = error.errors()[0]
        option = "".join(f"--{part}: ".replace("_", "-") for part in problem["loc"][:1])
        raise UserError(f"{option}{problem['msg']}.") from None
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


def _registry_settings(recipe_file: str) -> Any:
    """The recipe's registry settings; the defaults where there is no recipe at hand."""
    from mmcore.recipe import load_recipe
    from mmcore.registry.settings import RegistrySettings

    return load_recipe(recipe_file).registry if Path(recipe_file).exists() else RegistrySettings()


def _model_folder(model: str, recipe_file: str, root: str) -> Path:
    from mmcore import registry
    from mmcore.lake import Lake

    return registry.resolve(_registry_settings(recipe_file), Lake(root), model)
