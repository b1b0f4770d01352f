"""The same training step in open_clip and in mmcore's layers: same network, same weights, same
tokens padded to open_clip's context, same optimizer settings, one thread.

    VENV/bin/python -m benchmarks.train.openclip_steps FLICKR8K
    VENV/bin/python -m benchmarks.train.openclip_steps FLICKR8K --only clip-128 --precision bf16

VENV has open_clip_torch 3.3.0, torchvision, torch of mmcore's version, pydantic, safetensors and
tokenizers. For every network: the first losses and all gradients of both sides are compared in
float32 (and the losses of three optimizer steps), in bfloat16 both sides' gradients with those of
float32; only then are steps timed, in turns, in processor seconds of one process. A step is zeroing
the gradients, forward, loss, backward, AdamW and the clamp of the scale, as
`open_clip_train.train.train_one_epoch` does it. Peak memory is the resident set of a process that
takes three steps of one side; both have imported everything.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from open_clip.coca_model import CoCa as PeerCoCa
from open_clip.loss import ClipLoss, CoCaLoss
from open_clip.model import CLIP as PeerClip
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from benchmarks.train.networks import CAPTION_WEIGHT, VOCABULARY, Clip, CoCa, Size, from_open_clip
from benchmarks.train.pairs import pair_batches
from mmcore.train.optimizer import Optimizers
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LoopSettings

NETWORKS = {
    "clip-64": Size(pixels=64, patch=8, width=128, depth=4),
    "clip-128": Size(pixels=128, patch=16, width=256, depth=6),
    "coca-64": Size(pixels=64, patch=8, width=128, depth=4, context=76, queries=64),
    "coca-128": Size(pixels=128, patch=16, width=256, depth=6, context=76, queries=64),
}
BATCHES = {"clip": 64, "coca": 32}  # samples of a step
WARM_UP = 3  # steps that are not timed
CLOSE = 1e-4  # relative, in float32
ADAMW: dict[str, Any] = {"lr": 5e-4, "beta2": 0.98, "weight_decay": 0.2}

Step = Callable[[Tensor, Tensor], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("flickr8k", type=Path)
    parser.add_argument("--only", choices=NETWORKS)
    parser.add_argument("--precision", choices=("fp32", "bf16"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak-of", choices=("open_clip", "mmcore"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak_of:
        return print(peak_megabytes(options))
    print("| network | precision | open_clip samples/CPU-s | mmcore | ratio | peak MB, both |")
    print("|---|---|---|---|---|---|")
    for name in [options.only] if options.only else NETWORKS:
        for precision in [options.precision] if options.precision else ("fp32", "bf16"):
            print(compared(options, name, precision), flush=True)


def compared(options: argparse.Namespace, name: str, precision: str) -> str:
    """A row of the table, after the checks."""
    batches = read_batches(options.flickr8k, name, WARM_UP + options.repeats)
    check = check_equal(name, batches[0]) if precision == "fp32" else check_bf16(name, batches[0])
    print(f"{name} {precision}: {check}", file=sys.stderr)
    steps = {side: make_step(side, name, precision) for side in ("open_clip", "mmcore")}
    losses: dict[str, list[float]] = {side: [] for side in steps}
    for batch in batches[:WARM_UP]:
        for side, step in steps.items():
            losses[side].append(step(*batch))
    tolerance = CLOSE if precision == "fp32" else 3e-2
    for one, other in zip(*losses.values(), strict=True):
        assert math.isclose(one, other, rel_tol=tolerance), losses
    seconds: dict[str, list[float]] = {side: [] for side in steps}
    for number in range(options.repeats):
        for side in list(steps)[:: 1 if number % 2 else -1]:
            began = time.process_time()
            steps[side](*batches[WARM_UP + number])
            seconds[side].append(time.process_time() - began)
    peer, ours = (len(batches[0][0]) / median(seconds[side]) for side in steps)
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    peaks = [peak_in_process(options, side, name, precision) for side in steps]
    return (
        f"| {name} | {precision} | {peer:.1f} | {ours:.1f} | {median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}) | {peaks[0]:.0f}, {peaks[1]:.0f} |"
    )


def peer_network(name: str) -> nn.Module:
    """open_clip's model, from a fixed seed."""
    torch.manual_seed(0)
    size = NETWORKS[name]
    head = size.width // size.heads
    vision = {
        "image_size": size.pixels,
        "layers": size.depth,
        "width": size.width,
        "head_width": head,
        "patch_size": size.patch,
    }
    text = {
        "context_length": size.context,
        "vocab_size": VOCABULARY,
        "width": size.width,
        "heads": size.heads,
        "layers": size.depth,
    }
    if name.startswith("clip"):
        return PeerClip(size.width, vision, text, output_dict=True)
    vision |= {"attentional_pool": True, "attn_pooler_heads": 8, "output_tokens": True}
    vision |= {"attn_pooler_queries": size.queries}
    model = PeerCoCa(size.width, text, {**text, "embed_cls": True, "output_tokens": True}, vision)
    # open_clip leaves this weight uninitialised; what its init_parameters, never called, would do
    nn.init.normal_(model.text_decoder.text_projection, std=size.width**-0.5)
    return model


def our_network(name: str) -> Clip | CoCa:
    """The same weights in our layers."""
    made = Clip(NETWORKS[name]) if name.startswith("clip") else CoCa(NETWORKS[name])
    made.load_state_dict(from_open_clip(peer_network(name).state_dict()))
    return made


def read_batches(flickr8k: Path, name: str, count: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of real pairs, each for one step: kernels made for one may not fit the next."""
    size = BATCHES[name.split("-")[0]]
    return pair_batches(flickr8k, NETWORKS[name].pixels, size, count, tokenizer(name))


def tokenizer(name: str) -> Callable[[list[str]], Tensor]:
    return SimpleTokenizer(context_length=NETWORKS[name].context)


def peer_loss(name: str) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    coca = CoCaLoss(caption_loss_weight=CAPTION_WEIGHT, clip_loss_weight=1.0)
    loss = ClipLoss() if name.startswith("clip") else coca
    return lambda model, pixels, ids: sum(loss(**model(pixels, ids), output_dict=True).values())


def our_loss(model: Any, pixels: Tensor, ids: Tensor) -> Tensor:
    return model.loss(pixels, ids)


def autocast(precision: str) -> AbstractContextManager[None]:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def make_step(side: str, name: str, precision: str) -> Step:
    """One step of a side; returns the loss before it."""
    if side == "mmcore":
        ours = our_network(name)
        settings = LoopSettings(optimizer="adamw", **ADAMW)
        optimizers = Optimizers(ours, settings, Ranks(), False)  # type: ignore[arg-type]
        return _step(ours, our_loss, lambda: optimizers.step(1.0), precision)
    peer = peer_network(name)
    named = list(peer.named_parameters())

    def plain(name: str, p: nn.Parameter) -> bool:  # as open_clip_train.main chooses them
        return p.ndim < 2 or any(part in name for part in ("bn", "ln", "bias", "logit_scale"))

    optimizer = torch.optim.AdamW(
        [
            {"params": [p for n, p in named if plain(n, p)], "weight_decay": 0.0},
            {"params": [p for n, p in named if not plain(n, p)], "weight_decay": 0.2},
        ],
        lr=ADAMW["lr"],
        betas=(0.9, ADAMW["beta2"]),
        eps=1e-8,
    )
    return _step(peer, peer_loss(name), optimizer.step, precision)


def _step(model: Any, loss_of: Any, update: Callable[[], Any], precision: str) -> Step:
    model.train()

    def step(pixels: Tensor, ids: Tensor) -> float:
        model.zero_grad(set_to_none=True)
        with autocast(precision):
            loss = loss_of(model, pixels, ids)
        loss.backward()
        update()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        return float(loss.detach())

    return step


def gradients(side: str, name: str, batch: Any, precision: str) -> tuple[float, dict[str, Tensor]]:
    """The first loss, and every gradient by our names."""
    model: Any = our_network(name) if side == "mmcore" else peer_network(name)
    with autocast(precision):
        loss = (our_loss if side == "mmcore" else peer_loss(name))(model, *batch)
    loss.backward()
    found = {n: p.grad for n, p in model.named_parameters()}
    return float(loss.detach()), found if side == "mmcore" else from_open_clip(found)


def check_equal(name: str, batch: Any) -> str:
    """float32: loss and gradients agree; says how closely."""
    peer_first, theirs = gradients("open_clip", name, batch, "fp32")
    our_first, ours = gradients("mmcore", name, batch, "fp32")
    assert set(theirs) == set(ours)
    worst = max(
        float((theirs[n] - ours[n]).abs().max() / theirs[n].abs().max().clamp_min(1e-30))
        for n in ours
    )
    assert math.isclose(peer_first, our_first, rel_tol=CLOSE), (peer_first, our_first)
    assert worst < CLOSE, worst
    return f"loss {our_first:.6f}, {peer_first:.6f}; worst gradient {worst:.1e} of its largest"


def check_bf16(name: str, batch: Any) -> str:
    """bfloat16 rounds differently on the two sides: neither may be further from float32."""
    exact = gradients("open_clip", name, batch, "fp32")[1]
    off = {}
    for side in ("open_clip", "mmcore"):
        found = gradients(side, name, batch, "bf16")[1]
        squared = sum(float((found[n] - exact[n]).square().sum()) for n in exact)
        off[side] = math.sqrt(squared / sum(float(g.square().sum()) for g in exact.values()))
    assert off["mmcore"] < max(1.1 * off["open_clip"], 1e-3), off
    return "gradients off float32's by " + ", ".join(f"{s} {e:.4f}" for s, e in off.items())


def peak_megabytes(options: argparse.Namespace) -> float:
    """Of this process, after some steps of one side."""
    batches = read_batches(options.flickr8k, options.only, WARM_UP)
    step = make_step(options.peak_of, options.only, options.precision)
    gc.collect()
    for batch in batches:
        step(*batch)
    # not getrusage: a process is born with the largest size of the one that started it
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def peak_in_process(options: argparse.Namespace, side: str, name: str, precision: str) -> float:
    command = [sys.executable, "-m", "benchmarks.train.openclip_steps", str(options.flickr8k)]
    command += ["--peak-of", side, "--only", name, "--precision", precision]
    command += ["--threads", str(options.threads)]
    return float(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


if __name__ == "__main__":
    main()
