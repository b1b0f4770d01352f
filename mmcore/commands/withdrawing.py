"""Commands about one image or one labeler: trace, takedown, retract."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from mmcore.commands.options import json_option, root_option
from mmcore.printing import print_json, summary, tree_lines


@click.command()
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


@click.command()
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


@click.command()
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
