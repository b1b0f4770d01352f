"""Which split an image belongs to: asked for by its source, else by a hash of its cluster.

The hash depends on the cluster alone, so near-duplicates never cross a split and a cluster keeps
its split over all nights, whatever else is crawled and whatever the seed of a training is.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.shards.keys import prefixes
from mmcore.shards.order import mix64

SPLITS = ("train", "val", "test")
"""From the least to the most protected."""


def assign_splits(
    clusters: pa.Array, asked: pa.Array, val_fraction: float, test_fraction: float
) -> pa.Array:
    """Splits of images: string [n], one of `SPLITS`.

    clusters: string [n], hex digests. asked: string [n], null where the source said nothing. An
    asked-for split counts for the whole cluster, and of several the most protected wins. Others
    are drawn by hash: `test_fraction` of the clusters to test, `val_fraction` to val.
    """
    point = cluster_points(clusters)
    drawn = np.where(point < test_fraction + val_fraction, 1, 0)
    drawn[point < test_fraction] = 2
    level = pc.index_in(asked, pa.array(SPLITS)).fill_null(-1).to_numpy(zero_copy_only=False)
    group = pc.dictionary_encode(clusters).indices.to_numpy(zero_copy_only=False)
    strongest = np.full(int(group.max(initial=-1)) + 1, -1)
    np.maximum.at(strongest, group, level)
    chosen = np.where(strongest[group] >= 0, strongest[group], drawn)
    return pa.array(SPLITS).take(pa.array(chosen))


def cluster_points(clusters: pa.Array) -> NDArray[np.float64]:
    """A number in [0, 1) per cluster, uniform over clusters: float64 [n].

    clusters: string [n] of at least 16 hex digits each.
    """
    return (mix64(prefixes(clusters)) >> np.uint64(11)).astype(np.float64) / 2.0**53
