"""What continued training forgets, with and without replay: Flickr8k cut in two topics.

    python -m benchmarks.train.forgetting first FLICKR8K WORK --seconds 120 --seed 0
    python -m benchmarks.train.forgetting then FLICKR8K WORK --seconds 60 --seed 0 --replay 0.3
    python -m benchmarks.train.forgetting table WORK

The earlier days are the photographs without a dog, the newest day those with one (a dog in at least
three of the five captions). `first` trains on the earlier ones from scratch; `then` goes on from
those weights with `--replay` earlier visits for each new one (`all`: days `all`). Scored on
photographs of `val` of both topics: recall at 10, the mean of both ways, each topic a gallery of
its own. Every training stops after the same processor seconds of one thread.
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
from mmcore.models.artifact import Artifact, load_artifact, save_artifact
from mmcore.models.config import load_preset
from mmcore.models.fusion_model import FusionModel
from mmcore.models.images import decode_images
from mmcore.models.predictor import Predictor
from mmcore.shards.order import SampleOrder
from mmcore.shards.replay import Order, ReplayOrder
from mmcore.train.data import build_table
from mmcore.train.loop import Trainer
from mmcore.train.rank import fitted
from mmcore.train.samples import MemorySamples
from mmcore.train.settings import LoopSettings
from mmcore.train.vocabulary import build_labels

Records = list[dict[str, Any]]


def has_dog(record: dict[str, Any]) -> bool:
    """Whether at least three of five captions speak of a dog."""
    return sum("dog" in caption["text"].lower() for caption in record["captions"]) >= 3


def by_topic(records: Records, pictures: list[bytes]) -> tuple[tuple[Records, list[bytes]], int]:
    """Records and pictures with those of the new topic behind the others, and where they begin."""
    order = sorted(range(len(records)), key=lambda n: has_dog(records[n]))
    first = sum(not has_dog(record) for record in records)
    return ([records[n] for n in order], [pictures[n] for n in order]), first


def visits(which: str, first: int, count: int, seed: int) -> Order:
    """The order of the earlier samples, of all, or of the new ones with a share of replays."""
    earlier = SampleOrder(np.array([first]), seed)
    if which == "earlier":
        return earlier
    if which == "all":
        return SampleOrder(np.array([first, count - first]), seed)
    return ReplayOrder(earlier, SampleOrder(np.array([count - first]), seed), first, float(which))


def train(options: argparse.Namespace, which: str, start: Path | None) -> None:
    """One training: its model goes to a folder, its scores to a line of results.jsonl."""
    parts = read_flickr8k(options.photos)
    (records, pictures), first = by_topic(*parts["train"])
    tokenizer = caption_tokenizer(records)
    labels = build_labels(records, 3, 5, 2000, 1000)
    torch.manual_seed(options.seed)
    model = FusionModel(fitted(load_preset("nano"), labels, tokenizer))
    if start is not None:
        model.load_state_dict(load_artifact(start).model.state_dict())
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = decode_images(pictures, SIZE)
    table = build_table(records, labels, tokenizer, model.config.text.max_tokens)
    order = visits(which, first, len(records), options.seed)
    settings = LoopSettings(
        budget_minutes=options.seconds / 60, validations=0, checkpoint_minutes=1e9
    )
    samples = MemorySamples(table, lambda numbers: pixels[numbers], order)
    trainer = Trainer(model, samples, settings, options.seed, clock=time.process_time)
    state = trainer.fit()
    made = Artifact(trainer.ema.model, labels, tokenizer)
    if which == "earlier":
        save_artifact(options.work / f"first-{options.seed}", made)
    scores = score(Predictor(made), *parts["val"])
    row = {"then": which, "seed": options.seed, "samples": state.cursor, **scores}
    with (options.work / "results.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row))


def score(model: Predictor, records: Records, pictures: list[bytes]) -> dict[str, float]:
    """Recall at 10 of each topic."""
    scores = {}
    for name, dogs in (("earlier", False), ("new", True)):
        rows = [n for n, record in enumerate(records) if has_dog(record) is dogs]
        pixels = torch.from_numpy(decode_images([pictures[n] for n in rows], SIZE))
        found = recalls(model, pixels.permute(0, 3, 1, 2), [records[n] for n in rows])
        scores[f"{name}_r10"] = round(float(np.mean(list(found.values()))), 4)
    return scores


def print_table(work: Path) -> None:
    """Medians over seeds."""
    rows = [json.loads(line) for line in (work / "results.jsonl").read_text().splitlines()]
    print("| training | seeds | samples | earlier topic R@10 | new topic R@10 |")
    print("|---|---|---|---|---|")
    for name in dict.fromkeys(row["then"] for row in rows):
        mine = [row for row in rows if row["then"] == name]
        samples = median(row["samples"] for row in mine)
        cells = (f"{100 * median(row[f'{k}_r10'] for row in mine):.1f}" for k in ("earlier", "new"))
        print(f"| {name} | {len(mine)} | {samples:,.0f} | {' | '.join(cells)} |")


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("first", "then"):
        command = commands.add_parser(name)
        command.add_argument("photos", type=Path)
        command.add_argument("work", type=Path)
        command.add_argument("--seconds", type=float, default=60)
        command.add_argument("--seed", type=int, default=0)
        if name == "then":
            command.add_argument("--replay", required=True)
    commands.add_parser("table").add_argument("work", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "table":
        print_table(options.work)
        return
    options.work.mkdir(parents=True, exist_ok=True)
    if options.command == "first":
        train(options, "earlier", None)
    else:
        train(options, options.replay, options.work / f"first-{options.seed}")


if __name__ == "__main__":
    main()
