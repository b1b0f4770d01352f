"""What one rank does from start to end: read, build, train, hand over. Knows no Ray."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mmcore.errors import MmcoreError
from mmcore.lake import Dataset
from mmcore.models.artifact import artifact_files
from mmcore.models.config import ModelConfig
from mmcore.models.fusion_model import FusionModel, parameter_count
from mmcore.models.labels import Labels
from mmcore.models.text import TextTokenizer
from mmcore.shards.cache import ShardCache
from mmcore.shards.order import SampleOrder, Visits, sample_order
from mmcore.shards.reader import SampleStore, Skipped
from mmcore.shards.replay import Order
from mmcore.train.checkpoint import RunState, load_checkpoint, save_checkpoint
from mmcore.train.loading import Data, training_samples
from mmcore.train.loop import Hooks, Trainer
from mmcore.train.pixels import Neighbours
from mmcore.train.progress import Record, progress_line
from mmcore.train.ranks import Ranks
from mmcore.train.samples import MemorySamples, StreamedSamples, read_records
from mmcore.train.settings import TrainSettings
from mmcore.train.showcase import Gallery, exhibits
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
    called on every rank equally often. ``report`` gets the records of mmcore.train.progress (rank
    0, from more than one thread)."""

    say: Callable[[str], None]
    checkpoint: Callable[[Callable[[Path], None]], None]
    report: Callable[[Record], None] = lambda record: None


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
    tokenizer, settings = TextTokenizer(job.tokenizer_json), job.settings
    store = SampleStore.open(job.shards, "train", cache=_cache(settings))
    skipped = Skipped(lambda problem: say(f"skipped {problem}"))
    labels = build_labels(
        read_records(store, skipped),
        settings.min_answers,
        settings.min_tags,
        settings.max_answers,
        settings.max_tags,
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
    # a picture is decoded by one rank, which must be the one to speak of it
    skipped = Skipped(lambda problem: callbacks.say(f"skipped {problem}"), skipped.found)
    newest = len(SampleStore.open(job.shards[-1:], "train"))
    data = Data(store, labels, tokenizer, config, settings, job.seed, skipped, newest)
    samples = training_samples(data, neighbours)
    validation = _validation(data, job.shards, say) if ranks.rank == 0 else None
    answers = answer_tokens(labels, tokenizer)
    trainer = Trainer(model, samples, settings, job.seed, ranks, validation, answers=answers)
    order = _order_name(job, samples.order)
    if resume is not None:
        trainer.state = load_checkpoint(resume, model, trainer.ema, trainer.optimizers)
        _check_order(trainer.state, order)
        state, (epoch, place) = trainer.state, samples.order.place(trainer.state.cursor)
        say(f"resuming at step {state.step}, sample {state.cursor:,} (epoch {epoch}, {place:,})")
    trainer.state.order = order
    shown = validation.exhibits if validation else ()
    gallery = Gallery(shown, labels, tokenizer, callbacks.report, say)
    hooks = Hooks(
        log=lambda record: _log(callbacks, record),
        validated=lambda t: gallery.show(t.ema.model, t.state.cursor),
        checkpoint=lambda t: callbacks.checkpoint(partial(_write_state, t)),
    )
    trainer.fit(hooks)
    lost = _count_skipped(skipped, len(store), ranks)
    extra = partial(_extra_files, trainer, job, start, lost, gallery)
    callbacks.checkpoint(partial(_write_result, trainer, labels, tokenizer, extra))


def _log(callbacks: Callbacks, record: Record) -> None:
    callbacks.say(progress_line(record))
    callbacks.report(record)


def _cache(settings: TrainSettings) -> ShardCache | None:
    if not settings.shard_cache_mb:
        return None
    folder = Path(tempfile.gettempdir()) / f"mmcore-shards-{os.getuid()}"
    return ShardCache(folder, settings.shard_cache_mb << 20)


def _order_name(job: Job, order: Order) -> str:
    """What a cursor is a place in: the snapshot and the order of its samples."""
    snapshot = "".join(dataset.digest for dataset in job.shards)
    return hashlib.sha256((snapshot + order.fingerprint).encode()).hexdigest()


def _check_order(state: RunState, order: str) -> None:
    if state.order != order:
        raise MmcoreError(
            "The checkpoint is of a run on other shards, with another seed, shuffle_window, "
            "task_visits, days or replay; its place in the sample order means nothing here."
        )


def _count_skipped(skipped: Skipped, samples: int, ranks: Ranks) -> int:
    """Samples that any rank has skipped."""
    found = torch.zeros(samples, dtype=torch.uint8)
    found[list(skipped.found)] = 1
    return int(torch.count_nonzero(ranks.sum(found)))


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


def _validation(data: Data, shards: list[Dataset], say: Callable[[str], None]) -> Validation:
    """Up to 512 held-out samples in memory; those that cannot be read are left out."""
    store = SampleStore.open(shards, "val")
    skipped = Skipped(lambda problem: say(f"skipped {problem}"))
    numbers = sample_order(len(store), 0, 0)[:VALIDATION_SAMPLES]
    config = data.config
    streamed = StreamedSamples(
        store,
        data.labels,
        data.tokenizer,
        config.text.max_tokens,
        config.image.size,
        SampleOrder(store.sizes, 0),
        skipped,
    )
    rows = streamed.read(Visits(numbers, np.zeros(len(numbers), np.uint8)))
    read = np.flatnonzero(rows.image_weights)
    order = SampleOrder(np.array([len(read)]), 0)
    return Validation(
        MemorySamples(rows.labels.take(read), lambda asked: rows.pixels[read[asked]], order),
        exhibits=exhibits(store, numbers[read].tolist(), data.labels.languages[0]),
    )


def _write_state(trainer: Trainer, folder: Path) -> None:
    save_checkpoint(folder, trainer.model, trainer.ema, trainer.optimizers, trainer.state)


def _write_result(
    trainer: Trainer,
    labels: Labels,
    tokenizer: TextTokenizer,
    extra: Callable[[], dict[str, bytes]],
    folder: Path,
) -> None:
    _write_state(trainer, folder)
    weights = trainer.ema.model.state_dict()
    files = artifact_files(weights, trainer.model.config, labels, tokenizer)
    files |= extra()
    target = folder / "result"
    target.mkdir()
    for name, data in files.items():
        (target / name).write_bytes(data)


def _extra_files(
    trainer: Trainer, job: Job, start: str, skipped: int, gallery: Gallery
) -> dict[str, bytes]:
    """What a candidate carries beside the model: how it was trained, and a picture of it."""
    picture = gallery.close(trainer.ema.model, trainer.state.cursor)
    files = {"training.json": training_record(trainer, job, start, skipped)}
    return files if picture is None else {**files, "predictions.png": picture}


def training_record(trainer: Trainer, job: Job, start: str, skipped: int) -> bytes:
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
        "train_samples": len(trainer.samples),
        "skipped_samples": skipped,
        "steps": state.step,
        "refused_steps": state.refused,
        "samples_seen": state.cursor,
        "epochs": round(state.cursor / trainer.samples.order.epoch_length, 3),
        "seconds": round(state.seconds, 2),
        "samples_per_second": round(state.cursor / max(state.seconds, 1e-9), 1),
        "history": state.history,
        "validations": [v for v in state.validations if "scores" in v],
        "final_validation": validation.measure(trainer.ema.model) if validation else {},
    }
    return (json.dumps(record, indent=1, sort_keys=True) + "\n").encode("utf-8")


def _silent(line: str) -> None:
    """Other ranks than the first have nothing to say."""
