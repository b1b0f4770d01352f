"""The training loop: plain torch, any number of ranks, no Ray.

Each step: agree on the time (rank 0's clock) and on what to do besides, compute the losses of this
rank's share of the global batch, sum the gradients, refuse the step if they are not finite, else
clip, step and average.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmcore.errors import UserError
from mmcore.models.fusion_model import FusionModel
from mmcore.shards.order import rank_share
from mmcore.shards.reader import ahead
from mmcore.train.augment import Augmentation
from mmcore.train.balance import add_training_parameters, guess_losses, total_loss
from mmcore.train.batches import Batch, make_batch
from mmcore.train.checkpoint import RunState
from mmcore.train.curriculum import Curriculum
from mmcore.train.freezing import Freezing
from mmcore.train.gradient_cache import CachedGradients
from mmcore.train.ledger import Ledger
from mmcore.train.losses import TASKS, Modes, TaskLosses
from mmcore.train.optimizer import Optimizers
from mmcore.train.precision import use_bfloat16
from mmcore.train.prepare import prepare
from mmcore.train.progress import Meter
from mmcore.train.ranks import Ranks
from mmcore.train.samples import Samples
from mmcore.train.schedule import learning_rate_factor
from mmcore.train.settings import LoopSettings
from mmcore.train.sharding import clip_gradients, is_sharded, whole_model
from mmcore.train.validation import Validation

MAX_REFUSED_IN_A_ROW = 50
SOFT_TARGETS_RISE = 0.2  # of the budget: until then the averaged model has little to teach
_BATCHES_AHEAD = 3


@dataclass(frozen=True)
class Hooks:
    """What the loop calls.

    On rank 0 only: ``log``; ``validated``, with the averaged model; ``ready``, whether a checkpoint
    may be taken now. On every rank: ``checkpoint``, equally often; ``leaving``, whether this
    process was told to end soon: if any was, all ranks take a checkpoint before the next step and
    leave; ``alive`` before every step.
    """

    log: Callable[[dict[str, Any]], None] = lambda record: None
    validated: Callable[[FusionModel, Trainer], None] = lambda averaged, trainer: None
    checkpoint: Callable[[Trainer], None] = lambda trainer: None
    ready: Callable[[], bool] = lambda: True
    leaving: Callable[[], bool] = lambda: False
    alive: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class _Agreed:
    """What all ranks know before a step: label weights float64 [len(TASKS)] of all ranks."""

    progress: float
    save: bool
    leave: bool
    counts: Tensor


class Trainer:
    """One rank's model, optimizer and place in the sample stream."""

    def __init__(
        self,
        model: FusionModel,
        samples: Samples,
        settings: LoopSettings,
        seed: int,
        ranks: Ranks | None = None,
        validation: Validation | None = None,
        clock: Callable[[], float] = time.monotonic,
        answers: Tensor | None = None,
        device: torch.device | None = None,
    ) -> None:
        """answers: int64 [C, A], tokens of each answer; loss_weights.generative_vqa needs them.
        device: where to train, if the model is not there yet."""
        self.ranks = _ranks_of_batch(settings, ranks or Ranks(), len(samples))
        self.model, self.samples = model, samples
        self.settings, self.seed, self.clock = settings, seed, clock
        self.validation = validation
        self.device = device or model.token_embedding.weight.device
        add_training_parameters(model, settings, len(TASKS))
        self.ranks.broadcast(list(model.parameters()), self.device)
        self.ema, self.notes = prepare(model, settings, self.ranks, self.device)
        self.losses = TaskLosses(
            model,
            settings.loss_weights,
            Modes(),
            None if answers is None else answers.to(self.device),
            self.ema.model,
            settings.consistency_threshold,
            in_step=settings.sharding == "fsdp",
        )
        self.state = RunState()
        self.bfloat16 = use_bfloat16(settings.amp, self.device)
        self.meter = Meter(self.device)
        self.curriculum = (
            Curriculum.of(samples.some_labels(), settings.curriculum)
            if settings.curriculum
            else None
        )
        self.optimizers = Optimizers(model, settings, self.ranks, self.bfloat16)
        self._freezing = Freezing(model, settings.freeze)
        self._weights, self._guess_losses = self._loss_factors()
        self._augmentation = Augmentation.of(settings)
        self._tally = torch.zeros(2, len(TASKS), dtype=torch.float64)  # loss sums, weights
        self._refused_in_a_row = 0
        self.left = False
        self.ledger = Ledger() if settings.ledger else None

    def fit(self, hooks: Hooks | None = None) -> RunState:
        """Train until the budget, the epochs or the patience end; returns the final state.

        ``left`` tells whether a rank was told to end before that. Where the validations lose
        patience before the cooldown, it begins at once and the budget is shortened by as much.
        """
        hooks = hooks or Hooks()
        began = self.clock() - self.state.seconds
        settings, state = self.settings, self.state
        logged, saved = state.seconds, state.seconds
        logged_cursor = state.cursor
        self.model.train()
        self.meter.restart()
        coming = self._coming_batches()
        while True:
            hooks.alive()
            with self.meter.waiting("data"):
                batches = [batch.to(self.device) for batch in next(coming)]
            if self.curriculum is not None:
                agreed_before = self.progress(state.seconds)
                batches = [self.curriculum(batch, agreed_before) for batch in batches]
            seconds = self.clock() - began
            due = seconds - saved >= settings.checkpoint_minutes * 60 and hooks.ready()
            with self.meter.waiting("messages"):
                agreed = self._agree(seconds, due, hooks.leaving(), batches)
            progress = agreed.progress
            done = progress >= 1
            self.left = agreed.leave and not done
            if done or self.left:
                coming.close()
                if self.left:
                    hooks.checkpoint(self)
                return state
            self._step(batches, agreed.counts, progress)
            if state.seconds - logged >= settings.log_seconds:
                rate = (state.cursor - logged_cursor) / (state.seconds - logged)
                self._log(hooks, progress, rate)
                logged, logged_cursor = state.seconds, state.cursor
            looks = math.floor(progress * state.budget_share * (settings.validations + 1))
            if state.looks < looks:
                state.looks = looks
                self._validate(hooks)
            if agreed.save:
                saved = state.seconds
                hooks.checkpoint(self)

    def progress(self, seconds: float) -> float:
        """Used share of the budget, in time or in visits, whichever is further."""
        used = seconds / (self.settings.budget_minutes * 60)
        if self.settings.max_epochs is not None:
            visits = self.settings.max_epochs * self.samples.order.epoch_length
            used = max(used, self.state.cursor / visits)
        return used / self.state.budget_share

    def _coming_batches(self) -> Generator[list[Batch], None, None]:
        """This rank's shares of the global batches from the cursor on, read ahead of their use."""
        cursors = itertools.count(self.state.cursor, self.settings.batch_size)
        return ahead(self._batches_at, cursors, self.samples.threads, _BATCHES_AHEAD)

    def _batches_at(self, cursor: int) -> list[Batch]:
        """This rank's share of the global batch at a cursor, in ``accumulate`` parts."""
        settings, ranks = self.settings, self.ranks
        part = settings.batch_size // settings.accumulate
        shares = [
            rank_share(cursor + part * number, part, ranks.rank, ranks.world)
            for number in range(settings.accumulate)
        ]
        wanted = settings.questions, settings.captions
        return [make_batch(self.samples, self.seed, *share, *wanted) for share in shares]

    def _agree(self, seconds: float, save: bool, leave: bool, batches: list[Batch]) -> _Agreed:
        """One message a step: rank 0's clock, whether its patience is over and whether it wants a
        checkpoint; whether any rank must leave; everyone's label weights."""
        counts = torch.stack([self.losses.counts(b).cpu() for b in batches]).sum(dim=0)
        lead = self.ranks.rank == 0
        head = torch.tensor([seconds, self._patience_is_over(), save], dtype=torch.float64) * lead
        flag = torch.tensor([leave], dtype=torch.float64)
        shared = self.ranks.sum(torch.cat([head, flag, counts]))
        self.state.seconds = float(shared[0])
        stale, save, leave = (bool(value > 0) for value in shared[1:4])
        if stale:
            self._end_early()
        return _Agreed(self.progress(self.state.seconds), save, leave, shared[4:])

    def _patience_is_over(self) -> bool:
        """Once: a cooldown that has begun runs to its end."""
        return 0 < self.settings.patience <= self.state.stale and self.state.budget_share == 1

    def _end_early(self) -> None:
        """Shorten the budget so that the cooldown begins now, on all ranks alike."""
        state, now = self.state, self.progress(self.state.seconds)
        end = 1 - self.settings.cooldown
        if self.settings.warmup <= now < end:
            state.budget_share *= now / end

    def _step(self, batches: list[Batch], counts: Tensor, progress: float) -> None:
        settings, state = self.settings, self.state
        self.model.zero_grad(set_to_none=True)
        self._freezing.update(progress)
        divisor = counts.clamp_min(1e-6).to(self.device, torch.float32) * self._guess_losses
        share = 1 / (len(batches) * self.ranks.world)
        soft = settings.soft_targets * min(1.0, progress / SOFT_TARGETS_RISE)
        present = (counts > 0).to(self.device)
        sums = torch.zeros(len(TASKS), device=self.device)
        cached = self._cached(batches, soft)
        for number, batch in enumerate(batches):
            self._reseed(number)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                part = self.losses(batch, self._augmentation, self.ranks, soft, cached[number])
            total = total_loss(part / divisor, self._weights, present, self.model, share)
            if total.requires_grad:  # not where this part has labels for frozen parts only
                total.backward()
            sums += part.detach()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        with self.meter.waiting("messages"):
            self.ranks.sum_gradients([p for p in trained if not is_sharded(p)])
        norm = clip_gradients(trained, settings.clip, self.ranks)
        state.cursor += settings.batch_size
        state.step += 1
        self.meter.add(batches, norm)
        if not bool(torch.isfinite(norm)):
            self._refuse()
            return
        self._refused_in_a_row = 0
        self.optimizers.step(self._rate(progress))
        self.ema.update()
        if self.ledger is not None:
            self.ledger.add(state.step, [batch.number for batch in batches], self.ranks)
        # our own share of the losses stands for all: ranks see the same distribution
        total = sums.double().cpu() * self.ranks.world
        self._tally += torch.stack([total, counts])

    def _rate(self, progress: float) -> float:
        settings = self.settings
        return learning_rate_factor(progress, settings.warmup, settings.cooldown, settings.schedule)

    def _reseed(self, part: int) -> None:
        """What is random inside the model is a function of seed, step, rank and part: a resumed
        run repeats it, and so does the second pass of the gradient cache."""
        torch.manual_seed(hash_seed(self.seed, self.state.step, self.ranks.rank) + part)

    def _cached(self, batches: list[Batch], soft: float) -> list[CachedGradients] | list[None]:
        """The contrastive loss over all parts of the step, where that is asked for."""
        settings = self.settings
        if not (settings.gradient_cache and settings.loss_weights.contrastive) or len(batches) < 2:
            return [None] * len(batches)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.losses.cache_contrastive(
                batches, self._augmentation, self.ranks, self._reseed, soft
            )

    def _refuse(self) -> None:
        """Leave the weights as they are: a bad step would spoil them for good."""
        self.ema.undo_buffers()
        self.state.refused += 1
        self._refused_in_a_row += 1
        if self._refused_in_a_row >= MAX_REFUSED_IN_A_ROW:
            raise UserError(
                f"{MAX_REFUSED_IN_A_ROW} training steps in a row had gradients that are not "
                "finite; lower train.lr or set train.amp to off."
            )

    def _log(self, hooks: Hooks, progress: float, rate: float) -> None:
        sums, counts = self._tally
        guesses = self._guess_losses.tolist()
        losses = {
            task: round(float(sums[i] / counts[i]) / guesses[i], 4)
            for i, task in enumerate(TASKS)
            if counts[i] > 0 and getattr(self.settings.loss_weights, task) > 0
        }
        self._tally.zero_()
        seconds = self.state.seconds
        record = {
            "seconds": round(seconds, 2),
            "progress": round(progress, 4),
            "step": self.state.step,
            "samples": self.state.cursor,
            "samples_per_second": round(rate, 1),
            "lr": self.optimizers.adamw.param_groups[0]["lr"],
            "losses": losses,
            **self.meter.read(self.ranks.world),
            "refused": self.state.refused,
            "eta_seconds": round(seconds / max(progress, 1e-6) - seconds, 1),
        }
        self.state.history.append(record)
        if self.ranks.rank == 0:
            hooks.log(record)

    def _validate(self, hooks: Hooks) -> None:
        """Rank 0 looks, the others wait for it in the next step's message."""
        record: dict[str, Any] = {"step": self.state.step, "samples": self.state.cursor}
        state, averaged = self.state, self.averaged()
        if self.validation is None or self.ranks.rank != 0:
            state.validations.append(record)
            return
        scores = self.validation.measure(averaged)
        state.validations.append(record)
        if not scores:  # no held-out label to be better or worse at
            return
        record["scores"] = {name: round(value, 4) for name, value in scores.items()}
        if scores["score"] > state.best_score:
            state.best_score, state.stale = scores["score"], 0
        else:
            state.stale += 1
        stale = self._patience_is_over()
        hooks.log({"validation": record["scores"], "samples": state.cursor, "stale": stale})
        hooks.validated(averaged, self)

    def averaged(self) -> FusionModel:
        """The averaged model, whole on rank 0; every rank must ask at the same time."""
        return whole_model(self.ema.model, self.ranks)

    def _contrasted(self) -> int:
        """Pairs that are contrasted with one another."""
        settings = self.settings
        parts = 1 if settings.gradient_cache else settings.accumulate
        return settings.batch_size // parts * settings.captions

    def _loss_factors(self) -> tuple[Tensor, Tensor]:
        """Weight and loss of a guess of each task, float32 [len(TASKS)]."""
        settings, weights = self.settings, self.settings.loss_weights
        guesses = guess_losses(
            self.model.config,
            self._contrasted(),
            torch.from_numpy(self.samples.tag_rates()),
            settings.contrastive_loss,
        )
        return (
            torch.tensor([getattr(weights, task) for task in TASKS], device=self.device),
            torch.tensor([guesses[task] for task in TASKS], device=self.device),
        )


def hash_seed(*numbers: int) -> int:
    """A seed for torch from some numbers; the same everywhere and always."""
    seed = 0
    for number in numbers:
        seed = (seed * 6364136223846793005 + number + 1442695040888963407) % 2**63
    return seed


def _ranks_of_batch(settings: LoopSettings, ranks: Ranks, samples: int) -> Ranks:
    """The ranks, which now know whether they divide the parts of a batch evenly."""
    if samples == 0:
        raise UserError("There is nothing to train on: the train split of the shards is empty.")
    part, rest = divmod(settings.batch_size, settings.accumulate)
    if rest or part < ranks.world:
        raise UserError(
            f"train.batch_size {settings.batch_size} must be a multiple of train.accumulate "
            f"{settings.accumulate} and give each of {ranks.world} workers a sample of every part."
        )
    return replace(ranks, even=part % ranks.world == 0)
