"""What compiling, recomputing and dividing a model cost and save, on this machine's processor.

    python -m benchmarks.train.features compile --preset nano
    python -m benchmarks.train.features recompute --preset base
    python -m benchmarks.train.features shard --preset base

Each variant runs in processes of its own, one thread each, on the same random batches; before a
figure counts, the losses of both variants are compared. Times are processor seconds, memory is the
peak of the resident set after the model was made.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch._dynamo.utils import counters

from benchmarks.models.presets import batch_of
from mmcore.models.config import load_preset
from mmcore.models.fusion_model import FusionModel
from mmcore.train.augment import Augmentation
from mmcore.train.batches import Batch
from mmcore.train.losses import Modes, TaskLosses
from mmcore.train.memory import keep_freed_memory
from mmcore.train.optimizer import Optimizers
from mmcore.train.precision import use_bfloat16
from mmcore.train.prepare import prepare
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LoopSettings
from mmcore.train.sharding import clip_gradients, is_sharded, own_piece

LENGTHS = ((12, 10), (11, 10), (12, 8), (9, 7), (10, 9), (8, 8), (12, 6))  # captions, questions
CPU = torch.device("cpu")


class Bench:
    """A preset made ready with some settings, and its steps."""

    def __init__(
        self,
        preset: str,
        count: int,
        ranks: Ranks,
        device: torch.device = CPU,
        vocabulary: int = 4096,
        keep_memory: bool = False,
        **changes: Any,
    ) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.device = device
        if keep_memory:
            keep_freed_memory()
        values = {"compile": "off", "optimizer": "adamw", "lr": 1e-4, **changes}
        self.settings = LoopSettings.model_validate(values)
        config = load_preset(preset, vocab_size=vocabulary, answers=200, tags=200, dropout=0.0)
        self.model = FusionModel(config)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ranks = ranks
        self.bfloat16 = use_bfloat16("auto", device)
        self.batch = batch_of(self.model, count).to(device)
        self.ema, _ = prepare(self.model, self.settings, ranks, device)
        self.model.train()
        in_step = self.settings.sharding == "fsdp"
        self.losses = TaskLosses(self.model, self.settings.loss_weights, Modes(), in_step=in_step)
        self.optimizers = Optimizers(self.model, self.settings, ranks, self.bfloat16)

    def step(self, number: int) -> float:
        """A whole training step on texts of varying length; its loss."""
        return float(self.step_on(_cut(self.batch, *LENGTHS[number % len(LENGTHS)])))

    def step_on(self, batch: Batch) -> Tensor:
        """A whole training step; its loss, a scalar on the device."""
        self.model.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            loss = self.losses(batch, Augmentation(0.5), self.ranks).sum() / len(batch.pixels)
        loss.backward()
        parameters = list(self.model.parameters())
        self.ranks.sum_gradients([p for p in parameters if not is_sharded(p)])
        clip_gradients(parameters, self.settings.clip, self.ranks)
        self.optimizers.step(1.0)
        self.ema.update()
        return loss.detach()

    def measure(self, warm_up: int, steps: int) -> dict[str, Any]:
        """Cost of the first steps, which compile, and the median of ``steps`` after them."""
        began = _seconds()
        first = [self.step(number) for number in range(warm_up)]
        warm, found, losses = _seconds() - began, [], []
        for number in range(steps):
            began = _seconds()
            losses.append(self.step(number))
            found.append(_seconds() - began)
        return {"first": warm, "step": median(found), "losses": first + losses}


def _cut(batch: Batch, captions: int, questions: int) -> Batch:
    return replace(
        batch,
        captions=batch.captions[:, :captions].contiguous(),
        questions=batch.questions[:, :questions].contiguous(),
    )


def _seconds() -> float:
    """Processor seconds of this process and of compilers that it ran."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def _one(rank: int, world: int, folder: str, options: Any, name: str, changes: Any) -> None:
    if world > 1:
        dist.init_process_group("gloo", f"file://{folder}/{name}", rank=rank, world_size=world)
    keep = options.what == "compile"
    bench = Bench(options.preset, options.batch, Ranks(rank, world), keep_memory=keep, **changes)
    _forget_peak()
    began = time.perf_counter()
    found = bench.measure(options.warm_up, options.steps)
    found["peak"], found["wall"] = _peak_mb(), time.perf_counter() - began
    found["held"] = sum(own_piece(p).numel() for p in bench.model.parameters())
    found["graphs"] = counters["stats"]["unique_graphs"]
    if rank == 0:
        torch.save(found, f"{folder}/{name}.pt")
    if world > 1:
        dist.destroy_process_group()


def run(options: Any, world: int, name: str, **changes: Any) -> dict[str, Any]:
    """One variant in ``world`` new processes; what rank 0 found."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/kernels"  # nothing compiled before
        os.environ["OMP_NUM_THREADS"] = "1"
        if options.what != "compile":  # where time counts, memory is kept as a training keeps it
            # what is freed goes back at once, so that the peak is what was needed
            os.environ["MALLOC_MMAP_THRESHOLD_"] = os.environ["MALLOC_TRIM_THRESHOLD_"] = "65536"
        mp.spawn(_one, (world, folder, options, name, changes), nprocs=world)
        return torch.load(f"{folder}/{name}.pt")


def main() -> None:
    """Read the command line, run both variants, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("compile", "recompute", "shard"))
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--batch", type=int, default=16, help="samples of each rank")
    parser.add_argument("--warm-up", type=int, default=len(LENGTHS), help="steps before")
    parser.add_argument("--steps", type=int, default=len(LENGTHS))
    options = parser.parse_args()
    variants: dict[str, tuple[int, str, dict[str, Any]]] = {
        "compile": (1, "on", {"compile": "on"}),
        "recompute": (1, "recomputed", {"activation_checkpointing": True}),
        "shard": (2, "fsdp", {"sharding": "fsdp"}),
    }
    world, name, change = variants[options.what]
    found = {"off": run(options, world, "off"), name: run(options, world, name, **change)}
    losses = [torch.tensor(f["losses"]) for f in found.values()]
    worst = float(((losses[0] - losses[1]) / losses[0]).abs().max())
    print(f"{options.preset}, {options.batch} samples a rank; losses differ by {worst:.1e} at most")
    if worst > 0.02:
        raise SystemExit("The variants do not train alike: no figures.")
    print("| | warm-up, CPU s | step, CPU s | peak MB | weights held, M | graphs |")
    print("|---|---|---|---|---|---|")
    for label, f in found.items():
        print(
            f"| {label} | {f['first']:.1f} | {f['step']:.3f} | {f['peak']:,.0f} "
            f"| {f['held'] / 1e6:.1f} | {f['graphs']} |"
        )


if __name__ == "__main__":
    main()
