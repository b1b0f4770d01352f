"""The demo: a recipe for the generated sample site, run through Dagster like any other."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

from mmcore.graph import today


def run_demo(root: Path, images: int, day: str) -> int:
    """Run the whole graph on the sample site and print what came of it; returns the exit code.

    Dagster runs in a child process, as `dagster dev` would run it, so that the run is in its UI.
    """
    root = root.absolute()
    recipe = ensure_demo_recipe(root, images, first_day=day)
    home = Path(os.environ.get("DAGSTER_HOME") or root.parent / "dagster").absolute()
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "MMCORE_RECIPE": str(recipe),
        "MMCORE_ROOT": str(root),
    }
    print(
        f"mmcore demo: {images:,} distinct images, day {day}, everything below {root}\n", flush=True
    )
    start = time.monotonic()
    command = [sys.executable, "-m", "pipelines.materialize", "--day", day]
    code = subprocess.run(command, env=environment, check=False).returncode
    if code == 0:
        _print_results(root, recipe, home, day, time.monotonic() - start)
    return code


def _print_results(root: Path, recipe: Path, home: Path, day: str, seconds: float) -> None:
    from mmcore.evaluate.headline import score_lines
    from mmcore.lake import Lake

    evaluation = Lake(str(root)).dataset("evaluation", day)
    scores = json.loads(evaluation.read_file("scores.json"))
    report = next(path for path in evaluation.paths() if path.endswith("report.html"))
    binaries = Path(sys.executable).parent
    print(f"\nDone in {seconds:.0f} s. The champion on images it never saw:\n")
    print("\n".join(score_lines(scores)))
    print(
        f"""
Report card   {report}
Dagster UI    make ui       (DAGSTER_HOME={home} {binaries}/dagster dev -w workspace.yaml)
MLflow UI     make mlflow   ({binaries}/mlflow ui --backend-store-uri sqlite:///{root}/mlflow/mlflow.db)
Look around   {binaries}/mmcore datasets --root {root}
              {binaries}/mmcore show crawled@{day} --root {root}
              {binaries}/mmcore models --root {root} --recipe {recipe}"""
    )


def ensure_demo_recipe(folder: Path, images: int = 2000, first_day: str | None = None) -> Path:
    """Write `folder/recipe.yaml` and `folder/gold.jsonl` once; return the recipe's path.

    An existing recipe is kept: a user may have changed it, and its port is part of every URL.
    """
    recipe = folder / "recipe.yaml"
    if recipe.exists():
        return recipe
    from mmcore.samplesite import SiteConfig, write_gold

    folder.mkdir(parents=True, exist_ok=True)
    port = free_port(8420)
    base_url = f"http://127.0.0.1:{port}"
    # The second edition repeats what the first still shows, so the later record of a URL wins.
    for edition in (1, 2):
        site = SiteConfig(seed=7, images=images, edition=edition)
        write_gold(site, base_url, folder / f"gold-{edition}.jsonl")
    _merge_gold([folder / f"gold-{edition}.jsonl" for edition in (1, 2)], folder / "gold.jsonl")
    recipe.write_text(
        _RECIPE.format(port=port, images=images, first_day=first_day or today()), encoding="utf-8"
    )
    return recipe


def _merge_gold(files: list[Path], target: Path) -> None:
    records = {}
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            records[json.loads(line)["image"]] = line
        file.unlink()
    target.write_text("".join(f"{line}\n" for line in records.values()), encoding="utf-8")


def free_port(preferred: int) -> int:
    """The preferred loopback port if nobody listens on it, else one the system picks."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free loopback port")


_RECIPE = dedent("""\
    # The demo: a generated web site with a known truth, crawled over loopback.
    # `mmcore init` writes a recipe for your own site.
    name: demo
    seed: 7

    samplesite:
      images: {images}
      seed: 7
      port: {port}
      first_day: {first_day}   # later days see the changed site

    sources:
      - kind: site
        start: ["http://127.0.0.1:{port}/"]
        allow_private: true   # the site is on this machine

    crawl:
      # Our own machine needs no sparing; a public host does (default: 20 requests a second).
      requests_per_second: null
      connections_per_host: 16
      timeout_seconds: 5
      idle_seconds: 3
      attempts: 3
      backoff_seconds: 0.2

    # What the generated site really shows; only evaluation reads it.
    gold: gold.jsonl

    train:
      preset: nano
      budget_minutes: 2.6
      workers: 2
    """)
