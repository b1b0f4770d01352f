"""Five tasks in one model against five models of one task each, at equal processor seconds.

    python -m benchmarks.train.joint run LAKE --day 2026-11-25 --seconds 60 --seed 0 --out FILE
    python -m benchmarks.train.joint table FILE

Each single model trains `--seconds` of one thread, the joint one five times as long: together the
same. All begin from nothing, see the same pictures in the same order and are scored on the val
split. The image loss has no labels and takes part everywhere; tags bring their local tags.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from benchmarks.models.options import Data, Variant, lake, score, train
from mmcore.evaluate.captions import score_captions
from mmcore.evaluate.metrics import confusion, macro_f1_of
from mmcore.models.predictor import Predictor
from mmcore.train.losses import TASKS
from mmcore.train.settings import LossWeights

PARTS = {
    "retrieval": ("contrastive", "matching"),
    "caption": ("caption",),
    "questions": ("vqa",),
    "tags": ("tags", "local_tags"),
    "sentiment": ("sentiment",),
}
"""Losses of each task."""


def train_tasks(
    data: Data, tasks: Sequence[str], seconds: float, seed: int, **changes: Any
) -> tuple[Predictor, int]:
    """A `nano` of some tasks after so many processor seconds, and the samples it has seen.

    changes: what differs from the preset.
    """
    defaults = LossWeights()
    on = {"reconstruction", *(loss for task in tasks for loss in PARTS[task])}
    weights = {name: getattr(defaults, name) if name in on else 0.0 for name in TASKS}
    return train(data, Variant({}, changes, weights), seconds, seed)


def scores(predictor: Predictor, data: Data) -> dict[str, float]:
    """One figure a task: mean recall at 1 of both ways, CIDEr-D, accuracy, mAP, macro F1."""
    labels = predictor.labels
    found = score(predictor, data, labels, writes=False)
    pixels = torch.from_numpy(data.val_pixels).permute(0, 3, 1, 2)
    captioned = [n for n, record in enumerate(data.val) if record.get("captions")]
    references = [[c["text"] for c in data.val[n]["captions"]] for n in captioned]
    written = predictor.caption(pixels[captioned])
    felt = [n for n, record in enumerate(data.val) if record.get("sentiment")]
    truth = np.array([labels.sentiment.index(data.val[n]["sentiment"]["label"]) for n in felt])
    classes = len(labels.sentiment)
    cells = confusion(truth, predictor.sentiment(pixels[felt]).argmax(axis=1), classes)
    return {
        "retrieval": _recall_at_1(predictor, data, pixels),
        "caption": float(score_captions(written, references).cider.mean()),
        "questions": found["vqa"],
        "tags": found["tags_map"],
        "sentiment": float(macro_f1_of(cells.sum(axis=0)[None], classes)[0]),
    }


def _recall_at_1(predictor: Predictor, data: Data, pixels: torch.Tensor) -> float:
    """Mean of text to image and image to text."""
    texts = [c["text"] for record in data.val for c in record.get("captions") or ()]
    owner = np.array([n for n, r in enumerate(data.val) for _ in r.get("captions") or ()])
    names = np.array([record.get("cluster", str(n)) for n, record in enumerate(data.val)])
    same = np.array(texts)
    similarity = predictor.encode_texts(texts) @ predictor.encode_images(pixels).T
    to_image = similarity.argmax(axis=1)
    right = names[to_image] == names[owner]
    right |= np.array([t in _texts(data.val[i]) for t, i in zip(texts, to_image, strict=True)])
    captioned = np.unique(owner)
    to_text = similarity[:, captioned].argmax(axis=0)
    found = [
        owner[text] == image or same[text] in _texts(data.val[image])
        for text, image in zip(to_text.tolist(), captioned.tolist(), strict=True)
    ]
    return float(right.mean() + np.mean(found)) / 2


def _texts(record: dict[str, Any]) -> set[str]:
    return {caption["text"] for caption in record.get("captions") or ()}


def run(data: Data, seconds: float, seed: int) -> dict[str, Any]:
    """One seed: the joint model's scores and those of the five."""
    single, samples = dict[str, float](), dict[str, int]()
    for task in PARTS:
        predictor, samples[task] = train_tasks(data, [task], seconds, seed)
        single[task] = scores(predictor, data)[task]
    predictor, samples["joint"] = train_tasks(data, list(PARTS), seconds * len(PARTS), seed)
    joint = scores(predictor, data)
    return {"seed": seed, "seconds": seconds, "joint": joint, "single": single, "samples": samples}


def print_table(path: Path) -> None:
    """Means over the seeds, and in how many of them the joint model is the better one."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    print("| task | five models of one task | one model of five | difference | joint better in |")
    print("|---|---|---|---|---|")
    for task in PARTS:
        joint, single = ([row[kind][task] for row in rows] for kind in ("joint", "single"))
        wins = sum(a > b for a, b in zip(joint, single, strict=True))
        change = mean(joint) - mean(single)
        print(
            f"| {task} | {mean(single):.3f} ({min(single):.3f} to {max(single):.3f}) "
            f"| {mean(joint):.3f} ({min(joint):.3f} to {max(joint):.3f}) | {change:+.3f} "
            f"| {wins} of {len(rows)} |"
        )


def main() -> None:
    """Read the command line; run one seed or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "table"])
    parser.add_argument("path", help="the lake, or the results of runs")
    parser.add_argument("--day", default="")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("joint.jsonl"))
    options = parser.parse_args()
    if options.action == "table":
        print_table(Path(options.path))
        return
    torch.set_num_threads(1)
    row = run(lake(options.path, options.day), options.seconds, options.seed)
    with options.out.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
