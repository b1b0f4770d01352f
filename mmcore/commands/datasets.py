"""Commands that look at the lake: datasets, show, path."""

from __future__ import annotations

from typing import Any

import click

from mmcore.commands.options import json_option, root_option
from mmcore.printing import funnel_lines, print_json, summary, tree_lines


@click.command()
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


@click.command()
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


@click.command()
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


def _dataset(name: str, root: str) -> Any:
    from mmcore.lake import Lake

    dataset, _, partition = name.partition("@")
    return Lake(root).dataset(dataset, partition or None)
