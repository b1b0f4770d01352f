"""Training steps of a preset on a GPU beside open_clip's CLIP of the same size.

    VENV/bin/python -m benchmarks.train.gpu --preset base --batch 256
    VENV/bin/python -m benchmarks.train.gpu --device cpu --batch 4 --steps 1 --rounds 1

VENV as in `openclip_steps`, with a build of torch for the GPU. Three sides, bfloat16, compiled,
AdamW's fused kernel, random pictures and tokens of the same lengths: open_clip's CLIP with the
preset's towers (its texts padded to the context, as it takes them), mmcore with the contrastive
loss alone, and mmcore with all default tasks. Each side runs in processes of its own, in turns; a
step is timed from the batch on the device to the end of the optimizer's step, the clock read after
`synchronize`. FLOPs are those of one step's matrix products, convolutions and attention, forward
and backward, counted by `torch.utils.flop_counter` before anything is compiled: work on padding
counts, work that is left out does not. Utilisation is against the dense bfloat16 peak of the card.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.train.features import Bench
from mmcore.models.config import EOS, PAD, ModelConfig, load_preset
from mmcore.train.batches import Batch
from mmcore.train.losses import TASKS
from mmcore.train.ranks import Ranks

SIDES = ("open_clip", "mmcore, contrastive", "mmcore, all tasks")
VOCABULARY = 49408
LEAST, MOST = 8, 24  # tokens of a caption with its frame
WARM_UP = 5
# dense bfloat16 peaks, TFLOP/s, from the makers' data sheets (SXM where there are several)
PEAKS = {"H200": 989.4, "H100": 989.4, "A100": 312.0, "L40S": 362.1, "L4": 121.0, "A10G": 70.0}

Step = Callable[[], Tensor]


def main() -> None:
    """Read the command line; compare, or run one side."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--preset", default="base")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", choices=("on", "off"), default="on")
    parser.add_argument("--peak-tflops", type=float, help="of a card that is not known here")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    print(json.dumps(one(options)) if options.side else table(options))


def table(options: argparse.Namespace) -> str:
    """All sides in turns."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side in SIDES[:: 1 if number % 2 else -1]:
            command = [sys.executable, "-m", "benchmarks.train.gpu", "--side", side]
            for name in ("preset", "device", "batch", "steps", "compile"):
                command += [f"--{name}", str(getattr(options, name))]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
    peak = options.peak_tflops or peak_of(options.device)
    lines = [
        f"{options.preset}, batches of {options.batch}, {found[SIDES[0]][0]['card']}",
        "| side | weights, M | samples/s | ratio | TFLOP a step | utilisation | peak GB |",
        "|---|---|---|---|---|---|---|",
    ]
    theirs = median(row["seconds"] for row in found[SIDES[0]])
    for side, rows in found.items():
        seconds, flops = median(row["seconds"] for row in rows), rows[0]["flops"]
        used = f"{flops / seconds / peak / 1e10:.1f} %" if peak else "unknown peak"
        lines.append(
            f"| {side} | {rows[0]['weights'] / 1e6:.1f} | {options.batch / seconds:,.1f} "
            f"| {theirs / seconds:.2f} | {flops / 1e12:.3f} | {used} "
            f"| {max(row['peak'] for row in rows) / 1e9:.2f} |"
        )
    return "\n".join(lines)


def one(options: argparse.Namespace) -> dict[str, Any]:
    """One side in this process: seconds of a step, its FLOPs, the memory it took."""
    device = torch.device(options.device)
    ids = captions(options.batch, load_preset(options.preset).text.max_tokens)
    make = open_clip_step if options.side == "open_clip" else mmcore_step
    step, weights = make(options, ids, device, compiled=False)
    with FlopCounterMode(display=False) as counter:
        first = float(step())
    del step
    step, _ = make(options, ids, device, compiled=options.compile == "on")
    losses = [float(step()) for _ in range(WARM_UP)]
    # the same model from the same seed: compiling must not change what is computed
    assert math.isclose(losses[0], first, rel_tol=0.02), (losses[0], first)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(options.steps):
        _wait(device)
        began = time.perf_counter()
        loss = step()
        _wait(device)
        seconds.append(time.perf_counter() - began)
    assert math.isfinite(float(loss))
    return {
        "seconds": median(seconds),
        "flops": counter.get_total_flops(),
        "weights": weights,
        "peak": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
        "card": torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU",
    }


def captions(count: int, context: int) -> Tensor:
    """int64 [count, context]: random tokens of random number, an end and padding."""
    torch.manual_seed(1)
    lengths = torch.randint(LEAST, min(MOST, context) + 1, (count, 1))
    places = torch.arange(context)
    ids = torch.randint(4, VOCABULARY - 2, (count, context))
    ids = torch.where(places == lengths - 1, EOS, ids)
    return torch.where(places < lengths, ids, PAD)


def mmcore_step(
    options: argparse.Namespace, ids: Tensor, device: torch.device, compiled: bool
) -> tuple[Step, int]:
    """A whole step of mmcore's loop: losses, gradients, clipping, AdamW, the average."""
    changes: dict[str, Any] = {"compile": "on" if compiled else "off"}
    if options.side != "mmcore, all tasks":
        changes["loss_weights"] = {**dict.fromkeys(TASKS, 0.0), "contrastive": 1.0}
    bench = Bench(options.preset, options.batch, Ranks(), device, vocabulary=VOCABULARY, **changes)
    longest = int((ids != PAD).sum(dim=1).max())
    batch: Batch = replace(bench.batch, captions=ids[:, :longest].contiguous().to(device))
    return lambda: bench.step_on(batch), sum(p.numel() for p in bench.model.parameters())


def open_clip_step(
    options: argparse.Namespace, ids: Tensor, device: torch.device, compiled: bool
) -> tuple[Step, int]:
    """A step as `open_clip_train.train.train_one_epoch` makes it with `--precision amp_bf16`."""
    from open_clip.loss import ClipLoss

    torch.manual_seed(0)
    config = load_preset(options.preset)
    model: Any = peer(config).to(device).train()
    weights = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), fused=True)
    size, loss_of = config.image.size, ClipLoss()
    pixels = torch.randn(options.batch, 3, size, size).to(device)
    # it reads a text at its largest token
    ids = torch.where(ids == EOS, VOCABULARY - 1, ids).to(device)
    run = torch.compile(model) if compiled else model

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(**run(pixels, ids))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        return loss.detach()

    return step, weights


def peer(config: ModelConfig) -> torch.nn.Module:
    """open_clip's CLIP with the towers of a preset whose image encoder is a ViT."""
    from open_clip.model import CLIP

    image, text = config.image, config.text
    if image.kind != "vit":
        raise SystemExit("open_clip has a tower like this for presets with a ViT only.")
    width = image.widths[0]
    vision = {"image_size": image.size, "layers": image.depths[0], "width": width}
    vision |= {"head_width": width // image.heads, "patch_size": image.patch}
    texts = {"context_length": text.max_tokens, "vocab_size": VOCABULARY, "width": config.width}
    texts |= {"heads": text.heads, "layers": text.depth}
    return CLIP(config.embed_dim, vision, texts, output_dict=True)


def peak_of(device: str) -> float | None:
    if not device.startswith("cuda"):
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for card, peak in PEAKS.items() if card in name), None)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
