"""What each option adds to a training step: processor milliseconds of one thread for a sample.

    python -m benchmarks.models.option_costs --preset nano --batch 64

Random pictures and labels in the shapes of real ones; losses forward and backward, without the
optimizer. All variants take turns, round by round; medians, and the ratio to the default.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from benchmarks.models.presets import batch_of
from mmcore.models.config import load_preset
from mmcore.models.fusion_model import FusionModel
from mmcore.train.augment import Augmentation
from mmcore.train.balance import add_training_parameters
from mmcore.train.batches import Batch
from mmcore.train.losses import TASKS, Modes, TaskLosses
from mmcore.train.optimizer import Ema
from mmcore.train.precision import use_bfloat16
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LoopSettings

_CNN = {"patch": 4, "widths": [64, 128], "depths": [2, 3]}


def variant(
    preset: str, count: int, model: dict[str, Any], parts: int = 1, **settings: Any
) -> Callable[[], None]:
    """A function that computes the gradients of one step of ``count`` samples."""
    torch.manual_seed(0)
    config = load_preset(preset, vocab_size=4096, answers=200, tags=200, **model)
    made = FusionModel(config)
    made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    chosen = LoopSettings.model_validate(settings)
    add_training_parameters(made, chosen, len(TASKS))
    answers = torch.randint(4, 4096, (200, 3))
    teacher = Ema(made, 0.99).model
    losses = TaskLosses(made, chosen.loss_weights, Modes(), answers, teacher)
    batches = [batch_of(made, count // parts) for _ in range(parts)]
    if chosen.loss_weights.consistency:
        for batch in batches:  # half of the samples lack labels
            batch.tag_weight[::2], batch.sentiment_weight[::2] = 0, 0
    made.train()
    return lambda: _step(made, losses, batches, chosen)


def _step(
    model: FusionModel, losses: TaskLosses, batches: list[Batch], settings: LoopSettings
) -> None:
    bfloat16 = use_bfloat16("auto", torch.device("cpu"))
    model.zero_grad()
    soft, cached = settings.soft_targets, None

    def reseed(part: int) -> None:
        torch.manual_seed(part)

    if settings.gradient_cache:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            cached = losses.cache_contrastive(batches, Augmentation(0.5), Ranks(), reseed, soft)
    for number, batch in enumerate(batches):
        reseed(number)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            sums = losses(
                batch, Augmentation(0.5), Ranks(), soft, cached[number] if cached else None
            )
        sums.sum().backward()


def main() -> None:
    """Read the command line, take turns, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen: dict[str, dict[str, Any]] = {
        "default": {},
        "contrastive_loss: sigmoid": {"contrastive_loss": "sigmoid"},
        "soft_targets: 0.4": {"soft_targets": 0.4},
        "uncertainty_weighting": {"uncertainty_weighting": True},
        "accumulate: 4": {"parts": 4},
        "accumulate: 4, gradient_cache": {"parts": 4, "gradient_cache": True},
        "loss_weights.masked_text": {"loss_weights": {"masked_text": 0.5}},
        "loss_weights.generative_vqa": {"loss_weights": {"generative_vqa": 1.0}},
        "loss_weights.consistency": {"loss_weights": {"consistency": 1.0}},
        "text: gru": {"model": {"text": {"kind": "gru"}}},
        "text: lstm": {"model": {"text": {"kind": "lstm"}}},
        "image: cnn, 2 stages": {"model": {"image": {"kind": "cnn", **_CNN}}},
        "image: convnext, 2 stages": {"model": {"image": {"kind": "convnext", **_CNN}}},
    }
    steps = {
        name: variant(options.preset, options.batch, **{"model": {}, **settings})
        for name, settings in chosen.items()
    }
    for step in steps.values():
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(options.rounds):
        for name in list(steps)[:: 1 if number % 2 else -1]:
            began = time.process_time()
            steps[name]()
            seconds[name].append(time.process_time() - began)
    base = median(seconds["default"])
    print("| option | ms a sample | of the default |\n|---|---|---|")
    for name, found in seconds.items():
        ms = 1000 * median(found) / options.batch
        print(f"| {name} | {ms:.2f} | {median(found) / base:.2f} |")


if __name__ == "__main__":
    main()
