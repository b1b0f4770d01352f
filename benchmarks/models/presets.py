"""What each preset costs: parameters, and milliseconds of one thread for a sample.

    python -m benchmarks.models.presets --only nano,tiny,small

A sample is a picture, a caption of 12 tokens and two questions of 10, with the default losses.
Forward is retrieval's: picture and caption to embeddings, in evaluation mode.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch

from mmcore.models.config import BOS, EOS, load_preset, preset_names
from mmcore.models.fusion_model import FusionModel, normalise_pixels, parameter_count
from mmcore.train.augment import Augmentation
from mmcore.train.batches import AUGMENT_COLUMNS, Batch
from mmcore.train.losses import Modes, TaskLosses
from mmcore.train.precision import use_bfloat16
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LossWeights


def batch_of(model: FusionModel, count: int) -> Batch:
    """Random pictures and labels in the shapes of a real batch."""
    size, config = model.config.image.size, model.config
    captions = torch.randint(4, config.vocab_size, (count, 12))
    questions = torch.randint(4, config.vocab_size, (count, 10))
    for ids in (captions, questions):
        ids[:, 0], ids[:, -1] = BOS, EOS
    rows, ones = torch.arange(count), torch.ones(count)
    twice = rows.repeat_interleave(2)
    return Batch(
        pixels=torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8),
        captions=captions,
        caption_weight=ones,
        caption_text=rows,
        language=torch.zeros_like(rows),
        more_captions=captions[:0],
        more_weight=ones[:0],
        more_text=rows[:0],
        questions=questions,
        question_text=twice,
        question_image=twice,
        answer=torch.randint(0, config.answers, (2 * count,)),
        question_weight=torch.ones(2 * count),
        tags=torch.randint(0, 2, (count, config.tags)).float(),
        tag_weight=ones,
        sentiment=torch.zeros_like(rows),
        sentiment_weight=ones,
        cluster=rows,
        image_weight=ones,
        sides=torch.zeros(count, dtype=torch.bool),
        colours=torch.zeros(count, dtype=torch.bool),
        uniform=torch.rand(count, AUGMENT_COLUMNS),
        number=rows,
    )


def milliseconds(work: Callable[[], object], count: int, rounds: int) -> float:
    """Median processor time of ``work`` for one of its ``count`` samples, after a warm-up."""
    work()
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return 1000 * median(found) / count


def main() -> None:
    """Read the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(preset_names()))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bfloat16 = use_bfloat16("auto", torch.device("cpu"))
    print("| preset | image | parameters | forward ms | step ms |\n|---|---|---|---|---|")
    for name in options.only.split(","):
        config = load_preset(name, vocab_size=4096, answers=200, tags=200)
        model = FusionModel(config)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        losses, batch = TaskLosses(model, LossWeights(), Modes()), batch_of(model, options.batch)

        @torch.inference_mode()
        def forward(model: FusionModel = model, batch: Batch = batch) -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                model.embed(model.encode_image(normalise_pixels(batch.pixels)), "image")
                model.embed(model.encode_text(batch.captions), "text")

        def step(
            model: FusionModel = model, losses: TaskLosses = losses, batch: Batch = batch
        ) -> None:
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                sums = losses(batch, Augmentation(0.5), Ranks())
            sums.sum().backward()

        row = [name, f"{config.image.kind} {config.image.size}", f"{parameter_count(model):,}"]
        for work, training in ((forward, False), (step, True)):
            model.train(training)
            row.append(f"{milliseconds(work, options.batch, options.rounds):.1f}")
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
