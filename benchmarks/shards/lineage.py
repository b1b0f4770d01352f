"""`mmcore trace` on random samples of a lake, every field compared with the datasets themselves.

    python benchmarks/shards/lineage.py make --root FOLDER --images 250
    python benchmarks/shards/lineage.py check --root FOLDER --samples 100

`make` runs the stages from crawl to shards on the generated site, two nights. `check` reads the
datasets whole, as plain tables, asks the command `mmcore trace` about one sample after
the other, and counts fields that agree; it reads the sample back from its tar at
the offset that was told, hashes it and compares its image with the one in `normalized`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

from mmcore.lake import Lake

DAYS = ("2026-11-23", "2026-11-24")
STAGES = ("crawl", "clean", "dedup", "tokenizer", "tokenize", "pairs", "shards")
Rows = list[dict[str, Any]]


def make(root: Path, images: int) -> None:
    from mmcore.cluster import connect
    from mmcore.demo import ensure_demo_recipe
    from mmcore.graph import Job, run_stage
    from mmcore.recipe import load_recipe

    recipe = load_recipe(ensure_demo_recipe(root, images, first_day=DAYS[0]))
    with connect(recipe.cluster):
        for day in DAYS:
            for stage in STAGES:
                run_stage(stage, Job(recipe, Lake(str(root)), day))


def rows_of(lake: Lake, name: str) -> dict[str, Rows]:
    """sha256 to the rows of all days, as the dataset has them, without pictures."""
    found: dict[str, Rows] = {}
    for day in lake.partitions(name):
        dataset = lake.dataset(name, day)
        columns = [c for c in dataset.manifest.columns if c not in ("image", "thumb")]
        for row in dataset.read(columns).to_pylist():
            found.setdefault(row["sha256"], []).append({"day": day} | row)
    return found


def check(root: Path, samples: int) -> None:
    lake = Lake(str(root))
    names = ("crawled", "outcomes", "cleaned", "texts", "deduplicated", "pairs")
    tables = {name: rows_of(lake, name) for name in names}
    images = {
        row["sha256"]: row["image"]
        for day in lake.partitions("normalized")
        for row in lake.dataset("normalized", day).read(["sha256", "image"]).to_pylist()
    }
    keys = random.Random(11).sample(sorted(tables["pairs"]), samples)
    agreed: Counter[str] = Counter()
    for key in keys:
        (told,) = trace(root, key)
        agreed.update(compare(told, {name: rows.get(key, []) for name, rows in tables.items()}))
        agreed.update(read_back(told, images[key]))
        cluster = told["deduplicated"][0]["cluster"]
        others = {
            k for k, rows in tables["deduplicated"].items() for r in rows if r["cluster"] == cluster
        }
        agreed["other images of the cluster"] += sorted(others - {key}) == told["members"]
    print(f"| of {samples} samples | agree with the datasets |\n|---|---|")
    for name, count in agreed.items():
        print(f"| {name} | {count} |")
    if set(agreed.values()) != {samples}:
        sys.exit(1)


def trace(root: Path, key: str) -> Rows:
    from click.testing import CliRunner

    from mmcore.cli import cli

    answer = CliRunner().invoke(cli, ["trace", key, "--root", str(root), "--json"])
    return json.loads(answer.stdout)


def compare(told: dict[str, Any], true: dict[str, Rows]) -> dict[str, bool]:
    def same(field: str, name: str, *columns: str) -> bool:
        wanted = sorted(str([plain(row, c) for c in columns]) for row in true[name])
        return bool(wanted) and wanted == sorted(
            str([plain(row, c) for c in columns]) for row in told[field]
        )

    everything = {name: list(rows[0]) for name, rows in true.items() if rows}
    kept = [row for row in told["deduplicated"] if row["kept"]]
    return {
        "page URL": same("seen", "crawled", "page_url"),
        "image URL": same("seen", "crawled", "image_url"),
        "consent evidence": same("seen", "crawled", "consent"),
        "crawl's outcome": same("outcomes", "outcomes", "url", "reason", "state"),
        "clean: attributes, decision": same("cleaned", "cleaned", *everything["cleaned"]),
        "texts, with decisions": same("texts", "texts", *everything["texts"])
        if true["texts"]
        else told["texts"] == [],
        "dedup: decision, cluster": same(
            "deduplicated", "deduplicated", "reason", "cluster", "kept"
        )
        and len(kept) == 1,
        "labels, with who voted": same("labels", "pairs", *everything["pairs"])
        and all(tag["source"] for row in told["labels"] for tag in row["tags"]),
    }


def plain(row: dict[str, Any], column: str) -> Any:
    """A cell as JSON would have it, whether or not it went through JSON."""
    value = row[column]
    if column in ("consent", "annotation") and isinstance(value, str):
        value = json.loads(value)
    return json.loads(json.dumps(value, default=str, sort_keys=True))


def read_back(told: dict[str, Any], image: bytes) -> dict[str, bool]:
    (place,) = told["shards"]
    with Path(place["path"]).open("rb") as file:
        file.seek(place["offset"])
        data = file.read(place["size"])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {m.name.partition(".")[2]: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    labels = json.loads(found["json"])
    return {
        "tar, offset, size, hash": hashlib.sha256(data).hexdigest() == place["sha256"],
        "image in the tar": found["jpg"] == image and labels["sha256"] == told["sha256"],
        "split": labels["split"] == place["split"] == Path(place["path"]).name.partition("-")[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=("make", "check"))
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--images", type=int, default=250)
    parser.add_argument("--samples", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.command == "make":
        make(arguments.root, arguments.images)
    else:
        check(arguments.root, arguments.samples)


if __name__ == "__main__":
    main()
