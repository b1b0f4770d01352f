"""One label model per kind of question, fitted on counts of vote patterns, and labels by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.label_model import LabelModel, fit
from mmcore.weak.label_model_patterns import (
    Items,
    Space,
    possible_classes,
    read_items,
    read_patterns,
    sources_in,
    space_of,
    to_patterns,
)
from mmcore.weak.votes import LABELS, UNCLEAR

_ANSWERS = 6.0  # how many answers a question has that is not answered from a list
_TEMPER = 1.5  # a vote stronger than the function's others counts at most so much more
_HIGHEST = 0.99


@dataclass(frozen=True)
class SpaceModel:
    """The model of one space: its functions, their mean weight [m] (what a vote of full effect has),
    and what they are found to be: share of their votes right by the model, and by gold."""

    space: Space
    sources: tuple[str, ...]
    weight: NDArray[np.float64]
    model: LabelModel
    items: int
    table: tuple[dict[str, Any], ...]

    def probabilities(self, patterns: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
        """Class probabilities float64 [P, Y] of pattern texts."""
        votes = read_patterns(patterns, self.sources, self.space.width)
        possible = possible_classes(self.space, votes, _ANSWERS)
        return self.model.predict(_tempered(votes, self.weight), possible)


def fit_all(counts: pa.Table) -> dict[str, SpaceModel]:
    """The models by name of space, from the merged `COUNTS` of all parts."""
    return {
        name: _fit_space(space_of(*_split(name)), counts.filter(pc.equal(counts["space"], name)))
        for name in sorted(pc.unique(counts["space"]).to_pylist())
    }


def _split(name: str) -> tuple[str, str]:
    task, _, fact = name.partition("/")
    return task, fact


def _fit_space(space: Space, counts: pa.Table) -> SpaceModel:
    sources = sources_in(counts["pattern"])
    votes = read_patterns(counts["pattern"], sources, space.width)
    number = counts["count"].to_numpy().astype(np.float64)
    weight = _mean_weight(space, votes, number)
    patterns = to_patterns(space, counts, _tempered(votes, weight), _ANSWERS)
    answers = None if space.values else _ANSWERS
    model = fit(patterns, space.classes, answers, space.prior)
    belief = model.predict(patterns.votes, patterns.possible)
    table = _table(space, sources, patterns.votes, number, belief, patterns.gold, model)
    return SpaceModel(space, sources, weight, model, int(number.sum()), table)


def _mean_weight(
    space: Space, votes: NDArray[np.float64], count: NDArray[np.float64]
) -> NDArray[np.float64]:
    said = votes[:, :, :1] if space.presence else votes
    voted = (said > 0) * count[:, None, None]
    total = (said * count[:, None, None]).sum((0, 2))
    return np.asarray(np.where(total > 0, total / np.maximum(voted.sum((0, 2)), 1), 1.0))


def _tempered(votes: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum(votes / weight[None, :, None], _TEMPER)


def _table(
    space: Space,
    sources: Sequence[str],
    votes: NDArray[np.float64],
    count: NDArray[np.float64],
    belief: NDArray[np.float64],
    gold: NDArray[np.int64],
    model: LabelModel,
) -> tuple[dict[str, Any], ...]:
    """A row per function: how much of the space it votes on, and how many of its votes are right."""
    both = min(space.width, space.classes)
    said = (votes[:, :, :1] if space.presence else votes) > 0
    total = np.einsum("pmk,p->m", said, count)
    right = np.einsum("pmk,pk,p->m", said[:, :, :both], belief[:, : said[:, :, :both].shape[2]], count)
    known = gold >= 0
    truth = np.eye(space.classes)[gold[known]][:, : said[:, :, :both].shape[2]]
    checked = np.einsum("pmk,p->m", said[known], count[known])
    good = np.einsum("pmk,pk,p->m", said[known][:, :, :both], truth, count[known])
    rows = []
    for j, source in enumerate(sources):
        if total[j] == 0:
            continue
        linked = np.flatnonzero(model.dependencies.correlation[j])
        rows.append(
            {
                "task": space.name,
                "function": source,
                "coverage": round(float(said[:, j].any(1) @ count / count.sum()), 4),
                "votes": int(total[j]),
                "accuracy": round(float(right[j] / total[j]), 4),
                "gold": int(checked[j]),
                "gold_accuracy": round(float(good[j] / checked[j]), 4) if checked[j] else None,
                "correlated_with": ", ".join(sources[i] for i in linked),
            }
        )
    return tuple(rows)


def label(votes: pa.Table, gold: pa.Table, models: dict[str, SpaceModel], least: float) -> pa.Table:
    """One label per (image, task, slot) whose likeliest answer has probability `least` or more, as
    `LABELS`, sorted by those; `source` and `lang` are those of the strongest vote for it."""
    tables = [
        _label_items(items, models[items.space.name], least)
        for items in read_items(votes, gold.slice(0, 0))
        if items.space.name in models
    ]
    order = [(name, "ascending") for name in LABELS.names[:4]]
    return pa.concat_tables([LABELS.empty_table(), *tables]).sort_by(order)


def _label_items(items: Items, model: SpaceModel, least: float) -> pa.Table:
    encoded = pc.dictionary_encode(items.items["pattern"]).combine_chunks()
    at = encoded.indices.to_numpy(zero_copy_only=False)
    belief = model.probabilities(encoded.dictionary)[at]
    item, code = items.voted["item"].to_numpy(), items.voted["code"].to_numpy()
    possible = code < belief.shape[1]
    sure = np.where(possible, belief[item, np.minimum(code, belief.shape[1] - 1)], 0.0)
    best = belief.max(1)[item]
    unclear = pc.equal(items.voted["value"], UNCLEAR).to_numpy(zero_copy_only=False)
    wins = (sure >= least) & (sure >= best) & ~unclear
    # the last number of an open space is shared by all answers beyond the first few
    voted = items.voted.filter(pa.array(wins))
    rows = items.items.take(voted["item"])
    task = _split(model.space.name)[0]
    table = pa.table(
        [
            rows["image"],
            pa.array([task] * voted.num_rows, pa.string()),
            rows["slot"],
            voted["value"],
            pa.array(np.round(np.minimum(sure[wins], _HIGHEST), 4)),
            voted["source"],
            voted["lang"],
        ],
        schema=LABELS,
    )
    once = table.group_by(["image", "task", "slot"], use_threads=False).aggregate(
        [(n, "first") for n in ("value", "confidence", "source", "lang")]
    )
    return once.rename_columns([n.removesuffix("_first") for n in once.column_names]).cast(LABELS)
