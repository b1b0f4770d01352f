"""Photographs and captions on a frozen image tower (LiT): what do borrowed features bring?

    python -m benchmarks.models.frozen_tower FLICKR8K TOWER.onnx --channels 1280 --features DIR
    python -m benchmarks.models.frozen_tower FLICKR8K TOWER.onnx --channels 1280 --features DIR \\
        --seconds 120

The first call computes the features once (`--limit` pictures a call, to be repeated until it says
that all are there); with `--seconds` the rest is trained on them from nothing for so much processor
time. Recall at 10 on val: 1,000 photographs, all of their five captions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch

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
from mmcore.train.rank import fitted
from mmcore.train.samples import MemorySamples
from mmcore.train.settings import LoopSettings
from mmcore.train.vocabulary import build_labels

_CHUNK = 128


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
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--captions", type=int, default=1, help="of a picture, each visit")
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
    if not options.seconds:
        config = ImageEncoderConfig.model_validate(image)
        tower = OnnxTower(onnx, config)
        left = options.limit
        for split, (_, pictures) in parts.items():
            began = time.process_time()
            complete = extract(pictures, tower, config, paths[split], left)
            print(f"{split}: complete={complete}, {time.process_time() - began:.0f} s", flush=True)
            if not complete:
                return
        return
    train, val = parts["train"][0], parts["val"][0]
    features = {split: np.load(path, mmap_mode="r") for split, path in paths.items()}
    tokenizer, labels = caption_tokenizer(train), build_labels(train, 3, 5, 10, 10)
    torch.manual_seed(options.seed)
    preset = load_preset("nano", dropout=0.1, width=256, embed_dim=256)
    preset = preset.model_copy(update={"image": ImageEncoderConfig.model_validate(image)})
    config = fitted(preset, labels, tokenizer)
    model = FusionModel(config)
    settings = LoopSettings.model_validate(
        {
            "budget_minutes": options.seconds / 60,
            "batch_size": options.batch,
            "captions": options.captions,
            "validations": 0,
            "checkpoint_minutes": 1e9,
            "log_seconds": 1e9,
            "loss_weights": {"matching": 0, "caption": options.caption},
        }
    )
    table = build_table(train, labels, tokenizer, config.text.max_tokens)
    order = SampleOrder(np.array([len(table)]), options.seed)
    trainer = Trainer(
        model,
        MemorySamples(table, lambda numbers: np.asarray(features["train"][numbers]), order),
        settings,
        options.seed,
        clock=time.process_time,
    )
    state = trainer.fit()
    predictor = Predictor(Artifact(trainer.ema.model, labels, tokenizer, onnx))
    pixels = torch.from_numpy(np.array(features["val"])).permute(0, 3, 1, 2)
    scores = recalls(predictor, pixels, val)
    captions = predictor.caption(pixels[:5]) if options.caption else []
    result = {
        "seconds": options.seconds,
        "epochs": round(state.cursor / len(train), 1),
        "parameters": parameter_count(model),
        **{key: round(100 * value, 1) for key, value in scores.items()},
        "captions": captions,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
