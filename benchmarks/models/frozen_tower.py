"""Photographs and captions on a frozen image tower (LiT): what do borrowed features bring?

    python -m benchmarks.models.frozen_tower FLICKR8K TOWER.onnx --channels 1280 --features DIR
    python -m benchmarks.models.frozen_tower FLICKR8K TOWER.onnx --channels 1280 --features DIR \\
        --epochs 12
    python -m benchmarks.models.frozen_tower … --epochs 12 --without bag --held-out

The first call computes the features once (`--limit` pictures a call, to be repeated until it says
that all are there); with `--epochs` the rest is trained on them from nothing. Recall at 10 on val:
1,000 photographs, all of their five captions. `--held-out` trains on 5,000 of the 6,000 photographs
and scores the others as well: what is chosen by them is not chosen by val. `--without` takes one
part of the choice back.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.models.options import caption_tokenizer, read_flickr8k, recalls
from mmcore.models.artifact import Artifact
from mmcore.models.config import ImageEncoderConfig, load_preset
from mmcore.models.fusion_model import FusionModel, parameter_count
from mmcore.models.images import decode_images
from mmcore.models.predictor import Predictor
from mmcore.models.tower import OnnxTower
from mmcore.shards.order import SampleOrder
from mmcore.train.data import build_table
from mmcore.train.loop import Trainer
from mmcore.train.losses import TASKS
from mmcore.train.rank import fitted
from mmcore.train.samples import MemorySamples
from mmcore.train.settings import LoopSettings
from mmcore.train.vocabulary import build_labels

_CHUNK = 128
_HELD_OUT = 1000

# What each part of the choice changes in the model and in the training, against the defaults.
PARTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "pooled": ({"model": {"alignment": "pooled"}}, {}),
    "dropout": ({"model": {"dropout": 0.4}}, {}),
    "bag": ({"text": {"kind": "bag"}}, {}),
    "word_dropout": ({"text": {"word_dropout": 0.1}}, {}),
    "adamw": ({}, {"optimizer": "adamw", "lr": 2e-3}),
    "captions": ({}, {"captions": 3}),
    "batch": ({}, {"batch_size": 512}),
}


def extract(
    pictures: list[bytes], tower: OnnxTower, image: ImageEncoderConfig, path: Path, limit: int
) -> bool:
    """Features of the pictures in a file, float16 [N, G, G, C]; True once all are there."""
    shape = (len(pictures), image.grid, image.grid, image.widths[-1])
    done_file = path.with_suffix(".done")
    done = int(done_file.read_text()) if done_file.exists() else 0
    mode = "r+" if done else "w+"
    features = np.lib.format.open_memmap(path, mode, np.float16, shape)
    stop = min(len(pictures), done + limit)
    for start in range(done, stop, _CHUNK):
        part = slice(start, min(start + _CHUNK, stop))
        pixels = torch.from_numpy(decode_images(pictures[part], image.size)).permute(0, 3, 1, 2)
        features[part] = tower.features(pixels).permute(0, 2, 3, 1).numpy()
        features.flush()
        done_file.write_text(str(part.stop))
    return stop == len(pictures)


def train(
    records: list[dict[str, Any]],
    features: NDArray[np.float16],
    image: dict[str, Any],
    parts: list[str],
    options: argparse.Namespace,
) -> tuple[Predictor, dict[str, Any]]:
    """A model from nothing on features [N, G, G, C] of the records' pictures, and its cost."""
    onnx = options.tower.read_bytes()
    model_changes: dict[str, dict[str, Any]] = {"model": {}, "text": {}}
    loop: dict[str, Any] = {"batch_size": 256}
    for part in parts:
        changes, loop_changes = PARTS[part]
        for key, values in changes.items():
            model_changes[key].update(values)
        loop.update(loop_changes)
    tokenizer, labels = caption_tokenizer(records), build_labels(records, 3, 5, 10, 10)
    torch.manual_seed(options.seed)
    preset = load_preset(
        "nano",
        width=512,
        embed_dim=512,
        text=model_changes["text"],
        **{"dropout": 0.1, **model_changes["model"]},
    )
    preset = preset.model_copy(update={"image": ImageEncoderConfig.model_validate(image)})
    config = fitted(preset, labels, tokenizer)
    settings = LoopSettings.model_validate(
        {
            "budget_minutes": options.seconds / 60,
            "max_epochs": options.epochs,
            "validations": 0,
            "checkpoint_minutes": 1e9,
            "log_seconds": 1e9,
            # Flickr8k has captions only
            "loss_weights": {
                **dict.fromkeys(TASKS, 0.0),
                "contrastive": 1.0,
                "caption": options.caption,
            },
            **loop,
        }
    )
    table = build_table(records, labels, tokenizer, config.text.max_tokens)
    order = SampleOrder(np.array([len(table)]), options.seed)
    trainer = Trainer(
        FusionModel(config),
        MemorySamples(table, lambda numbers: np.asarray(features[numbers]), order),
        settings,
        options.seed,
        clock=time.process_time,
    )
    state = trainer.fit()
    spent = {
        "seconds": round(state.seconds, 1),
        "epochs": round(state.cursor / len(records), 1),
        "parameters": parameter_count(trainer.model),
    }
    return Predictor(Artifact(trainer.ema.model, labels, tokenizer, onnx)), spent


def score(
    predictor: Predictor, features: NDArray[np.float16], records: list[dict[str, Any]]
) -> dict[str, float]:
    """Recall at 10 in percent, both ways."""
    pixels = torch.from_numpy(np.array(features)).permute(0, 3, 1, 2)
    scores = recalls(predictor, pixels, records)
    return {key: round(100 * value, 1) for key, value in scores.items()}


def extract_all(
    parts: dict[str, tuple[list[dict[str, Any]], list[bytes]]],
    image: dict[str, Any],
    onnx: bytes,
    paths: dict[str, Path],
    limit: int,
) -> None:
    """Features of both splits, at most ``limit`` pictures more of the first unfinished one."""
    config = ImageEncoderConfig.model_validate(image)
    tower = OnnxTower(onnx, config)
    for split, (_, pictures) in parts.items():
        began = time.process_time()
        complete = extract(pictures, tower, config, paths[split], limit)
        print(f"{split}: complete={complete}, {time.process_time() - began:.0f} s", flush=True)
        if not complete:
            return


def main() -> None:
    """Read the command line, extract or train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("flickr8k", type=Path)
    parser.add_argument("tower", type=Path)
    parser.add_argument("--channels", type=int, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--patch", type=int, default=32)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--epochs", type=float, default=0)
    parser.add_argument("--seconds", type=float, default=3600, help="of processor time, at most")
    parser.add_argument("--without", choices=PARTS, nargs="*", default=[])
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--caption", type=float, default=0.0, help="weight of writing captions")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    onnx = options.tower.read_bytes()
    image = {
        "kind": "tower",
        "size": options.size,
        "patch": options.patch,
        "widths": [options.channels],
        "depths": [1],
        "tower": {"sha256": hashlib.sha256(onnx).hexdigest()},
    }
    options.features.mkdir(parents=True, exist_ok=True)
    parts = read_flickr8k(options.flickr8k)
    paths = {split: options.features / f"{split}.npy" for split in parts}
    if not options.epochs:
        extract_all(parts, image, onnx, paths, options.limit)
        return
    records = {split: found for split, (found, _) in parts.items()}
    features = {split: np.load(path, mmap_mode="r") for split, path in paths.items()}
    first = _HELD_OUT if options.held_out else 0
    chosen = [part for part in PARTS if part not in options.without]
    predictor, spent = train(
        records["train"][first:], features["train"][first:], image, chosen, options
    )
    result = {
        "without": options.without,
        "seed": options.seed,
        **spent,
        "val": score(predictor, features["val"], records["val"]),
    }
    if first:
        result["held out"] = score(predictor, features["train"][:first], records["train"][:first])
    if options.caption:
        pixels = torch.from_numpy(np.array(features["val"][:5])).permute(0, 3, 1, 2)
        result["captions"] = predictor.caption(pixels)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
