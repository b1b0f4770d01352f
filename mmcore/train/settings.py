"""What decides a training run, as the recipe's ``train`` section says it. Imports no torch."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

FREEZABLE = (
    "image_encoder",
    "token_embedding",
    "text_encoder",
    "alignment",
    "fusion",
    "captioning",
    "heads",
)


class LossWeights(BaseModel):
    """How much each task counts; 0 switches a task off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reconstruction: float = Field(0.1, ge=0, description="alpha: the image reconstruction loss")
    contrastive: float = Field(1.0, ge=0, description="beta: the image-text contrastive loss")
    matching: float = Field(0.5, ge=0, description="does this text belong to this image?")
    caption: float = Field(1.0, ge=0, description="writing the caption")
    vqa: float = Field(3.0, ge=0, description="answering questions")
    tags: float = Field(1.0, ge=0, description="naming tags")
    sentiment: float = Field(0.5, ge=0, description="negative, neutral or positive")
    local_tags: float = Field(
        6.0, ge=0, description="naming tags from single places of the image: trains its encoder"
    )
    generative_vqa: float = Field(0.0, ge=0, description="the decoder writes answers")
    masked_text: float = Field(0.0, ge=0, description="guessing hidden words of captions")
    consistency: float = Field(
        0.0, ge=0, description="images without tags or sentiment: the same opinion of two views"
    )

    @model_validator(mode="after")
    def _check(self) -> LossWeights:
        if not any(self.model_dump().values()):
            raise ValueError("at least one loss weight must be above 0")
        return self


class TaskVisits(BaseModel):
    """Visits that an epoch makes to a sample for a task it has labels for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    captions: int = Field(1, ge=1, le=255, description="for retrieval, matching and captions")
    questions: int = Field(1, ge=1, le=255, description="for answering questions")
    tags: int = Field(1, ge=1, le=255, description="for naming tags")
    sentiment: int = Field(1, ge=1, le=255, description="for sentiment")


class LoopSettings(BaseModel):
    """What the training loop needs to know, however it is started."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    budget_minutes: float = Field(
        1.8, gt=0, description="wall-clock time of the training loop; the schedule adapts to it"
    )
    max_epochs: float | None = Field(
        None, gt=0, description="end earlier, after so many visits of every sample"
    )
    batch_size: int = Field(64, ge=2, description="samples of one step over all workers")
    accumulate: int = Field(1, ge=1, description="parts that a step is computed in, to save memory")
    gradient_cache: bool = Field(
        False,
        description="with accumulate above 1: contrast all samples of the step, not of a part, for "
        "one more forward pass of the encoders",
    )
    captions: int = Field(
        1,
        ge=1,
        le=16,
        description="captions contrasted with an image each visit, where it has several",
    )
    questions: int = Field(6, ge=1, le=64, description="questions asked about an image each visit")
    optimizer: Literal["muon", "adamw"] = Field(
        "muon", description="muon: for hidden matrices, with adamw for the rest; or adamw alone"
    )
    lr: float = Field(3e-3, gt=0, description="peak learning rate of adamw")
    muon_lr: float = Field(0.03, gt=0, description="peak learning rate of muon")
    schedule: Literal["trapezoid", "cosine"] = Field(
        "trapezoid",
        description="after the warm-up: the peak until the cooldown, or a cosine to 0 at once",
    )
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the budget spent warming up")
    cooldown: float = Field(
        0.4,
        ge=0,
        le=1,
        description="share of the budget over which the learning rate falls to 0; of trapezoid",
    )
    weight_decay: float = Field(0.05, ge=0)
    beta2: float = Field(0.98, gt=0, lt=1)
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.98, ge=0, lt=1, description="decay of the averaged weights that are kept")
    amp: Literal["auto", "on", "off"] = Field(
        "auto", description="bfloat16 arithmetic; auto: where the processor has it"
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="compile the model's blocks (torch.compile); auto: on a GPU, unless sharded",
    )
    activation_checkpointing: bool = Field(
        False, description="compute blocks again in the backward pass: less memory, more time"
    )
    sharding: Literal["none", "fsdp"] = Field(
        "none",
        description="fsdp: each worker keeps a share of the weights and of the optimizer's state, "
        "for models that do not fit; needs optimizer adamw",
    )
    freeze: dict[str, float] = Field(
        {},
        description="parts that stay as they are until a share of the budget, e.g. "
        f"{{image_encoder: 0.3, text_encoder: 1.0}}; of {', '.join(FREEZABLE)}",
    )
    augmentation: float = Field(
        0.5, ge=0, le=3, description="strength; 0: none, neither crop nor mirror"
    )
    crop: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="largest share of the sides that augmentation cuts off, where no text of the "
        "image tells left from right; 0.5 suits photographs",
    )
    mirror: bool = Field(
        True, description="mirror half of the images of which no text tells left from right"
    )
    loss_weights: LossWeights = LossWeights()
    contrastive_loss: Literal["softmax", "sigmoid"] = Field(
        "softmax", description="softmax over the batch (CLIP), or each pair on its own (SigLIP)"
    )
    soft_targets: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the averaged model's opinion in the contrastive targets, for noisy "
        "pairs (ALBEF: 0.4); softmax only",
    )
    uncertainty_weighting: bool = Field(
        False, description="learn how much each task counts, beginning from loss_weights"
    )
    consistency_threshold: float = Field(
        0.95, gt=0.5, lt=1, description="least probability that the consistency loss believes"
    )
    curriculum: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the budget over which the less sure half of the labels comes in; 0: "
        "all count from the start",
    )
    validations: int = Field(2, ge=0, description="times the val split is looked at, evenly spread")
    patience: int = Field(
        0,
        ge=0,
        description="begin the cooldown after so many validations without a better score, and end "
        "the sooner; 0: never",
    )
    checkpoint_minutes: float = Field(1.0, gt=0, description="time between checkpoints")
    ledger: bool = Field(
        False,
        description="keep a record of every sample that was learned from: ledger.parquet beside "
        "the model, and 24 bytes a visit in memory",
    )
    log_seconds: float = Field(4.0, gt=0, description="time between lines of progress")

    @field_validator("amp", "compile", mode="before")
    @classmethod
    def _yaml_switch(cls, value: object) -> object:
        """YAML 1.1 reads a bare on or off as a truth value."""
        return ("off", "on")[value] if isinstance(value, bool) else value

    @field_validator("freeze")
    @classmethod
    def _known_parts(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = [name for name in value if name not in FREEZABLE]
        if unknown:
            raise ValueError(f"{unknown[0]!r} must be one of {', '.join(FREEZABLE)}")
        if any(not 0 <= share <= 1 for share in value.values()):
            raise ValueError("a share of the budget is between 0 and 1")
        if all(value.get(name, 0) > 0 for name in FREEZABLE):
            raise ValueError("at least one part must be left to train from the start")
        return value

    @model_validator(mode="after")
    def _what_sharding_allows(self) -> LoopSettings:
        if self.sharding == "fsdp" and self.optimizer == "muon":
            raise ValueError(
                "sharding fsdp needs optimizer adamw: muon works on whole matrices, which no "
                "worker has then"
            )
        if self.sharding == "fsdp" and self.compile == "on":
            raise ValueError(
                "compile on and sharding fsdp do not go together: blocks whose weights come and "
                "go take minutes to compile; leave compile at auto"
            )
        return self

    @model_validator(mode="after")
    def _patience_can_end(self) -> LoopSettings:
        if not self.patience:
            return self
        if self.schedule == "cosine":
            raise ValueError("patience needs schedule trapezoid: a cosine has no plateau to end")
        looks = math.ceil((1 - self.cooldown) * (self.validations + 1)) - 1
        if looks <= self.patience:
            raise ValueError(
                f"patience {self.patience} needs more validations: of {self.validations} only "
                f"{looks} come before the cooldown, and the first is always the best so far"
            )
        return self

    @model_validator(mode="after")
    def _one_kind_of_target(self) -> LoopSettings:
        if self.soft_targets and self.contrastive_loss == "sigmoid":
            raise ValueError("soft_targets needs contrastive_loss softmax")
        return self


class TrainSettings(LoopSettings):
    """The loop's settings, and what the data is turned into."""

    threads: int = Field(1, ge=1, description="processor threads of each worker")
    min_answers: int = Field(3, ge=1, description="an answer must be seen so often to be learned")
    min_tags: int = Field(5, ge=1, description="a tag must be seen on so many images")
    max_answers: int = Field(2000, ge=1)
    max_tags: int = Field(1000, ge=1)
    image_cache_mb: int = Field(
        1024, ge=0, description="decoded images kept in memory; beyond it they are decoded anew"
    )
    read_threads: int = Field(
        2, ge=1, description="threads of each worker that read images which are not in memory"
    )
    days: Literal["all", "latest"] = Field(
        "all",
        description="what an epoch visits: the samples of all days, or those of the newest day and "
        "a share of the earlier ones (replay)",
    )
    replay: float = Field(
        0.3,
        ge=0,
        le=100,
        description="with days latest: visits of earlier samples for each of a new one, so that "
        "what they taught is not forgotten",
    )
    shuffle_window: int = Field(
        65536, ge=1, description="samples shuffled together; shards outside it are not read"
    )
    task_visits: TaskVisits = Field(
        TaskVisits(),
        description="visits an epoch makes to a sample for a task it has labels for; those beyond "
        "the first train such tasks only",
    )
    shard_cache_mb: int = Field(
        4096, ge=0, description="local copies of the shards of an s3:// lake, for all workers here"
    )
