"""Does it pay to begin with the surer labels? Flickr8k with two captions in five wrong.

    python -m benchmarks.train.curriculum FLICKR8K --share 0.5 --seed 0 --out curriculum.jsonl
    python -m benchmarks.train.curriculum table curriculum.jsonl

Captions trade places as in benchmarks/weak/noisy_captions.py, and each gets a confidence of which
a wrong one has less: two normal distributions that are `--apart` deviations apart, so that a right
caption is surer than a wrong one with the printed chance (AUROC; a champion reaches .8 to .9).
Scored on `val` with its right captions: recall at 10. Equal processor seconds of one thread.
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

from benchmarks.models.options import SIZE, caption_tokenizer, read_flickr8k, recalls
from benchmarks.weak.noisy_captions import WRONG_SHARE, auroc, mixed
from mmcore.models.artifact import Artifact
from mmcore.models.config import load_preset
from mmcore.models.fusion_model import FusionModel
from mmcore.models.images import decode_images
from mmcore.models.predictor import Predictor
from mmcore.shards.order import SampleOrder
from mmcore.train.data import build_table
from mmcore.train.loop import Trainer
from mmcore.train.rank import fitted
from mmcore.train.samples import MemorySamples
from mmcore.train.settings import LoopSettings
from mmcore.train.vocabulary import build_labels


def spoil(records: list[dict[str, Any]], apart: float) -> tuple[list[dict[str, Any]], float]:
    """Records with captions mixed and a confidence for each; the AUROC of these confidences."""
    captions = [caption for record in records for caption in record["captions"]]
    owners = np.repeat(np.arange(len(records)), [len(record["captions"]) for record in records])
    at, right = mixed(owners, WRONG_SHARE, seed=0)
    evidence = np.random.default_rng(1).normal(size=len(at)) + apart * (right - 0.5)
    confidence = 1 / (1 + np.exp(-apart * evidence))
    spoiled: list[dict[str, Any]] = [{**record, "captions": []} for record in records]
    for place, owner in enumerate(owners):
        caption = {**captions[at[place]], "confidence": float(confidence[place])}
        spoiled[owner]["captions"].append(caption)
    return spoiled, float(auroc(confidence, right))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train and score once."""
    parts = read_flickr8k(options.source)
    records, pictures = parts["train"]
    tokenizer = caption_tokenizer(records)
    spoiled, chance = spoil(records, options.apart)
    labels = build_labels(spoiled, 3, 5, 2000, 1000)
    torch.manual_seed(options.seed)
    model = FusionModel(fitted(load_preset("nano"), labels, tokenizer))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = decode_images(pictures, SIZE)
    table = build_table(spoiled, labels, tokenizer, model.config.text.max_tokens)
    settings = LoopSettings(
        budget_minutes=options.seconds / 60,
        validations=0,
        checkpoint_minutes=1e9,
        curriculum=options.share,
    )
    order = SampleOrder(np.array([len(table)]), options.seed)
    samples = MemorySamples(table, lambda numbers: pixels[numbers], order)
    trainer = Trainer(model, samples, settings, options.seed, clock=time.process_time)
    state = trainer.fit()
    held_out, held_out_pictures = parts["val"]
    shown = torch.from_numpy(decode_images(held_out_pictures, SIZE)).permute(0, 3, 1, 2)
    scores = recalls(Predictor(Artifact(trainer.ema.model, labels, tokenizer)), shown, held_out)
    rounded = {key: round(value, 4) for key, value in scores.items()}
    return {
        "share": options.share,
        "seed": options.seed,
        "auroc": round(chance, 3),
        "samples": state.cursor,
        **rounded,
    }


def print_table(path: Path) -> None:
    """Medians over seeds."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    print("| curriculum | seeds | samples | text to image R@10 | image to text R@10 |")
    print("|---|---|---|---|---|")
    for share in sorted({row["share"] for row in rows}):
        mine = [row for row in rows if row["share"] == share]
        cells = (f"{100 * median(row[key] for row in mine):.1f}" for key in ("t2i_r10", "i2t_r10"))
        samples = median(row["samples"] for row in mine)
        print(f"| {share} | {len(mine)} | {samples:,.0f} | {' | '.join(cells)} |")


def main() -> None:
    """Read the command line; `table FILE` prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of Flickr8k, or the word table")
    parser.add_argument("file", type=Path, nargs="?", help="of a table")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--apart", type=float, default=1.4)
    parser.add_argument("--out", type=Path, default=Path("curriculum.jsonl"))
    options = parser.parse_args()
    if str(options.source) == "table":
        print_table(options.file)
        return
    torch.set_num_threads(1)
    row = run(options)
    with options.out.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
