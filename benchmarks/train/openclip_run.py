"""Training an image-text model with open_clip and with mmcore, each as it is meant to be used.

    VENV/bin/python -m benchmarks.train.openclip_run FLICKR8K --work FOLDER
    VENV/bin/python -m benchmarks.train.openclip_run FLICKR8K --work FOLDER --task coca \
        --photographs 128 --epochs 5 --rounds 1

VENV as in `openclip_steps`. Both read the same shards (WebDataset tars that mmcore wrote), at 128
pixels in batches of 64 on one thread in bfloat16, and train two transformers of width 256 and depth
6 (CoCa: a decoder of depth 6 too) with AdamW and a table of 49,408 tokens. The networks are not the
same: each is the library's own.

open_clip: its program, `open_clip_train.main`, with `--precision amp_bf16` and without workers
(the fewest processor seconds), and once more with `--torchcompile`. mmcore: `Trainer` on the
samples that `training_samples` gives, once from memory (its default at this size) and once
streamed, decoding at every visit. Processor seconds of processes that take turns, given twice: of
the epochs after the first, in which kernels are compiled and `from memory` decodes; and of the
whole run, from the opening of the data and the making of the model on. Ratios are of one round.

So few steps measure speed, not learning: at the end either loss on a training batch must be near
that of a guess and not have grown, and mmcore's must be the same from memory and streamed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.train.pairs import encoded_pairs, pair_batches
from mmcore.lake import Lake
from mmcore.models.config import ModelConfig
from mmcore.models.fusion_model import FusionModel, normalise_pixels, parameter_count
from mmcore.models.images import decode_images
from mmcore.models.text import TextTokenizer
from mmcore.shards.index import ShardName
from mmcore.shards.reader import SampleStore, Skipped
from mmcore.shards.writer import Sample, pack_shard, sample_key
from mmcore.tokenize.tokenizer import TokenizerSettings, train_tokenizer
from mmcore.train.loading import Data, training_samples
from mmcore.train.loop import Hooks, Trainer
from mmcore.train.memory import keep_freed_memory
from mmcore.train.pictures import Pictures
from mmcore.train.pixels import Neighbours
from mmcore.train.rank import fitted
from mmcore.train.samples import read_records
from mmcore.train.settings import LossWeights, TrainSettings
from mmcore.train.vocabulary import build_labels

DAY = "2026-01-01"
PIXELS, PATCH, WIDTH, DEPTH, HEADS = 128, 16, 256, 6, 4
VOCABULARY, CONTEXT = 49408, 77
BATCH, PER_SHARD = 64, 128
WARM_UP = 5  # steps
FEWEST = 12  # steps; in the first ones the loss of any new model jumps
SIDES = ("open_clip", "open_clip --torchcompile", "mmcore", "mmcore streamed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("flickr8k", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--task", choices=("clip", "coca"), default="clip")
    parser.add_argument("--photographs", type=int, default=256, help="a multiple of 128")
    parser.add_argument("--epochs", type=int, default=4, help="after the first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    visits = (options.epochs + 1) * options.photographs
    if options.photographs % PER_SHARD or visits < FEWEST * BATCH:
        parser.error(f"photographs in multiples of {PER_SHARD}, and {FEWEST} batches of {BATCH}")
    torch.set_num_threads(1)
    if options.side:
        train = train_open_clip if options.side.startswith("open_clip") else train_mmcore
        return print(json.dumps(train(options)))
    options.work.mkdir(parents=True, exist_ok=True)
    prepare(options)
    sides = options.sides.split(",")
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(options.rounds):
        for side in sides[:: -1 if number % 2 else 1]:
            found[side].append(in_process(side))
            print(side, found[side][-1], file=sys.stderr, flush=True)
    report(found)


def report(found: dict[str, list[dict[str, float]]]) -> None:
    """The table, and the checks that it counts; ratios to the first side."""
    print(
        "| side | parameters | samples a CPU-second | ratio | whole run | ratio | peak MB | loss |"
    )
    print("|---|---|---|---|---|---|---|---|")
    base = next(iter(found.values()))
    for side, runs in found.items():
        print(
            f"| {side} | {runs[0]['parameters']:,.0f} | {compared(runs, base, 'speed')} | "
            f"{compared(runs, base, 'whole')} | {median(r['peak'] for r in runs):,.0f} | "
            f"{median(r['loss'] for r in runs):.2f} |"
        )
    for runs in found.values():
        assert all(r["loss"] < math.log(BATCH) + 0.1 for r in runs), runs
    ours = {r["loss"] for side, runs in found.items() if side.startswith("mmcore") for r in runs}
    assert len(ours) <= 1, ours


def compared(runs: list[dict[str, float]], base: list[dict[str, float]], what: str) -> str:
    """Two cells: the median, and the ratios to another side's runs."""
    ratios = [mine[what] / other[what] for mine, other in zip(runs, base, strict=True)]
    cells = f"{median(r[what] for r in runs):.1f} | {median(ratios):.2f}"
    return cells if len(runs) < 2 else f"{cells} ({min(ratios):.2f} to {max(ratios):.2f})"


def in_process(side: str) -> dict[str, float]:
    """One training in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.train.openclip_run", *sys.argv[1:], "--side", side]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def prepare(options: argparse.Namespace) -> None:
    """Write the shards, our tokenizer and open_clip's description of its model."""
    folder = options.work / f"lake-{options.photographs}"
    if not folder.exists():
        write_shards(folder, encoded_pairs(options.flickr8k, options.photographs))
    (options.work / "configs").mkdir(exist_ok=True)
    for task in ("clip", "coca"):
        path = options.work / "configs" / f"{task}-small.json"
        path.write_text(json.dumps(peer_config(task)))


def write_shards(folder: Path, pairs: list[tuple[str, bytes, str]]) -> None:
    writer, parts = Lake(str(folder)).writer("shards", DAY, format="tar"), []
    for number, first in enumerate(range(0, len(pairs), PER_SHARD)):
        samples = []
        for at, (_, jpg, text) in enumerate(pairs[first : first + PER_SHARD], first):
            key = f"{at:064x}"
            caption = {"text": text, "lang": "en", "confidence": 1.0, "source": "caption"}
            labels = {"sha256": key, "cluster": key, "split": "train", "captions": [caption]}
            samples.append(Sample(sample_key(key[::-1]), jpg, text, labels))
        name = ShardName("train", number)
        tar, index = pack_shard(name, samples)
        parts.append(writer.write_file(name.tar, tar, rows=len(samples), extra={"split": "train"}))
        parts.append(writer.write_file(name.index, index, extra={"split": "train"}))
    writer.commit(parts, [], {})
    made = train_tokenizer([[text for _, _, text in pairs]], TokenizerSettings())
    (folder / "tokenizer.json").write_bytes(made)


def peer_config(task: str) -> dict[str, Any]:
    """What `open_clip/model_configs` holds for a model."""
    vision: dict[str, Any] = {
        "image_size": PIXELS,
        "layers": DEPTH,
        "width": WIDTH,
        "patch_size": PATCH,
    }
    text: dict[str, Any] = {
        "context_length": CONTEXT if task == "clip" else CONTEXT - 1,
        "vocab_size": VOCABULARY,
        "width": WIDTH,
        "heads": HEADS,
        "layers": DEPTH,
    }
    if task == "clip":
        return {"embed_dim": WIDTH, "vision_cfg": vision, "text_cfg": text}
    pooled = {"attentional_pool": True, "attn_pooler_heads": 8, "output_tokens": True}
    return {
        "embed_dim": WIDTH,
        # as many tokens for the decoder as our image encoder gives, and one for contrast
        "vision_cfg": {**vision, **pooled, "attn_pooler_queries": (PIXELS // PATCH) ** 2 + 1},
        "text_cfg": {**text, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**text, "attn_pooler_heads": 8},
        "custom_text": True,
    }


def train_open_clip(options: argparse.Namespace) -> dict[str, float]:
    import open_clip
    import open_clip_train.main as program

    open_clip.add_model_config(options.work / "configs")
    model_name = f"{options.task}-small"
    own, epochs = program.train_one_epoch, list[float]()
    models: list[Any] = []

    def train_one_epoch(model: Any, *rest: Any, **named: Any) -> None:
        began = time.process_time()
        own(model, *rest, **named)
        epochs.append(time.process_time() - began)
        models[:] = [model]

    program.train_one_epoch = train_one_epoch
    began = time.process_time()
    tars = sorted(str(p) for p in (options.work / f"lake-{options.photographs}").rglob("*.tar"))
    flags = {
        "--train-data": "::".join(tars),
        "--train-num-samples": str(options.photographs),
        "--dataset-type": "webdataset",
        "--batch-size": str(BATCH),
        "--precision": "amp_bf16",
        "--workers": "0",
        "--epochs": str(options.epochs + 1),
        "--model": model_name,
        "--warmup": str(WARM_UP),
        "--lr": "1e-3",
        "--logs": str(options.work / "logs"),
        "--name": f"run-{os.getpid()}",
        "--save-frequency": "0",
    }
    arguments = [part for pair in flags.items() for part in pair]
    if options.side.endswith("--torchcompile"):
        arguments.append("--torchcompile")
    sys.stdout, told = sys.stderr, sys.stdout
    program.main(arguments)
    sys.stdout = told
    seconds, peak = time.process_time() - began, peak_megabytes()
    model = models[0].eval()
    tokenize = open_clip.get_tokenizer(model_name)
    pixels, ids = pair_batches(options.flickr8k, PIXELS, BATCH, 1, tokenize)[0]
    with torch.no_grad():
        out = model(pixels, ids)
    loss = contrast(out["image_features"], out["text_features"], out["logit_scale"])
    return {
        "speed": options.epochs * options.photographs / sum(epochs[1:]),
        "whole": (options.epochs + 1) * options.photographs / seconds,
        "peak": peak,
        "loss": loss,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def train_mmcore(options: argparse.Namespace) -> dict[str, float]:
    torch.manual_seed(0)
    began = time.process_time()
    keep_freed_memory()  # as a training worker does
    lake = Lake(str(options.work / f"lake-{options.photographs}"))
    store, skipped = SampleStore.open(lake.up_to("shards", DAY), "train"), Skipped(print)
    weights = dict.fromkeys(LossWeights.model_fields, 0.0) | {"contrastive": 1.0}
    if options.task == "coca":
        weights["caption"] = 2.0
    settings = TrainSettings(
        budget_minutes=1000,
        max_epochs=options.epochs + 1,
        batch_size=BATCH,
        optimizer="adamw",
        lr=1e-3,
        ema=0.9,
        warmup=min(0.5, WARM_UP * BATCH / ((options.epochs + 1) * options.photographs)),
        validations=0,
        log_seconds=1e6,
        checkpoint_minutes=1e6,
        loss_weights=LossWeights.model_validate(weights),
        image_cache_mb=0 if options.side.endswith("streamed") else 1024,
        read_threads=1,
    )
    tokenizer = TextTokenizer.load(options.work / f"lake-{options.photographs}" / "tokenizer.json")
    labels = build_labels(read_records(store, skipped), 3, 5, 10, 10)
    config = fitted(our_config(options.task), labels, tokenizer)
    config = config.model_copy(update={"vocab_size": VOCABULARY})
    model = FusionModel(config)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = Data(store, labels, tokenizer, config, settings, 0, skipped, Pictures(config.image))
    samples = training_samples(data, Neighbours(f"bench-{os.getpid()}"))
    trainer = Trainer(model, samples, settings, 0)
    second: list[float] = []  # when the second epoch began

    def before_a_step() -> None:
        if not second and trainer.state.cursor == options.photographs:
            second.append(time.process_time())

    state = trainer.fit(Hooks(alive=before_a_step))
    ended, peak = time.process_time(), peak_megabytes()
    assert not skipped.found and not state.refused
    model.eval()
    pairs = encoded_pairs(options.flickr8k, BATCH)
    pixels = torch.from_numpy(decode_images([jpg for _, jpg, _ in pairs], PIXELS))
    ids = torch.from_numpy(tokenizer.encode([text for _, _, text in pairs], CONTEXT))
    with torch.no_grad():
        seen = model.encode_image(normalise_pixels(pixels.permute(0, 3, 1, 2)))
        image = model.embed(seen, "image")
        text = model.embed(model.encode_text(ids), "text")
    return {
        "speed": (state.cursor - options.photographs) / (ended - second[0]),
        "whole": state.cursor / (ended - began),
        "peak": peak,
        "loss": contrast(image, text, model.retrieval.scale),
        "parameters": parameter_count(model),
    }


def our_config(task: str) -> ModelConfig:
    """The fusion model with open_clip's widths and depths."""
    return ModelConfig.model_validate(
        {
            "width": WIDTH,
            "embed_dim": WIDTH,
            "image": {
                "kind": "vit",
                "size": PIXELS,
                "patch": PATCH,
                "widths": [WIDTH],
                "depths": [DEPTH],
                "heads": HEADS,
            },
            "text": {"depth": DEPTH, "heads": HEADS, "max_tokens": CONTEXT},
            "alignment": "linear",
            "fusion": "concat",
            "decoder_depth": DEPTH if task == "coca" else 1,
            "heads": HEADS,
        }
    )


def contrast(image: Tensor, text: Tensor, scale: Tensor) -> float:
    """The contrastive loss of a batch."""
    logits = scale * image @ text.T
    own = torch.arange(len(logits))
    return float((F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2)


def peak_megabytes() -> float:
    """The largest resident set of this process so far (it did not start from a larger one)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
