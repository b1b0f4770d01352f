"""Does an option of the model or its losses pay? Short trainings at equal processor time.

    python -m benchmarks.models.options flickr8k FOLDER --seconds 90 --seeds 2 --out results.jsonl
    python -m benchmarks.models.options lake ROOT --day 2026-11-25 --only base,uncertainty

`flickr8k` trains on photographs with captions (train 6,000, scored on val 1,000: recall at 10 of
all five captions, both ways); `lake` on a lake's shards (all tasks, scored on the val split). Every
run stops after the same processor seconds of one thread, whatever else the machine does. A line of
JSON a run; `table results.jsonl` prints medians over seeds and the difference from `base`.
"""

from __future__ import annotations

import argparse
import json
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcore.lake import Lake
from mmcore.models.artifact import Artifact
from mmcore.models.config import load_preset
from mmcore.models.fusion_model import FusionModel
from mmcore.models.images import decode_images
from mmcore.models.labels import Labels
from mmcore.models.predictor import Predictor
from mmcore.models.text import TextTokenizer
from mmcore.shards.order import SampleOrder
from mmcore.shards.reader import SampleStore
from mmcore.tokenize.tokenizer import TokenizerSettings, train_tokenizer
from mmcore.train.data import build_table
from mmcore.train.loop import Trainer
from mmcore.train.rank import fitted
from mmcore.train.samples import MemorySamples
from mmcore.train.settings import LoopSettings
from mmcore.train.vocabulary import answer_key, answer_tokens, build_labels

SIZE = 64
BATCH_256 = {"batch_size": 256, "accumulate": 4}


@dataclass(frozen=True)
class Variant:
    """What differs from the base run."""

    settings: dict[str, Any]
    model: dict[str, Any]
    weights: dict[str, float]


def _variant(
    settings: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    **weights: float,
) -> Variant:
    return Variant(settings or {}, model or {}, weights)


_CNN = {"patch": 4, "widths": [64, 128], "depths": [2, 3]}
VARIANTS = {
    "base": _variant(),
    "sigmoid": _variant({"contrastive_loss": "sigmoid"}),
    "soft_targets": _variant({"soft_targets": 0.4}),
    "batch_256_parts": _variant(BATCH_256),
    "batch_256_cache": _variant({**BATCH_256, "gradient_cache": True}),
    "uncertainty": _variant({"uncertainty_weighting": True}),
    "masked_text": _variant(masked_text=0.5),
    "generative_vqa": _variant(generative_vqa=1.0),
    "consistency": _variant(consistency=1.0),
    "few_tags": _variant(),  # a tenth of the images keep their tags and sentiment
    "few_tags_consistency": _variant(consistency=1.0),
    "gru": _variant(model={"text": {"kind": "gru"}}),
    "lstm": _variant(model={"text": {"kind": "lstm"}}),
    "cnn": _variant(model={"image": {"kind": "cnn", **_CNN}}),
    "convnext": _variant(model={"image": {"kind": "convnext", **_CNN}}),
}


@dataclass(frozen=True)
class Data:
    """Records as the JSON of a shard, and their pictures, uint8 [N, SIZE, SIZE, 3]."""

    train: list[dict[str, Any]]
    train_pixels: NDArray[np.uint8]
    val: list[dict[str, Any]]
    val_pixels: NDArray[np.uint8]
    tokenizer: TextTokenizer


def flickr8k(folder: Path) -> Data:
    """The photographs and their five captions each."""
    parts = read_flickr8k(folder)
    return _data(parts, caption_tokenizer(parts["train"][0]))


def read_flickr8k(folder: Path) -> dict[str, tuple[list[dict[str, Any]], list[bytes]]]:
    """Records and encoded pictures of the splits train and val."""
    lines = (folder / "annotations.jsonl").read_text().splitlines()
    annotated = {row["image"]: row for row in map(json.loads, lines)}
    parts: dict[str, tuple[list[dict[str, Any]], list[bytes]]] = {
        "train": ([], []),
        "val": ([], []),
    }
    for path in sorted(folder.glob("images-*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                row, file = annotated.get(Path(member.name).name), archive.extractfile(member)
                if row is None or file is None:
                    continue
                records, pictures = parts[row["split"]]
                records.append({"captions": [{"text": c, "lang": "en"} for c in row["captions"]]})
                pictures.append(file.read())
    return parts


def caption_tokenizer(records: list[dict[str, Any]]) -> TextTokenizer:
    """A tokenizer trained on the captions."""
    texts = [caption["text"] for record in records for caption in record["captions"]]
    trained = train_tokenizer([texts], TokenizerSettings(vocab_size=4096))
    return TextTokenizer(trained.decode("utf-8"))


def lake(root: str, day: str) -> Data:
    """The shards of a lake."""
    opened = Lake(root)
    parts = {}
    for split in ("train", "val"):
        samples = list(SampleStore.open(opened.up_to("shards", day), split))
        parts[split] = ([s.labels for s in samples], [s.jpg for s in samples])
    text = opened.dataset("tokenizer").read_file("tokenizer.json").decode("utf-8")
    return _data(parts, TextTokenizer(text))


def _data(
    parts: dict[str, tuple[list[dict[str, Any]], list[bytes]]], tokenizer: TextTokenizer
) -> Data:
    (train, train_pictures), (val, val_pictures) = parts["train"], parts["val"]
    return Data(
        train,
        decode_images(train_pictures, SIZE),
        val,
        decode_images(val_pictures, SIZE),
        tokenizer,
    )


def run(data: Data, name: str, seconds: float, seed: int, preset: str) -> dict[str, Any]:
    """Train one variant for so many processor seconds and score it."""
    variant, records = VARIANTS[name], data.train
    if name.startswith("few_tags"):
        records = [
            record if number % 10 == 0 else {**record, "tags": [], "sentiment": None}
            for number, record in enumerate(records)
        ]
    data = replace(data, train=records)
    predictor, samples = train(data, variant, seconds, seed, preset)
    writes = variant.weights.get("generative_vqa", 0) > 0
    scores = score(predictor, data, predictor.labels, writes)
    rounded = {key: round(value, 4) for key, value in scores.items()}
    return {"variant": name, "seed": seed, "seconds": seconds, "samples": samples, **rounded}


def train(
    data: Data, variant: Variant, seconds: float, seed: int, preset: str = "nano"
) -> tuple[Predictor, int]:
    """A model from nothing after so many processor seconds, and the samples it has seen."""
    labels = build_labels(data.train, 3, 5, 2000, 1000)
    torch.manual_seed(seed)
    config = fitted(load_preset(preset, **variant.model), labels, data.tokenizer)
    model = FusionModel(config)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings = LoopSettings.model_validate(
        {
            "budget_minutes": seconds / 60,
            "validations": 0,
            "checkpoint_minutes": 1e9,
            "loss_weights": variant.weights,
            **variant.settings,
        }
    )
    table = build_table(data.train, labels, data.tokenizer, config.text.max_tokens)
    order = SampleOrder(np.array([len(table)]), seed)
    trainer = Trainer(
        model,
        MemorySamples(table, lambda numbers: data.train_pixels[numbers], order),
        settings,
        seed,
        clock=time.process_time,
        answers=answer_tokens(labels, data.tokenizer),
    )
    state = trainer.fit()
    return Predictor(Artifact(trainer.ema.model, labels, data.tokenizer)), state.cursor


def score(predictor: Predictor, data: Data, labels: Labels, writes: bool) -> dict[str, float]:
    """What the val split shows, each in 0..1."""
    pixels = torch.from_numpy(data.val_pixels).permute(0, 3, 1, 2)
    scores = recalls(predictor, pixels, data.val)
    asked = [
        (number, pair["question"], answer_key(pair["answer"]))
        for number, record in enumerate(data.val)
        for pair in record.get("qa") or ()
    ]
    if asked and labels.answers:
        rows, questions, answers = (list(column) for column in zip(*asked, strict=True))
        said = [answer for answer, _ in predictor.answer(pixels[rows], questions)]
        scores["vqa"] = float(np.mean([a == b for a, b in zip(said, answers, strict=True)]))
        if writes:
            written = [answer_key(a) for a in predictor.write_answers(pixels[rows], questions)]
            right = [a == b for a, b in zip(written, answers, strict=True)]
            scores["written_vqa"] = float(np.mean(right))
    tagged = [n for n, record in enumerate(data.val) if record.get("tags")]
    if tagged and labels.tags:
        scores["tags_map"] = mean_average_precision(
            predictor.tags(pixels[tagged]),
            np.array(
                [
                    [tag in {t["tag"] for t in data.val[n]["tags"]} for tag in labels.tags]
                    for n in tagged
                ]
            ),
        )
    felt = [n for n, record in enumerate(data.val) if record.get("sentiment")]
    if felt:
        truth = [labels.sentiment.index(data.val[n]["sentiment"]["label"]) for n in felt]
        scores["sentiment"] = float(
            (predictor.sentiment(pixels[felt]).argmax(axis=1) == truth).mean()
        )
    return scores


def recalls(
    predictor: Predictor, pixels: torch.Tensor, records: list[dict[str, Any]]
) -> dict[str, float]:
    """Recall at 10, text to image and image to text, of all captions in one gallery."""
    texts = [c["text"] for record in records for c in record["captions"]]
    owner = np.array([n for n, record in enumerate(records) for _ in record["captions"]])
    similarity = predictor.encode_texts(texts) @ predictor.encode_images(pixels).T
    own = similarity[np.arange(len(texts)), owner]
    to_image = (similarity > own[:, None]).sum(axis=1) < 10
    best = np.full(len(records), -np.inf, np.float32)
    np.maximum.at(best, owner, own)
    captioned = np.isfinite(best)
    to_text = (similarity > best[None]).sum(axis=0)[captioned] < 10
    return {"t2i_r10": float(to_image.mean()), "i2t_r10": float(to_text.mean())}


def mean_average_precision(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """Mean over the tags that occur of the average precision of their ranking."""
    found = []
    for column in np.flatnonzero(truth.any(axis=0)):
        hits = truth[np.argsort(-scores[:, column], kind="stable"), column]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        found.append(precision[hits].mean())
    return float(np.mean(found))


def print_table(path: Path) -> None:
    """Medians over seeds, and in brackets how far from `base` (or `few_tags`) they are."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    names = list(dict.fromkeys(row["variant"] for row in rows))
    keys = [k for k in rows[0] if k not in ("variant", "seed", "seconds")]
    keys += sorted({k for row in rows for k in row} - {*keys, "variant", "seed", "seconds"})
    middle = {
        name: {
            key: median(found)
            for key in keys
            if (found := [r[key] for r in rows if r["variant"] == name and key in r])
        }
        for name in names
    }
    print("| variant | runs | " + " | ".join(keys) + " |")
    print("|---" * (len(keys) + 2) + "|")
    for name in names:
        base = middle.get("few_tags" if name == "few_tags_consistency" else "base", {})
        cells = [_cell(middle[name].get(key), base.get(key), name) for key in keys]
        runs = sum(row["variant"] == name for row in rows)
        print(f"| {name} | {runs} | " + " | ".join(cells) + " |")


def _cell(value: float | None, base: float | None, name: str) -> str:
    if value is None:
        return "–"
    if value > 1:
        return f"{value:,.0f}"
    difference = "" if base is None or name == "base" else f" ({100 * (value - base):+.1f})"
    return f"{100 * value:.1f}{difference}"


def main() -> None:
    """Read the command line and run the variants, seed by seed, so that load hits all alike."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", choices=["flickr8k", "lake", "table"])
    parser.add_argument("path")
    parser.add_argument("--day", default="")
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--only", default="base")
    parser.add_argument("--out", type=Path, default=Path("options.jsonl"))
    options = parser.parse_args()
    if options.source == "table":
        print_table(Path(options.path))
        return
    torch.set_num_threads(1)
    readers: dict[str, Callable[[], Data]] = {
        "flickr8k": lambda: flickr8k(Path(options.path)),
        "lake": lambda: lake(options.path, options.day),
    }
    data = readers[options.source]()
    for seed in map(int, options.seeds.split(",")):
        for name in options.only.split(","):
            row = run(data, name, options.seconds, seed, options.preset)
            with options.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
