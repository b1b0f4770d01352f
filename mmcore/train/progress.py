"""What a training says of itself while it runs: the numbers of an interval, and a line of them.

Records, all with `samples`, the number of samples seen:

- of an interval: `progress` (share of the budget), `losses` (per task, relative to a guess), what
  a `Meter` measured, `eta_seconds`;
- of a validation: `validation`, a mapping of scores; `stale`, whether patience ended with it;
- `predictions`, a PNG of what the model says of some held-out samples (`contact_sheet`).
"""

from __future__ import annotations

import contextlib
import math
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mmcore.models.config import PAD
from mmcore.train.batches import Batch

Record = dict[str, Any]

_WORTH_SAYING = 0.05  # a smaller share of the time spent waiting is left out of the line


class Meter:
    """What this rank did since the last reading: speed, gradients, waiting, use of the processor.

    Ranks are alike, so rank 0's readings stand for all of them.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.restart()

    def restart(self) -> None:
        """Begin a new interval."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._waited = {"data": 0.0, "messages": 0.0}
        self._norms: list[float] = []
        self._tokens = 0

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Count the block as time spent waiting for `data` or for `messages` of other ranks."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._waited[what] += time.perf_counter() - began

    def add(self, batches: Sequence[Batch], norm: Tensor) -> None:
        """A step on these batches whose gradient had this norm before it was clipped."""
        self._norms.append(float(norm))
        self._tokens += sum(text_tokens(batch) for batch in batches)

    def read(self, world: int) -> Record:
        """The interval's numbers; a new interval begins.

        tokens_per_second: text tokens that all `world` ranks encoded, padding left out.
        gradient_norm: mean and max before clipping, of the steps that were not refused; absent
        where there were none. utilisation: CPU seconds over wall-clock seconds and threads; absent
        where the work is done by a GPU. waiting: shares of the wall-clock time. peak_memory_mb: of
        this process since it began; on a GPU, of what PyTorch took there.
        """
        wall = max(time.perf_counter() - self._wall, 1e-9)
        cpu = time.process_time() - self._cpu
        record: Record = {
            "tokens_per_second": round(self._tokens * world / wall, 1),
            "waiting": {what: round(spent / wall, 4) for what, spent in self._waited.items()},
            "peak_memory_mb": round(_peak_memory(self._device) / 2**20),
        }
        norms = [norm for norm in self._norms if math.isfinite(norm)]
        if norms:
            mean, most = sum(norms) / len(norms), max(norms)
            record["gradient_norm"] = {"mean": round(mean, 4), "max": round(most, 4)}
        if self._device.type == "cpu":
            record["utilisation"] = round(cpu / wall / torch.get_num_threads(), 4)
        self.restart()
        return record


def text_tokens(batch: Batch) -> int:
    """Tokens of the captions and of the distinct questions of a batch, padding left out."""
    captions = batch.captions[batch.caption_weight > 0]
    more = batch.more_captions[batch.more_weight > 0]
    return sum(int(torch.count_nonzero(ids != PAD)) for ids in (captions, more, batch.questions))


def progress_line(record: Record) -> str:
    """One line for a person, of a record that the loop logs."""
    if "validation" in record:
        scores = " ".join(f"{name} {value:.2f}" for name, value in record["validation"].items())
        end = "; no better for long enough, the end begins" if record.get("stale") else ""
        return f"validation after {record['samples']:,} samples: {scores}{end}"
    losses = " ".join(f"{name} {value:.2f}" for name, value in record["losses"].items())
    parts = [
        f"{record['progress']:4.0%} {record['samples']:,} samples",
        f"{record['samples_per_second']:.0f}/s",
        f"{_compact(record['tokens_per_second'])} tokens/s",
        f"loss/guess {losses}",
        f"lr {record['lr']:.1e}",
    ]
    if "gradient_norm" in record:
        parts.append(f"gradient {record['gradient_norm']['mean']:.2g}")
    if "utilisation" in record:
        parts.append(f"busy {record['utilisation']:.0%}")
    for what, share in record["waiting"].items():
        if share >= _WORTH_SAYING:
            parts.append(f"waiting for {what} {share:.0%}")
    parts.append(f"{record['eta_seconds']:.0f} s left")
    if record["refused"]:
        parts.append(f"{record['refused']} steps refused")
    return ", ".join(parts)


def _compact(count: float) -> str:
    """A number in a few letters: 850, 2.1k, 1.3M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f}{letter}"
    return f"{count:.0f}"


def _peak_memory(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
