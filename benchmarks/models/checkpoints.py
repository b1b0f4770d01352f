"""How long a checkpoint holds the training loop up: the copy, and what is done beside the loop.

    python -m benchmarks.models.checkpoints --only nano,tiny,small

"wait" is what the loop does itself (the copy to host memory); "beside" is serialising, hashing and
writing to a local folder, which it did itself before. The state is what was read back: this is
checked first.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from statistics import median

import torch

from benchmarks.models.presets import batch_of
from mmcore.lake.storage import open_storage
from mmcore.models.config import load_preset
from mmcore.models.fusion_model import FusionModel
from mmcore.train.augment import Augmentation
from mmcore.train.checkpoint import RunState, Snapshot, restore, take_snapshot
from mmcore.train.losses import Modes, TaskLosses
from mmcore.train.optimizer import Ema, Optimizers
from mmcore.train.ranks import Ranks
from mmcore.train.run_folder import RunFolder
from mmcore.train.settings import LoopSettings, LossWeights


def trained(preset: str) -> tuple[FusionModel, Ema, Optimizers]:
    """A model after one step, so that its optimizers hold what they hold in a training."""
    model = FusionModel(load_preset(preset, vocab_size=4096, answers=200, tags=200))
    optimizers = Optimizers(model, LoopSettings(), Ranks(), bfloat16=False)
    TaskLosses(model, LossWeights(), Modes())(
        batch_of(model, 4), Augmentation(0.5), Ranks()
    ).sum().backward()
    optimizers.step(1.0)
    return model, Ema(model, 0.98), optimizers


def check(folder: RunFolder, snapshot: Snapshot, preset: str) -> None:
    """Read the checkpoint back into another model, and compare."""
    folder.write(1, snapshot.files())
    model, ema, optimizers = trained(preset)
    restore(folder.read(1), model, ema, optimizers)
    again = take_snapshot(model, ema, optimizers, RunState(step=1))
    assert again.tensors.keys() == snapshot.tensors.keys()
    assert all(torch.equal(again.tensors[name], value) for name, value in snapshot.tensors.items())


def milliseconds(work: Callable[[int], object], rounds: int) -> tuple[float, float]:
    """Median wall and processor time."""
    found = []
    for number in range(rounds):
        began, used = time.perf_counter(), time.process_time()
        work(number)
        found.append((time.perf_counter() - began, time.process_time() - used))
    wall, processor = zip(*found, strict=True)
    return 1000 * median(wall), 1000 * median(processor)


def row(preset: str, rounds: int) -> str:
    """A line of the table."""
    parts = trained(preset)
    snapshot = take_snapshot(*parts, RunState(step=1))
    with tempfile.TemporaryDirectory() as root:
        folder = RunFolder(open_storage(root), "run")
        check(folder, snapshot, preset)
        waits = [
            milliseconds(lambda number: take_snapshot(*parts, RunState(step=number)), rounds),
            milliseconds(lambda number: folder.write(2 + number, snapshot.files()), rounds),
        ]
    shown = " | ".join(f"{wall:.1f} ({processor:.1f})" for wall, processor in waits)
    return f"| {preset} | {sum(map(len, snapshot.files().values())) / 1e6:.1f} | {shown} |"


def main() -> None:
    """Read the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="nano,tiny,small")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| preset | MB | wait ms (processor) | beside ms (processor) |\n|---|---|---|---|")
    for preset in options.only.split(","):
        print(row(preset, options.rounds), flush=True)


if __name__ == "__main__":
    main()
