"""A few labelled images of another world: fine-tuning a model against training from scratch.

    python -m benchmarks.train.few_labels MODEL EASY_VQA --images 24 --seed 0 --out few.jsonl
    python -m benchmarks.train.few_labels table few.jsonl

MODEL is a trained model folder (the sample site's, say); EASY_VQA the folder `easy_vqa/data` of the
package easy-vqa 1.0 (MIT). Each training image has two tags, the colour (of 8) and the shape (of 3)
of what it shows. Scored on 500 images of its test split: how often the likeliest colour, and the
likeliest shape, is the right one. `probe`: the heads alone learn; `tune`: all weights from the
start; `probe, tune`: what `mmcore finetune` does; `scratch`: no model to begin with, the loop's
own settings, `--seconds` of processor time, which is more than the others take.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from mmcore.models.artifact import Artifact, load_artifact
from mmcore.models.fusion_model import FusionModel
from mmcore.models.images import decode_images
from mmcore.models.labels import Labels
from mmcore.models.predictor import Predictor
from mmcore.shards.order import SampleOrder
from mmcore.train.data import build_table
from mmcore.train.finetune import FinetuneSettings, finetune
from mmcore.train.loop import Trainer
from mmcore.train.rank import fitted
from mmcore.train.samples import MemorySamples
from mmcore.train.settings import LoopSettings, LossWeights

COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")
ARMS = {"probe": {"steps": 0}, "tune": {"probe_steps": 0}, "probe, tune": {}}
TEST_IMAGES = 500


def read(data: Path, split: str) -> tuple[list[bytes], list[tuple[str, str]]]:
    """Pictures and their (colour, shape) of a split."""
    said: dict[int, set[str]] = {}
    for _, answer, image in json.loads((data / split / "questions.json").read_text()):
        said.setdefault(image, set()).add(answer)
    pictures, kinds = [], []
    for image, answers in sorted(said.items()):
        colours, shapes = answers.intersection(COLOURS), answers.intersection(SHAPES)
        if len(colours) == len(shapes) == 1:
            pictures.append((data / split / "images" / f"{image}.png").read_bytes())
            kinds.append((colours.pop(), shapes.pop()))
    return pictures, kinds


def scratch(
    start: Artifact, pictures: list[bytes], records: list[dict[str, Any]], options: Any
) -> Artifact:
    """A model of the same architecture that has seen nothing else."""
    labels = Labels(tags=COLOURS + SHAPES)
    torch.manual_seed(options.seed)
    model = FusionModel(fitted(start.model.config, labels, start.tokenizer))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = decode_images(pictures, model.config.image.size)
    table = build_table(records, labels, start.tokenizer, model.config.text.max_tokens)
    weights = {name: 0.0 for name in LossWeights.model_fields} | {"tags": 1.0, "local_tags": 6.0}
    settings = LoopSettings(
        budget_minutes=options.seconds / 60,
        batch_size=min(32, len(table)),
        validations=0,
        checkpoint_minutes=1e9,
        loss_weights=LossWeights(**weights),
    )
    order = SampleOrder(np.array([len(table)]), options.seed)
    samples = MemorySamples(table, lambda numbers: pixels[numbers], order)
    trainer = Trainer(model, samples, settings, options.seed, clock=time.process_time)
    trainer.fit()
    return Artifact(trainer.ema.model, labels, start.tokenizer)


def score(made: Artifact, pictures: list[bytes], kinds: list[tuple[str, str]]) -> dict[str, float]:
    """Accuracy of the likeliest colour and of the likeliest shape."""
    probabilities = Predictor(made).tags(pictures)
    scores = {}
    for column, (name, names) in enumerate((("colour", COLOURS), ("shape", SHAPES))):
        places = [made.labels.tags.index(tag) for tag in names]
        best = probabilities[:, places].argmax(axis=1)
        right = [names[b] == kind[column] for b, kind in zip(best, kinds, strict=True)]
        scores[name] = round(float(np.mean(right)), 4)
    return scores


def run(options: argparse.Namespace) -> None:
    """Every arm on the same images."""
    pictures, kinds = read(options.data, "train")
    chosen = np.random.default_rng(options.seed).permutation(len(pictures))[: options.images]
    given = [pictures[n] for n in chosen]
    records = [{"tags": [{"tag": tag} for tag in kinds[n]]} for n in chosen]
    tests, facts = read(options.data, "test")
    held_out, truth = tests[:TEST_IMAGES], facts[:TEST_IMAGES]
    start = load_artifact(options.model)
    for arm in (*ARMS, "scratch"):
        began = time.process_time()
        if arm == "scratch":
            made = scratch(start, given, records, options)
        else:
            settings = FinetuneSettings(seed=options.seed, lr=options.lr, **ARMS[arm])
            made = finetune(options.model, start, given, records, settings)
        seconds = round(time.process_time() - began, 1)
        row = {"arm": arm, "images": options.images, "seed": options.seed, "cpu": seconds}
        row |= score(made, held_out, truth)
        with options.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def print_table(path: Path) -> None:
    """Medians over seeds."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    print("| images | training | seeds | CPU-s | colour | shape |")
    print("|---|---|---|---|---|---|")
    for images in sorted({row["images"] for row in rows}):
        for arm in (*ARMS, "scratch"):
            mine = [row for row in rows if (row["images"], row["arm"]) == (images, arm)]
            if mine:
                seconds = median(row["cpu"] for row in mine)
                medians = (median(row[key] for row in mine) for key in ("colour", "shape"))
                cells = [f"{100 * value:.1f}" for value in medians]
                print(f"| {images} | {arm} | {len(mine)} | {seconds:.0f} | {' | '.join(cells)} |")


def main() -> None:
    """Read the command line; `table FILE` prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a model folder, or the word table")
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--lr", type=float, default=FinetuneSettings().lr)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("few.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if str(options.model) == "table":
        print_table(options.data)
    else:
        run(options)


if __name__ == "__main__":
    main()
