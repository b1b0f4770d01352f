"""Which way the samples of a training come: read and decoded once, or streamed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmcore.errors import UserError
from mmcore.models.config import ModelConfig
from mmcore.models.labels import Labels
from mmcore.models.text import TextTokenizer
from mmcore.shards.order import SampleOrder
from mmcore.shards.reader import SampleStore, ShardError, Skipped
from mmcore.shards.replay import Order, ReplayOrder
from mmcore.train.data import build_table
from mmcore.train.pictures import Pictures
from mmcore.train.pixels import Neighbours, cached_pixels
from mmcore.train.samples import (
    ONCE,
    MemorySamples,
    Samples,
    StreamedSamples,
    as_problem,
    count_visits,
    read_records,
)
from mmcore.train.settings import TrainSettings


@dataclass(frozen=True)
class Data:
    """The train split, and what turns it into arrays. newest: how many of its samples, the last
    ones, are of the newest day; None: all."""

    store: SampleStore
    labels: Labels
    tokenizer: TextTokenizer
    config: ModelConfig
    settings: TrainSettings
    seed: int
    skipped: Skipped
    pictures: Pictures
    newest: int | None = None


def training_samples(data: Data, neighbours: Neighbours) -> Samples:
    """The samples in memory if pixels and tags fit into ``image_cache_mb``, else streamed.

    UserError where a frozen tower's features do not fit: computed anew at every visit, they would
    cost more than all that is trained on them.
    """
    store, settings = data.store, data.settings
    visits = None
    if settings.task_visits != ONCE:
        visits = count_visits(read_records(store, data.skipped), settings.task_visits)
    order = training_order(data, visits)
    needed = len(store) * (data.pictures.nbytes + 4 * len(data.labels.tags))
    if needed > settings.image_cache_mb * 2**20:
        if data.pictures.tower is not None:
            raise UserError(
                f"The tower's features of {len(store):,} images take {needed / 2**20:,.0f} MB: "
                f"raise train.image_cache_mb, which is {settings.image_cache_mb}; what does not "
                "fit into memory lies in the temporary folder."
            )
        return StreamedSamples(
            store,
            data.labels,
            data.tokenizer,
            data.config.text.max_tokens,
            data.config.image.size,
            order,
            data.skipped,
            settings.task_visits,
            settings.read_threads,
        )
    return _in_memory(data, order, neighbours)


def training_order(data: Data, visits: NDArray[np.uint8] | None) -> Order:
    """All samples, or those of the newest day with a share of the earlier ones among them.

    visits: uint8 [N], how often an epoch visits each sample (None: once).
    """
    sizes, settings = data.store.sizes, data.settings
    window = settings.shuffle_window
    first = 0 if data.newest is None else len(data.store) - data.newest
    if settings.days == "all" or first == 0:
        return SampleOrder(sizes, data.seed, window, visits)
    # a shard is of one day: the newest day's begin where the earlier samples end
    shard = int(np.searchsorted(np.cumsum(sizes), first, side="right"))
    parts = [None, None] if visits is None else [visits[:first], visits[first:]]
    # by the day as well: every night begins at place 0 and shall replay others than the last one
    nightly = data.seed + first
    return ReplayOrder(
        SampleOrder(sizes[:shard], nightly, window, parts[0]),
        SampleOrder(sizes[shard:], data.seed, window, parts[1]),
        first,
        settings.replay,
    )


def _in_memory(data: Data, order: Order, neighbours: Neighbours) -> MemorySamples:
    store, skipped = data.store, data.skipped

    def unreadable(number: int, error: ShardError | UserError) -> None:
        skipped.add(number, as_problem(error, store.where(number)))

    records = read_records(store, skipped)
    table = build_table(records, data.labels, data.tokenizer, data.config.text.max_tokens)
    without_labels = list(skipped.found)  # every rank has met these
    pixels, valid = cached_pixels(
        lambda number: store.raw(number).image,
        len(store),
        data.pictures,
        neighbours,
        unreadable,
    )
    valid[without_labels] = False
    return MemorySamples(
        table, lambda numbers: np.asarray(pixels[numbers]), order, valid, data.settings.task_visits
    )
