"""What one rank does from start to end: read, build, train, hand over. Knows no Ray."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmcore.lake import Dataset
from mmcore.models.artifact import artifact_files
from mmcore.models.config import ModelConfig
from mmcore.models.fusion_model import FusionModel, parameter_count
from mmcore.models.images import decode_images
from mmcore.models.labels import Labels
from mmcore.models.text import TextTokenizer
from mmcore.shards.order import sample_order
from mmcore.shards.reader import SampleStore
from mmcore.train.checkpoint import load_checkpoint, save_checkpoint
from mmcore.train.data import build_table
from mmcore.train.loop import Hooks, Trainer
from mmcore.train.pixels import Neighbours, cached_pixels, streamed_pixels
from mmcore.train.ranks import Ranks
from mmcore.train.settings import TrainSettings
from mmcore.train.validation import Validation
from mmcore.train.vocabulary import answer_tokens, build_labels
from mmcore.train.warm_start import warm_start

VALIDATION_SAMPLES = 512


@dataclass(frozen=True)
class Job:
    """Everything a rank is told; picklable. ``architecture`` lacks the sizes that data gives."""

    shards: list[Dataset]
    tokenizer_json: str
    architecture: ModelConfig
    settings: TrainSettings
    seed: int
    init_from: str | None


@dataclass(frozen=True)
class Callbacks:
    """``say`` prints a line (rank 0). ``checkpoint`` gets a function that writes a folder and is
    called on every rank equally often."""

    say: Callable[[str], None]
    checkpoint: Callable[[Callable[[Path], None]], None]


def train_rank(
    job: Job,
    ranks: Ranks,
    neighbours: Neighbours,
    device: torch.device,
    callbacks: Callbacks,
    resume: Path | None = None,
) -> None:
    """Train; the last checkpoint folder also holds the finished model and ``training.json``."""
    torch.set_num_threads(job.settings.threads)
    torch.manual_seed(job.seed)
    say = callbacks.say if ranks.rank == 0 else _silent
    store = SampleStore.open(job.shards, "train")
    records = [sample.labels for sample in store]
    tokenizer = TextTokenizer(job.tokenizer_json)
    settings = job.settings
    labels = build_labels(
        records, settings.min_answers, settings.min_tags, settings.max_answers, settings.max_tags
    )
    config = fitted(job.architecture, labels, tokenizer)
    model = FusionModel(config).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    say(
        f"{len(store):,} images, {parameter_count(model):,} parameters, {len(labels.answers)} "
        f"answers, {len(labels.tags)} tags"
    )
    start = "starting from scratch"
    if job.init_from:
        start = warm_start(model, labels, tokenizer, Path(job.init_from))
    say(start)
    table = build_table(records, labels, tokenizer, config.text.max_tokens)
    pixels = _pixels(store, config.image.size, settings, neighbours)
    validation = _validation(job, labels, tokenizer, config) if ranks.rank == 0 else None
    answers = answer_tokens(labels, tokenizer)
    trainer = Trainer(model, table, pixels, settings, job.seed, ranks, validation, answers=answers)
    if resume is not None:
        trainer.state = load_checkpoint(resume, model, trainer.ema, trainer.optimizers)
        say(f"resuming at step {trainer.state.step}, sample {trainer.state.cursor:,}")
    hooks = Hooks(
        log=lambda record: say(progress_line(record)),
        checkpoint=lambda t: callbacks.checkpoint(partial(_write_state, t)),
    )
    trainer.fit(hooks)
    callbacks.checkpoint(partial(_write_result, trainer, labels, tokenizer, job, start))


def fitted(architecture: ModelConfig, labels: Labels, tokenizer: TextTokenizer) -> ModelConfig:
    """The architecture with the sizes that the tokenizer and the labels ask for."""
    return architecture.model_copy(
        update={
            "vocab_size": tokenizer.size,
            "answers": max(1, len(labels.answers)),
            "tags": max(1, len(labels.tags)),
            "languages": len(labels.languages),
        }
    )


def progress_line(record: dict[str, Any]) -> str:
    """One line for a person, of a record that the loop logs."""
    if "validation" in record:
        scores = " ".join(f"{name} {value:.2f}" for name, value in record["validation"].items())
        return f"validation after {record['samples']:,} samples: {scores}"
    losses = " ".join(f"{name} {value:.2f}" for name, value in record["losses"].items())
    refused = f", {record['refused']} steps refused" if record["refused"] else ""
    return (
        f"{record['progress']:4.0%} {record['samples']:,} samples, "
        f"{record['samples_per_second']:.0f}/s, loss/guess {losses}, lr {record['lr']:.1e}, "
        f"{record['eta_seconds']:.0f} s left{refused}"
    )


def _pixels(store: SampleStore, size: int, settings: TrainSettings, neighbours: Neighbours) -> Any:
    def read(number: int) -> bytes:
        return store[number].jpg

    if len(store) * size * size * 3 > settings.image_cache_mb * 2**20:
        return streamed_pixels(read, size)
    return cached_pixels(read, len(store), size, neighbours)


def _validation(
    job: Job, labels: Labels, tokenizer: TextTokenizer, config: ModelConfig
) -> Validation:
    store = SampleStore.open(job.shards, "val")
    count = min(len(store), VALIDATION_SAMPLES)
    samples = [store[int(number)] for number in sample_order(len(store), 0, 0)[:count]]
    table = build_table([s.labels for s in samples], labels, tokenizer, config.text.max_tokens)
    pictures = decode_images([s.jpg for s in samples], config.image.size)
    return Validation(table, lambda numbers: pictures[numbers])


def _write_state(trainer: Trainer, folder: Path) -> None:
    save_checkpoint(folder, trainer.model, trainer.ema, trainer.optimizers, trainer.state)


def _write_result(
    trainer: Trainer,
    labels: Labels,
    tokenizer: TextTokenizer,
    job: Job,
    start: str,
    folder: Path,
) -> None:
    _write_state(trainer, folder)
    weights = trainer.ema.model.state_dict()
    files = artifact_files(weights, trainer.model.config, labels, tokenizer)
    files["training.json"] = training_record(trainer, job, start)
    target = folder / "result"
    target.mkdir()
    for name, data in files.items():
        (target / name).write_bytes(data)


def training_record(trainer: Trainer, job: Job, start: str) -> bytes:
    """``training.json``: settings, losses over time, speed, parents."""
    state = trainer.state
    validation = trainer.validation
    record = {
        "settings": job.settings.model_dump(mode="json"),
        "seed": job.seed,
        "start": start,
        "parents": [ds.digest for ds in job.shards],
        "workers": trainer.ranks.world,
        "bfloat16": trainer.bfloat16,
        "parameters": parameter_count(trainer.model),
        "train_samples": len(trainer.table),
        "steps": state.step,
        "refused_steps": state.refused,
        "samples_seen": state.cursor,
        "epochs": round(state.cursor / len(trainer.table), 3),
        "seconds": round(state.seconds, 2),
        "samples_per_second": round(state.cursor / max(state.seconds, 1e-9), 1),
        "history": state.history,
        "validations": [v for v in state.validations if "scores" in v],
        "final_validation": validation.measure(trainer.ema.model) if validation else {},
    }
    return (json.dumps(record, indent=1, sort_keys=True) + "\n").encode("utf-8")


def _silent(line: str) -> None:
    """Other ranks than the first have nothing to say."""
