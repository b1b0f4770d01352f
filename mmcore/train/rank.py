"""What one rank does from start to end: read, build, train, hand over. Knows no Ray."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmcore.errors import MmcoreError
from mmcore.lake import Dataset
from mmcore.models.artifact import artifact_files
from mmcore.models.backbone import load_pretrained
from mmcore.models.config import TOWER_FILE, ModelConfig
from mmcore.models.fusion_model import FusionModel, parameter_count
from mmcore.models.labels import Labels
from mmcore.models.text import TextTokenizer
from mmcore.shards.cache import ShardCache
from mmcore.shards.order import SampleOrder, Visits, sample_order
from mmcore.shards.reader import SampleStore, Skipped
from mmcore.shards.replay import Order
from mmcore.train.checkpoint import RunState, Snapshot, restore, take_snapshot
from mmcore.train.loading import Data, training_samples
from mmcore.train.loop import Hooks, Trainer
from mmcore.train.memory import keep_freed_memory
from mmcore.train.pictures import Pictures
from mmcore.train.pixels import Neighbours
from mmcore.train.progress import Record, progress_line
from mmcore.train.ranks import Ranks
from mmcore.train.run_folder import BackgroundWriter, RunFolder
from mmcore.train.samples import MemorySamples, StreamedSamples, read_records
from mmcore.train.settings import TrainSettings
from mmcore.train.showcase import Gallery, exhibits
from mmcore.train.validation import Validation
from mmcore.train.vocabulary import answer_tokens, build_labels
from mmcore.train.warm_start import warm_start

VALIDATION_SAMPLES = 512


@dataclass(frozen=True)
class Job:
    """Everything a rank is told; picklable. ``architecture`` lacks the sizes that data gives;
    ``tower`` holds the frozen image model that it stands on, ``pretrained`` the weights that its
    encoders start from, if there are such."""

    shards: list[Dataset]
    tokenizer_json: str
    architecture: ModelConfig
    settings: TrainSettings
    seed: int
    init_from: str | None
    tower: Dataset | None = None
    pretrained: Dataset | None = None


@dataclass(frozen=True)
class Callbacks:
    """``say`` prints a line (rank 0). ``leaving``: whether this process was told to end soon.
    ``alive`` is called before every step. ``report`` gets the records of mmcore.train.progress
    (rank 0, from more than one thread)."""

    say: Callable[[str], None]
    leaving: Callable[[], bool] = lambda: False
    alive: Callable[[], None] = lambda: None
    report: Callable[[Record], None] = lambda record: None


def train_rank(
    job: Job,
    run: RunFolder,
    ranks: Ranks,
    neighbours: Neighbours,
    device: torch.device,
    callbacks: Callbacks,
) -> bool:
    """Train from the newest checkpoint of the run, or from the start.

    True: the finished model and ``training.json`` are the run's result. False: a rank was told to
    end; the newest checkpoint is of this very moment.
    """
    keep_freed_memory()
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
        settings.loss_weights.generative_vqa > 0,
    )
    config = fitted(job.architecture, labels, tokenizer)
    # a model that is to be divided reaches the device in pieces
    model = FusionModel(config).to("cpu" if settings.sharding == "fsdp" else device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    say(
        f"{len(store):,} images, {parameter_count(model):,} parameters, {len(labels.answers)} "
        f"answers, {len(labels.tags)} tags"
    )
    # a picture is decoded by one rank, which must be the one to speak of it
    skipped = Skipped(lambda problem: callbacks.say(f"skipped {problem}"), skipped.found)
    newest = len(SampleStore.open(job.shards[-1:], "train"))
    onnx = job.tower.read_file(TOWER_FILE) if job.tower else None
    pictures = Pictures.of(config.image, onnx)
    data = Data(store, labels, tokenizer, config, settings, job.seed, skipped, pictures, newest)
    samples = training_samples(data, neighbours)
    model.expect_tags(torch.from_numpy(samples.tag_rates()))
    start = _begin(model, job, labels, tokenizer)
    validation = _validation(data, job.shards, say) if ranks.rank == 0 else None
    answers = answer_tokens(labels, tokenizer)
    trainer = Trainer(
        model, samples, settings, job.seed, ranks, validation, answers=answers, device=device
    )
    for note in trainer.notes:
        say(note)
    say(_resume(trainer, run, _order_name(job, samples.order), say) or start)
    shown = validation.exhibits if validation else ()
    gallery = Gallery(shown, labels, tokenizer, callbacks.report, say, onnx)
    _fit(trainer, BackgroundWriter(run, say), gallery, callbacks)
    callbacks.alive()
    averaged = trainer.averaged()
    picture = gallery.close(averaged, trainer.state.cursor)
    if trainer.left:
        return False
    lost = _count_skipped(skipped, len(store), ranks)
    callbacks.alive()
    if ranks.rank == 0:
        record = training_record(trainer, averaged, job, start, lost)
        files = _result(trainer, averaged, labels, tokenizer, onnx)
        files["training.json"] = record
        if picture is not None:
            files["predictions.png"] = picture
        callbacks.alive()
        run.write_result(files)
    return True


def _begin(model: FusionModel, job: Job, labels: Labels, tokenizer: TextTokenizer) -> str:
    """Give the model the champion's weights, or its encoders those that the recipe brings; says in
    one line what was done."""
    brought = _load_brought(model, job.pretrained) if job.pretrained else ""
    if not job.init_from:
        return brought or "starting from scratch"
    said = warm_start(model, labels, tokenizer, Path(job.init_from))
    if brought and said.startswith("starting from scratch: "):
        return f"{brought}; {said.removeprefix('starting from scratch: ')}"
    return said


def _load_brought(model: FusionModel, pretrained: Dataset) -> str:
    encoders = {"image": model.image_encoder, "text": model.text_encoder}
    said = []
    for part in pretrained.parts:
        name = part.file.removesuffix(".safetensors")
        said.append(f"{name} {load_pretrained(encoders[name], pretrained.read_file(part.file))}")
    return f"starting from pretrained weights: {', '.join(said)}"


def _resume(trainer: Trainer, run: RunFolder, order: str, say: Callable[[str], None]) -> str:
    """Put the trainer where the newest whole checkpoint stands; all ranks the same one. Returns a
    line about it, empty where there is none."""
    lead = trainer.ranks.rank == 0
    newest = run.newest(say) if lead else None
    step = int(trainer.ranks.sum(torch.tensor([-1 if newest is None else newest]) * lead))
    if step < 0:
        trainer.state.order = order
        return ""
    parts = trainer.model, trainer.ema, trainer.optimizers, trainer.ledger
    trainer.state = restore(run.read(step), *parts)
    _check_order(trainer.state, order)
    state, (epoch, place) = trainer.state, trainer.samples.order.place(trainer.state.cursor)
    return f"resuming at step {state.step}, sample {state.cursor:,} (epoch {epoch}, {place:,})"


def _fit(
    trainer: Trainer, writer: BackgroundWriter, gallery: Gallery, callbacks: Callbacks
) -> None:
    """Run the loop; its last state, whether it is done or must leave, is written at the end."""

    def save(trainer: Trainer) -> None:
        # a divided model is brought together by all ranks; of a whole one rank 0 has it all
        lead = trainer.ranks.rank == 0
        if lead or trainer.settings.sharding == "fsdp":
            snapshot = _snapshot(trainer)
            if lead:
                writer.begin(snapshot)

    hooks = Hooks(
        log=lambda record: _log(callbacks, record),
        validated=lambda model, t: gallery.show(model, t.state.cursor),
        checkpoint=save,
        ready=writer.idle,
        leaving=callbacks.leaving,
        alive=callbacks.alive,
    )
    trainer.fit(hooks)
    if not trainer.left:
        save(trainer)
    writer.finish()


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
    given = data.pictures.given(rows.pixels[read])
    order = SampleOrder(np.array([len(read)]), 0)
    return Validation(
        MemorySamples(rows.labels.take(read), lambda asked: given[asked], order),
        exhibits=exhibits(store, numbers[read].tolist(), data.labels.languages[0]),
    )


def _snapshot(trainer: Trainer) -> Snapshot:
    parts = trainer.model, trainer.ema, trainer.optimizers, trainer.state, trainer.ledger
    return take_snapshot(*parts)


def _result(
    trainer: Trainer,
    averaged: FusionModel,
    labels: Labels,
    tokenizer: TextTokenizer,
    onnx: bytes | None,
) -> dict[str, bytes]:
    """The files of the finished model, and the ledger where one is kept."""
    files = artifact_files(averaged.state_dict(), averaged.config, labels, tokenizer, onnx)
    if trainer.ledger is not None:
        files["ledger.parquet"] = trainer.ledger.parquet()
    return files


def training_record(
    trainer: Trainer, averaged: FusionModel, job: Job, start: str, skipped: int
) -> bytes:
    """``training.json``: settings, losses over time, speed, parents."""
    state = trainer.state
    validation = trainer.validation
    record = {
        "settings": job.settings.model_dump(mode="json"),
        "seed": job.seed,
        "start": start,
        "parents": [ds.digest for ds in (*job.shards, job.tower, job.pretrained) if ds],
        "workers": trainer.ranks.world,
        "bfloat16": trainer.bfloat16,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),  # frozen ones as well
        "train_samples": len(trainer.samples),
        "skipped_samples": skipped,
        "steps": state.step,
        "refused_steps": state.refused,
        "budget_share": round(state.budget_share, 4),
        "samples_seen": state.cursor,
        "epochs": round(state.cursor / trainer.samples.order.epoch_length, 3),
        "seconds": round(state.seconds, 2),
        "samples_per_second": round(state.cursor / max(state.seconds, 1e-9), 1),
        "history": state.history,
        "validations": [v for v in state.validations if "scores" in v],
        "final_validation": validation.measure(averaged) if validation else {},
    }
    return (json.dumps(record, indent=1, sort_keys=True) + "\n").encode("utf-8")


def _silent(line: str) -> None:
    """Other ranks than the first have nothing to say."""
