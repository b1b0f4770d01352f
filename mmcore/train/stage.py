"""The train stage: shards in, a candidate model out, by Ray Train."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from mmcore.cluster import Listener, catch_up, listening, post, report, say
from mmcore.errors import MmcoreError, UserError
from mmcore.lake import Dataset, Lake
from mmcore.lake.manifest import Parent, input_fingerprint
from mmcore.lake.version import code_version
from mmcore.models.config import MAX_ANSWER, ModelConfig, load_preset, preset_names
from mmcore.train.brought import Brought, Pretrained, TowerFile, tower_encoder
from mmcore.train.owner import Ownership, is_owned, owned
from mmcore.train.run_folder import RunFolder
from mmcore.train.settings import TrainSettings

if TYPE_CHECKING:
    from mmcore.cluster import Member
    from mmcore.train.rank import Job

STAGE = "train"

Follower = Callable[[str, dict[str, Any]], AbstractContextManager[Listener]]
"""Begins to follow a training of this name, made from these inputs; left when it ends."""

_HOW_NOT_WHAT = {
    *("workers", "gpus", "retries", "hang_minutes", "checkpoint_minutes", "log_seconds"),
    *("threads", "read_threads", "image_cache_mb", "shard_cache_mb"),
}
"""Settings that a run may go on with after they were changed: they decide where and how it is
computed, not what."""

_SET_ELSEWHERE = {
    "vocab_size": "it is that of the tokenizer, see tokenize.vocab_size",
    "answers": "they are those of the training samples, see train.max_answers",
    "tags": "they are those of the training samples, see train.max_tags",
    "languages": "they are those of the training samples' captions",
}
"""Sizes of the model that data gives, and what decides them."""


class WorkerRange(BaseModel):
    """As many workers as there is room for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: int = Field(1, ge=1, description="with fewer the training waits")
    max: int = Field(ge=1, description="more are not started")
    resize_seconds: float = Field(60.0, gt=0, description="how often Ray looks for more room")

    @model_validator(mode="after")
    def _ordered(self) -> WorkerRange:
        if self.min > self.max:
            raise ValueError(f"min {self.min} must not be above max {self.max}")
        return self


class Config(TrainSettings):
    """The recipe's ``train`` section."""

    preset: str = Field("nano", description="size of the model: nano, tiny, small, base or large")
    model: dict[str, JsonValue] = Field(
        {}, description="what differs from the preset, e.g. {text: {kind: lstm}}: see docs/model.md"
    )
    tower: TowerFile | None = Field(
        None,
        description="a frozen image model in place of an image encoder, e.g. {file: tower.onnx}: "
        "see docs/model.md",
    )
    pretrained: Pretrained | None = Field(
        None,
        description="weights that encoders of kind transformers start from, e.g. {image: folder}",
    )
    workers: int | WorkerRange = Field(
        2,
        description="processes that train together; {min: 1, max: 4}: as many as there is room for",
    )
    gpus: bool = Field(False, description="one GPU for every worker")
    retries: int = Field(2, ge=0, description="times a failed worker group is started again")
    hang_minutes: float = Field(
        10.0, gt=0, description="a worker that makes no step for so long counts as failed"
    )

    @field_validator("workers")
    @classmethod
    def _some_workers(cls, value: int | WorkerRange) -> int | WorkerRange:
        if isinstance(value, int) and value < 1:
            raise ValueError("must be 1 or more")
        return value

    @property
    def worker_range(self) -> tuple[int, int]:
        """The fewest and the most workers."""
        found = self.workers
        return (found, found) if isinstance(found, int) else (found.min, found.max)

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, value: str) -> str:
        if value not in preset_names():
            raise ValueError(f"must be one of {', '.join(preset_names())}")
        return value

    @model_validator(mode="after")
    def _known_model(self) -> Config:
        for name in sorted(self.model.keys() & _SET_ELSEWHERE.keys()):
            raise ValueError(f"leave {name} out of model: {_SET_ELSEWHERE[name]}")
        try:
            model = load_preset(self.preset, **self.model)
        except UserError as error:
            raise ValueError(str(error)) from None
        if model.text.kind == "bag" and self.loss_weights.masked_text:
            raise ValueError(
                "loss_weights.masked_text needs a text encoder whose tokens read one another: "
                "set it to 0, or choose another text.kind than bag"
            )
        if self.loss_weights.generative_vqa and not model.text.can_write_answers:
            raise ValueError(
                "loss_weights.generative_vqa needs room for a question and an answer: set it to 0, "
                f"or model.text.max_tokens above {MAX_ANSWER + 2}"
            )
        if model.audio is not None:
            raise ValueError("shards hold no sound: leave audio out of model")
        if model.image.kind == "tower":
            raise ValueError("a frozen tower is given by train.tower, and image left out of model")
        if self.tower is not None and "image" in self.model:
            raise ValueError("with train.tower there is no image encoder: leave image out of model")
        for encoder in self.pretrained.given if self.pretrained else ():
            if getattr(model, encoder).kind != "transformers":
                raise ValueError(
                    f"pretrained.{encoder} needs model.{encoder}.kind transformers: docs/model.md"
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

    init_from: a model folder (the champion) to start from; run_name: the model's name, under which
    an unfinished training is kept. One that was interrupted, however it was, is gone on with.
    followers: who gets the records of ``mmcore.train.progress`` while the training runs, and at
    its end the ``candidate``'s digest. Nobody is asked where there is nothing to train.
    """
    shards = lake.up_to("shards", day)
    if not shards:
        raise UserError(f"There are no shards up to {day} in {lake.root}: run the shards stage.")
    tokenizer = lake.dataset("tokenizer")
    inputs = {**config.model_dump(mode="json"), "seed": seed, "init_from": _digest(init_from)}
    parents = [*shards, tokenizer]
    brought = Brought.of(lake, config.tower, config.pretrained)
    parents += brought.datasets
    inputs |= brought.inputs
    found = lake.reusable("candidate", day, inputs, parents)
    if found is not None:
        return found
    job = _job(shards, tokenizer, brought, config, seed, init_from)
    name = f"{run_name}-{day}"
    run = RunFolder(lake.storage, f"{name}-{_identity(inputs, parents)}")
    made_from = {**inputs, "parents": {parent.label: parent.digest for parent in parents}}
    with owned(run) as ours:
        found = lake.reusable("candidate", day, inputs, parents)
        if found is None:  # nobody else has finished it while we waited
            with _followed(followers, run.name, made_from) as tell:
                _train(job, config, ours)
                files = run.result()
                writer = lake.writer("candidate", day, format="files")
                parts = [writer.write_file(file, data) for file, data in sorted(files.items())]
                found = writer.commit(parts, parents, inputs, _summary(files["training.json"]))
                tell({"candidate": found.digest})
    _remove(run)
    _sweep(lake, run_name, day)
    return found


@contextmanager
def _followed(
    followers: Sequence[Follower], name: str, made_from: dict[str, Any]
) -> Iterator[Listener]:
    """Let the followers hear the records of the block's training, and what is told them."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(follow(name, made_from)) for follow in followers]
        for listener in listeners:
            stack.enter_context(listening(STAGE, listener))

        def tell(record: dict[str, Any]) -> None:
            catch_up()  # what the workers reported comes first
            for listener in listeners:
                listener(record)

        yield tell


def _identity(inputs: dict[str, Any], parents: list[Dataset]) -> str:
    """16 hex digits that name a training by all that decides it: the folder of a run can only ever
    be gone on with by the same training."""
    deciding = {key: value for key, value in inputs.items() if key not in _HOW_NOT_WHAT}
    lineage = [Parent(label=p.label, digest=p.digest) for p in parents]
    return input_fingerprint("candidate", deciding, lineage, code_version())[:16]


def _sweep(lake: Lake, model: str, day: str) -> None:
    """Remove what other trainings of the model, of this day and earlier ones, have left, unless
    they are at work."""
    for folder in lake.storage.folders("runs"):
        of_model = re.fullmatch(re.escape(model) + r"-(\d{4}-\d\d-\d\d)-[0-9a-f]{16}", folder)
        other = RunFolder(lake.storage, folder)
        if of_model and of_model[1] <= day and not is_owned(other):
            _remove(other)


def _remove(run: RunFolder) -> None:
    try:
        run.storage.delete(run.prefix)
    except OSError as error:  # what an ending worker still writes there; the next training sweeps
        say(STAGE, f"{run.location} could not be removed: {error}")


def _architecture(config: Config, tower: Dataset | None) -> ModelConfig:
    """The preset with what the recipe changes, on the tower if there is one."""
    changes: dict[str, Any] = dict(config.model)
    if config.tower is not None and tower is not None:
        changes["image"] = tower_encoder(tower, config.tower).model_dump(mode="json")
    return load_preset(config.preset, **changes)


def _job(
    shards: list[Dataset],
    tokenizer: Dataset,
    brought: Brought,
    config: Config,
    seed: int,
    init_from: Path | None,
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
    settings = _settings(config)
    part, rest = divmod(settings.batch_size, settings.accumulate)
    if rest or part < config.worker_range[1]:
        raise UserError(
            f"train.batch_size {settings.batch_size} must be a multiple of train.accumulate "
            f"({settings.accumulate}) and at least train.workers x train.accumulate "
            f"({config.worker_range[1]} x {settings.accumulate})."
        )
    return Job(
        shards,
        tokenizer.read_file("tokenizer.json").decode("utf-8"),
        _architecture(config, brought.tower),
        settings,
        seed,
        str(init_from) if init_from else None,
        brought.tower,
        brought.pretrained,
    )


def _settings(config: Config) -> TrainSettings:
    settings = TrainSettings.model_validate(
        config.model_dump(include=set(TrainSettings.model_fields))
    )
    if config.tower is None:
        return settings
    # a tower's features have no colours that could be painted
    weights = settings.loss_weights.model_copy(update={"reconstruction": 0.0})
    return settings.model_copy(update={"loss_weights": weights})


def _train(job: Job, config: Config, ours: Ownership) -> None:
    """Train until the result is in the run's folder. Errors say where the run stands, but for those
    of its settings: with others it is another run."""
    from mmcore.cluster import GroupSettings, run_group

    run = ours.run
    settings = GroupSettings(
        config.worker_range,
        _cpus_per_worker(config),
        config.gpus,
        config.retries,
        60.0 if isinstance(config.workers, int) else config.workers.resize_seconds,
        config.hang_minutes * 60,
        run.location,
    )
    try:
        while not run_group(partial(_work, job, run, settings.hang_seconds), settings, ours.lost):
            say(STAGE, f"a worker was told to end: starting again. {_standing(run)}")
    except UserError:
        raise
    except MmcoreError as error:
        raise MmcoreError(f"Training failed: {error} {_standing(run)}") from error
    except BaseException:  # Ctrl-C, SIGTERM, a cancelled Dagster run: the caller's to handle
        say(STAGE, f"stopped. {_standing(run)}")
        raise


def _standing(run: RunFolder) -> str:
    """A sentence about where the run can go on."""
    steps = run.steps()
    if not steps:
        return "There is no checkpoint yet."
    return (
        f"The checkpoint of step {steps[-1]} is kept in {run.location}; the same training, run "
        "again, goes on from it."
    )


def _cpus_per_worker(config: Config) -> float:
    """Whole ones where there are more than enough; else a fraction, because workers that take
    every last CPU wait for ever for one another. Of a range, as many as there are CPUs."""
    from mmcore.cluster import available_cpus, require_cpus

    fewest, most = config.worker_range
    require_cpus(fewest * 0.5, f"Training with {fewest} workers")
    room = available_cpus() / fewest
    if fewest < most:
        return config.threads - 0.05 if room >= config.threads else 0.5
    return float(config.threads) if room > config.threads else 0.5


def _work(job: Job, run: RunFolder, patience: float, member: Member) -> bool:
    """One rank of the training, in its own process. patience: seconds to wait for another one."""
    import torch
    import torch.distributed as dist

    from mmcore.train.local_messages import LocalMessages
    from mmcore.train.pixels import Neighbours
    from mmcore.train.rank import Callbacks, train_rank
    from mmcore.train.ranks import Ranks

    barrier: Callable[[], None] = (lambda: dist.barrier()) if member.world > 1 else (lambda: None)
    neighbours = Neighbours(member.group, member.local_rank, member.local_world, barrier)
    callbacks = Callbacks(
        say=lambda line: post(STAGE, line),
        leaving=member.leaving,
        alive=member.alive,
        report=lambda record: report(STAGE, record),
    )
    local = None
    if 1 < member.world == member.local_world:
        # less than the watchdog's, so that a wait ends with a sentence
        local = LocalMessages.connect(member.rank, member.world, 0.9 * patience)
    ranks = Ranks(member.rank, member.world, local=local)
    try:
        return train_rank(job, run, ranks, neighbours, torch.device(member.device), callbacks)
    finally:
        if local is not None:
            local.close()


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
