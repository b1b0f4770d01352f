"""`mmcore …`: the command line. Errors are one sentence; exit code 2 is the user's, 1 a failure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from mmcore import __version__
from mmcore.commands.datasets import datasets, path, show
from mmcore.commands.models import evaluate, finetune, models, predict
from mmcore.commands.running import demo, init, run
from mmcore.commands.withdrawing import retract, takedown, trace
from mmcore.errors import MmcoreError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mmcore")
def cli() -> None:
    """One graph from a web page to a promoted image-text model."""


for _command in (
    *(demo, init, run),
    *(takedown, trace, retract),
    *(datasets, show, path),
    *(models, evaluate, predict, finetune),
):
    cli.add_command(_command)


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
