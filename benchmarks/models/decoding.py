"""Writing captions: what the cache of keys and values gains over reading the prefix anew.

    python -m benchmarks.models.decoding --preset nano --pictures 64

Checks first that both write the same, then times both in turn (processor time of one thread) and
prints medians; beam search and nucleus sampling for comparison.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcore.models.config import BOS, EOS, MASK, PAD, load_preset
from mmcore.models.decoding import Search
from mmcore.models.fusion_model import FusionModel
from mmcore.models.layers import Encoded

_NEVER = [PAD, BOS, MASK]


@torch.inference_mode()
def whole_prefix(model: FusionModel, language: Tensor, context: Encoded) -> Tensor:
    """Greedy, each step through all tokens so far (what mmcore did before it had a cache)."""
    table = model.token_embedding.weight
    ids = torch.full((len(language), 1), BOS)
    done = torch.zeros(len(language), dtype=torch.bool)
    for _ in range(model.config.text.max_tokens - 1):
        scores = F.linear(model.captioning(ids, language, context, table)[:, -1], table)
        scores[:, _NEVER] = -torch.inf
        following = scores.argmax(dim=1).masked_fill(done, PAD)
        done |= following == EOS
        ids = torch.cat([ids, following[:, None]], dim=1)
        if bool(done.all()):
            break
    return ids[:, 1:].masked_fill(ids[:, 1:] == EOS, PAD)


def main() -> None:
    """Read the command line, check, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = FusionModel(load_preset(options.preset, vocab_size=options.vocabulary)).eval()
    with torch.no_grad():  # texts that differ and do not end early: the longest there are
        model.token_embedding.weight.normal_(0, 0.3)
        model.token_embedding.weight[EOS] = -10 * model.captioning.norm.bias - 1
        model.captioning.norm.bias.fill_(0.5)
    grid, width = model.config.image.grid, model.config.width
    context = Encoded(torch.randn(options.pictures, grid**2, width), None, torch.empty(0))
    language = torch.zeros(options.pictures, dtype=torch.long)

    ways: dict[str, Callable[[], Tensor]] = {
        "whole prefix": lambda: whole_prefix(model, language, context),
        "cache, greedy": lambda: model.write_captions(language, context),
        "cache, beam 4": lambda: model.write_captions(language, context, Search(kind="beam")),
        "cache, nucleus": lambda: model.write_captions(language, context, Search(kind="nucleus")),
    }
    slow, fast = ways["whole prefix"](), ways["cache, greedy"]()
    assert slow.equal(fast), "the cache writes something else"
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds):
        order = list(ways) if number % 2 else list(ways)[::-1]
        for name in order:
            began = time.process_time()
            ways[name]()
            seconds[name].append(time.process_time() - began)
    base = median(seconds["whole prefix"])
    print(f"{options.preset}, {options.pictures} pictures, {slow.shape[1]} tokens each, one thread")
    for name, found in seconds.items():
        each = 1000 * median(found) / options.pictures
        print(f"{name:15} {each:7.2f} ms a caption   {base / median(found):5.2f} x")


if __name__ == "__main__":
    main()
