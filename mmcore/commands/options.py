"""Options that several commands have."""

from __future__ import annotations

import click

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
