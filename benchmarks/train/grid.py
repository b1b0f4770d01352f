"""Which image encoder, alignment and fusion pay, each on the same budget: a table and a plot.

    python -m benchmarks.train.grid run LAKE --day 2026-11-25 --seconds 60 --out grid.jsonl
    python -m benchmarks.train.grid table grid.jsonl
    python -m benchmarks.train.grid plot grid.jsonl docs/benchmarks/training-grid.svg

Every combination trains all five tasks from nothing for the same processor seconds of one thread,
so a choice that costs more sees fewer samples. `--part 0/2` runs every second of them.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.models.options import Data, lake
from benchmarks.train.joint import PARTS, scores, train_tasks

IMAGE = {
    "plain": {"kind": "plain", "widths": [32, 64, 128], "depths": [1, 1, 2]},
    "cnn": {"kind": "cnn", "patch": 4, "widths": [64, 128], "depths": [2, 3]},
    "convnext": {"kind": "convnext", "patch": 4, "widths": [64, 128], "depths": [2, 3]},
    "vit": {"kind": "vit", "patch": 8, "widths": [128], "depths": [4]},
}
ALIGNMENT = ("linear", "conv", "attention")
FUSION = ("concat", "gated", "cross_attention")
_CELL = (96, 30)
_LEFT, _TOP, _GAP = 190, 96, 26


def run(
    data: Data, image: str, alignment: str, fusion: str, seconds: float, seed: int
) -> dict[str, Any]:
    """One combination: what it scores, how large it is and how many samples it has seen."""
    changes = {"image": IMAGE[image], "alignment": alignment, "fusion": fusion}
    predictor, samples = train_tasks(data, list(PARTS), seconds, seed, **changes)
    found = scores(predictor, data)
    return {
        "image": image,
        "alignment": alignment,
        "fusion": fusion,
        "seed": seed,
        "samples": samples,
        "parameters": sum(p.numel() for p in predictor.model.parameters()),
        **{task: round(value, 4) for task, value in found.items()},
    }


def overall(row: dict[str, Any]) -> float:
    """One figure of the five; CIDEr-D, which goes to 10, counts as a tenth of 2."""
    return mean(row[task] / 2 if task == "caption" else row[task] for task in PARTS)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Every combination, best first; then the mean of each choice over the others."""
    print(
        "| image encoder | alignment | fusion | parameters | samples | " + " | ".join(PARTS), end=""
    )
    print(" | mean |\n" + "|---" * (6 + len(PARTS)) + "|")
    for row in sorted(rows, key=overall, reverse=True):
        cells = " | ".join(f"{row[task]:.3f}" for task in PARTS)
        print(
            f"| {row['image']} | {row['alignment']} | {row['fusion']} | "
            f"{row['parameters'] / 1e6:.2f} M | {row['samples']:,} | {cells} | {overall(row):.3f} |"
        )
    print("\n| choice | mean over the others |\n|---|---|")
    for part, kinds in (("image", IMAGE), ("alignment", ALIGNMENT), ("fusion", FUSION)):
        for kind in kinds:
            print(f"| {part}: {kind} | {mean(overall(r) for r in rows if r[part] == kind):.3f} |")


def plot(rows: list[dict[str, Any]]) -> str:
    """The mean score of every combination as an SVG: encoders down, alignment x fusion across."""
    value = {(r["image"], r["alignment"], r["fusion"]): overall(r) for r in rows}
    low, high = min(value.values()), max(value.values())
    width, height = _CELL
    total = _LEFT + len(ALIGNMENT) * (len(FUSION) * width + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} '
        f'{_TOP + len(IMAGE) * height + 20}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="16" y="26" font-size="15" font-weight="bold">Mean of five tasks after the same '
        "processor time</text>",
    ]
    for column, (alignment, fusion) in enumerate(itertools.product(ALIGNMENT, FUSION)):
        group, place = divmod(column, len(FUSION))
        x = _LEFT + group * (len(FUSION) * width + _GAP) + place * width
        if not place:
            middle = x + len(FUSION) * width / 2
            parts.append(
                f'<text x="{middle}" y="56" text-anchor="middle">alignment: {alignment}</text>'
            )
        name = fusion.replace("_", " ")
        parts.append(
            f'<text x="{x + width / 2}" y="82" text-anchor="middle" font-size="11" fill="#555">'
            f"{name}</text>"
        )
        for row, image in enumerate(IMAGE):
            y = _TOP + row * height
            if not column:
                parts.append(f'<text x="16" y="{y + 20}">image encoder: {image}</text>')
            found = value.get((image, alignment, fusion))
            if found is None:
                continue
            share = (found - low) / max(high - low, 1e-9)
            red, green, blue = (
                round(a + (b - a) * share) for a, b in ((240, 20), (246, 90), (252, 150))
            )
            ink = "white" if share > 0.55 else "#222"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{width - 2}" height="{height - 2}" '
                f'fill="rgb({red},{green},{blue})"/>'
                f'<text x="{x + width / 2 - 1}" y="{y + 19}" text-anchor="middle" fill="{ink}">'
                f"{found:.3f}</text>"
            )
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Read the command line; run, print or draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "table", "plot"])
    parser.add_argument("path", help="the lake, or the results of runs")
    parser.add_argument("picture", nargs="?", type=Path)
    parser.add_argument("--day", default="")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--out", type=Path, default=Path("grid.jsonl"))
    options = parser.parse_args()
    if options.action != "run":
        rows = [json.loads(line) for line in Path(options.path).read_text().splitlines()]
        if options.action == "table":
            print_table(rows)
        elif options.picture is None:
            parser.error("plot needs the name of the picture")
        else:
            options.picture.write_text(plot(rows))
        return
    torch.set_num_threads(1)
    data = lake(options.path, options.day)
    number, parts = map(int, options.part.split("/"))
    for kinds in list(itertools.product(IMAGE, ALIGNMENT, FUSION))[number::parts]:
        row = run(data, *kinds, options.seconds, options.seed)
        with options.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
