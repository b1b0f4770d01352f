"""The train stage: shards in, a candidate model out, by Ray Train."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue, field_validator, model_validator

from mmcore.cluster import Listener, listening, post, report
from mmcore.errors import MmcoreError, UserError
from mmcore.lake import Dataset, Lake
from mmcore.models.config import load_preset, preset_names
from mmcore.train.settings import TrainSettings

if TYPE_CHECKING:
    from mmcore.train.rank import Job

STAGE = "train"

Follower = Callable[[str, dict[str, Any]], AbstractContextManager[Listener]]
"""Begins to follow a training of this name, made from these inputs; left when it ends."""


class Config(TrainSettings):
    """The recipe's ``train`` section."""

    preset: str = Field("nano", description="size of the model: nano, tiny, small, base or large")
    model: dict[str, JsonValue] = Field(
        {}, description="what differs from the preset, e.g. {text: {kind: lstm}}: see docs/model.md"
    )
    workers: int = Field(2, ge=1, description="processes that train together")
    gpus: bool = Field(False, description="one GPU for every worker")
    retries: int = Field(2, ge=0, description="times a failed worker group is started again")

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, value: str) -> str:
        if value not in preset_names():
            raise ValueError(f"must be one of {', '.join(preset_names())}")
        return value

    @model_validator(mode="after")
    def _known_model(self) -> Config:
        try:
            model = load_preset(self.preset, **self.model)
        except UserError as error:
            raise ValueError(str(error)) from None
        if model.image.kind == "tower" or model.audio is not None:
            raise ValueError(
                "shards hold neither sound nor a frozen tower's features: leave audio out of "
                "model and choose another image.kind than tower"
            )
        return self


def run(
    lake: Lake,
    day: str,
    config: Config,
    *,
    seed: int = 0,
    init_from: Path | None = None,
    run_name: str = "mmcore",
    followers: Sequence[Follower] = (),
) -> Dataset:
    """Train on ``shards`` of every day up to ``day`` and commit ``candidate@day``.

    init_from: a model folder (the champion) to start from; run_name: prefix of Ray Train's run;
    followers: who gets the records of ``mmcore.train.progress`` while the training runs, and at
    its end the ``candidate``'s digest. Nobody is asked where there is nothing to train.
    """
    shards = lake.up_to("shards", day)
    if not shards:
        raise UserError(f"There are no shards up to {day} in {lake.root}: run the shards stage.")
    tokenizer = lake.dataset("tokenizer")
    inputs = {**config.model_dump(mode="json"), "seed": seed, "init_from": _digest(init_from)}
    parents = [*shards, tokenizer]
    found = lake.reusable("candidate", day, inputs, parents)
    if found is not None:
        return found
    job = _job(shards, tokenizer, config, seed, init_from)
    # a name that was used before would silently resume that run
    name = f"{run_name}-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        made_from = {**inputs, "parents": {parent.label: parent.digest for parent in parents}}
        following = [stack.enter_context(follow(name, made_from)) for follow in followers]
        with ExitStack() as ears:
            for listener in following:
                ears.enter_context(listening(STAGE, listener))
            files = _fit(job, config, f"{lake.root.rstrip('/')}/runs", name)
        writer = lake.writer("candidate", day, format="files")
        parts = [writer.write_file(file, data) for file, data in sorted(files.items())]
        dataset = writer.commit(parts, parents, inputs, _summary(files["training.json"]))
        for listener in following:
            listener({"candidate": dataset.digest})
    lake.storage.delete(f"runs/{name}")
    return dataset


def _job(
    shards: list[Dataset], tokenizer: Dataset, config: Config, seed: int, init_from: Path | None
) -> Job:
    from mmcore.shards.reader import SampleStore
    from mmcore.train.rank import Job

    if not len(SampleStore.open(shards, "train")):
        raise UserError(
            "There is nothing to train on: no image of the shards is in the train split; crawl "
            "more or lower the shares of val and test (shards)."
        )
    if config.days == "latest" and not len(SampleStore.open(shards[-1:], "train")):
        raise UserError(
            f"There is nothing new to train on: {shards[-1].label} has no image in the train "
            "split; set train.days to all."
        )
    settings = TrainSettings.model_validate(
        config.model_dump(include=set(TrainSettings.model_fields))
    )
    if settings.batch_size % (config.workers * settings.accumulate):
        raise UserError(
            f"train.batch_size {settings.batch_size} must be a multiple of train.workers x "
            f"train.accumulate ({config.workers} x {settings.accumulate})."
        )
    return Job(
        shards,
        tokenizer.read_file("tokenizer.json").decode("utf-8"),
        load_preset(config.preset, **config.model),
        settings,
        seed,
        str(init_from) if init_from else None,
    )


def _fit(job: Job, config: Config, storage: str, name: str) -> dict[str, bytes]:
    """Run Ray Train and return the files of the finished model."""
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        _worker,
        train_loop_config={"job": job, "name": name},
        torch_config=TorchConfig(backend="nccl" if config.gpus else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.workers,
            use_gpu=config.gpus,
            resources_per_worker=_resources(config),
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=storage,
            failure_config=ray.train.FailureConfig(max_failures=config.retries),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    result = _off_main_thread(trainer.fit)
    if result.checkpoint is None:
        raise MmcoreError(f"Training {name} ended without a checkpoint.")
    with result.checkpoint.as_directory() as folder:
        return {path.name: path.read_bytes() for path in (Path(folder) / "result").iterdir()}


def _resources(config: Config) -> dict[str, float]:
    """CPUs of one worker. Whole ones where there are more than enough; else a fraction, because
    workers that take every last CPU wait for ever for one another."""
    from mmcore.cluster import available_cpus, require_cpus

    require_cpus(config.workers * 0.5, f"Training with {config.workers} workers")
    free = available_cpus() / config.workers
    share = float(config.threads) if free > config.threads else 0.5
    return {"CPU": share, **({"GPU": 1.0} if config.gpus else {})}


def _worker(options: dict[str, Any]) -> None:
    """One Ray Train worker: a rank of the training."""
    # Batches differ in their numbers of questions and tokens, and oneDNN keeps a compiled kernel
    # for each shape: a quarter of its default saves 200 MB a worker and costs 3 % of the speed.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
    import ray.train
    import ray.train.torch
    import torch
    import torch.distributed as dist

    from mmcore.train.pixels import Neighbours
    from mmcore.train.rank import Callbacks, train_rank
    from mmcore.train.ranks import Ranks

    context = ray.train.get_context()
    world, rank = context.get_world_size(), context.get_world_rank()
    barrier: Callable[[], None] = (lambda: dist.barrier()) if world > 1 else (lambda: None)
    neighbours = Neighbours(
        f"{options['name']}-{uuid.uuid4().hex}" if world == 1 else options["name"],
        context.get_local_rank(),
        context.get_local_world_size(),
        barrier,
    )

    def checkpoint(write: Callable[[Path], None]) -> None:
        if rank != 0:
            ray.train.report({"rank": rank})
            return
        with tempfile.TemporaryDirectory(prefix="mmcore-checkpoint-") as folder:
            write(Path(folder))
            saved = ray.train.Checkpoint.from_directory(folder)
            ray.train.report({"rank": rank}, checkpoint=saved)

    callbacks = Callbacks(
        say=lambda line: post(STAGE, line),
        checkpoint=checkpoint,
        report=lambda record: report(STAGE, record),
    )
    device = torch.device(ray.train.torch.get_device())
    earlier = ray.train.get_checkpoint()
    ranks = Ranks(rank, world)
    if earlier is None:
        train_rank(options["job"], ranks, neighbours, device, callbacks)
        return
    with earlier.as_directory() as folder:
        train_rank(options["job"], ranks, neighbours, device, callbacks, Path(folder))


def _off_main_thread(work: Callable[[], Any]) -> Any:
    """Run ``work`` in a thread: in the main one Ray Train would take over Ctrl-C for good."""
    outcome: dict[str, Any] = {}

    def body() -> None:
        try:
            outcome["result"] = work()
        except BaseException as error:  # handed to the caller below
            outcome["error"] = error

    thread = threading.Thread(target=body, name="ray-train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(timeout=0.5)
    if "error" in outcome:
        raise _readable(outcome["error"])
    return outcome["result"]


def _readable(error: BaseException) -> BaseException:
    """The worker's own error where it is one that was written for a person."""
    seen: BaseException | None = error
    while seen is not None:
        for inner in (seen, *getattr(seen, "worker_failures", {}).values()):
            cause = getattr(inner, "cause", None) or getattr(inner, "_base_exc", None) or inner
            if isinstance(cause, MmcoreError):
                return type(cause)(str(cause))
        seen = seen.__cause__
    return MmcoreError(f"Training failed: {error}")


def _summary(training: bytes) -> dict[str, Any]:
    """What the manifest shows of ``training.json``."""
    import json

    record = json.loads(training)
    names = ("parameters", "steps", "samples_seen", "epochs", "seconds", "samples_per_second")
    return {
        "funnel": {"train_samples": record["train_samples"]},
        "validation": record["final_validation"],
        **{name: record[name] for name in names},
    }


def _digest(folder: Path | None) -> str | None:
    """Hash of a model folder's weights: the same weights elsewhere are the same start."""
    if folder is None:
        return None
    weights = folder / "model.safetensors"
    if not weights.exists():
        raise UserError(f"{folder} is not a model folder: model.safetensors is missing.")
    return hashlib.sha256(weights.read_bytes()).hexdigest()
