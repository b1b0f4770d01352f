"""Starting from an earlier model: the weights that mean the same are kept, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcore.models.artifact import Artifact, load_artifact
from mmcore.models.fusion_model import FusionModel
from mmcore.models.labels import Labels
from mmcore.models.text import TextTokenizer

# output layers whose rows stand for names that may come, go or move between two days
_NAMED_ROWS = {
    "answering.mlp.down": "answers",
    "tagging.mlp.down": "tags",
    "local_tagging": "tags",
    "captioning.language": "languages",
}
# config fields that have no weights, or whose rows have names
_FREE: Any = {
    "answers": True,
    "tags": True,
    "languages": True,
    "dropout": True,
    "text": {"word_dropout"},
}


def warm_start(model: FusionModel, labels: Labels, tokenizer: TextTokenizer, folder: Path) -> str:
    """Copy the weights of the model in ``folder`` where they fit; says in one line what it did.

    Another tokenizer or architecture means other weights throughout: then nothing is copied.
    """
    earlier = load_artifact(folder)
    reason = _difference(model, tokenizer, earlier)
    if reason:
        return f"starting from scratch: the champion has another {reason}"
    old, new = earlier.model.state_dict(), model.state_dict()
    kept = dict[str, int]()
    for name, tensor in new.items():
        layer = name.rpartition(".")[0]
        if layer in _NAMED_ROWS:
            field = _NAMED_ROWS[layer]
            names = getattr(labels, field), getattr(earlier.labels, field)
            kept[field] = _copy_rows(tensor, old[name], *names)
        elif name in old:  # what only a training needs begins anew
            tensor.copy_(old[name])
    rows = ", ".join(f"{count} of {len(getattr(labels, f))} {f}" for f, count in kept.items())
    return f"starting from the champion: all weights, {rows}"


def _difference(model: FusionModel, tokenizer: TextTokenizer, earlier: Artifact) -> str | None:
    if tokenizer.json_text != earlier.tokenizer.json_text:
        return "tokenizer"
    ours = model.config.model_dump(exclude=_FREE)
    theirs = earlier.model.config.model_dump(exclude=_FREE)
    changed = [name for name in ours if ours[name] != theirs[name]]
    return f"architecture ({', '.join(changed)})" if changed else None


@torch.no_grad()
def _copy_rows(
    target: Tensor, source: Tensor, names: tuple[str, ...], earlier: tuple[str, ...]
) -> int:
    """Rows of names that both models know; returns how many."""
    places = {name: row for row, name in enumerate(earlier)}
    pairs = [(row, places[name]) for row, name in enumerate(names) if name in places]
    if pairs:
        ours, theirs = (list(side) for side in zip(*pairs, strict=True))
        target[ours] = source[theirs]
    return len(pairs)
