"""Indexes across nights on the lake: the latest that still says what the earlier days say."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from mmcore.dedup.index import Index, State, is_true
from mmcore.lake import Dataset, Lake

_MANIFESTS_AT_ONCE = 16
Found = TypeVar("Found", bound=Index)


def earlier_days(lake: Lake, day: str) -> dict[str, str]:
    """The days before `day` and the digest of `deduplicated` of each."""
    days = [d for d in lake.partitions("deduplicated") if d < day]
    with ThreadPoolExecutor(_MANIFESTS_AT_ONCE) as pool:
        found = pool.map(partial(lake.find, "deduplicated"), days)
        return {d: dataset.digest for d, dataset in zip(days, found, strict=True) if dataset}


def latest(
    lake: Lake,
    name: str,
    day: str,
    digests: dict[str, str],
    opened: Callable[[Lake, Dataset], Found],
    fits: Callable[[Found], bool],
) -> Found | None:
    """The latest index before `day` that is true of these days, whole, and fits; or none."""
    for partition in reversed([d for d in lake.partitions(name) if d < day]):
        index = opened(lake, lake.dataset(name, partition))
        if is_true(index.state, digests) and fits(index) and _is_whole(lake, name, index):
            return index
    return None


def folders(lake: Lake, dataset: Dataset, state: State) -> dict[str, str]:
    """Partition to folder, of every partition whose files an index refers to."""
    manifest = dataset.manifest
    used = sorted({part.partition for part in state.parts()} - {manifest.partition})
    found = {day: lake.find(manifest.name, day) for day in used} | {manifest.partition: dataset}
    return {str(day): ds.manifest.folder for day, ds in found.items() if ds is not None}


def _is_whole(lake: Lake, name: str, index: Index) -> bool:
    """Whether every file it names is still the one it was made with."""
    files: dict[tuple[str, str], str] = {}
    for day in {part.partition for part in index.state.parts()}:
        dataset = lake.find(name, day)
        files |= {(day, part.file): part.sha256 for part in (dataset.parts if dataset else [])}
    return all(files.get((p.partition, p.file)) == p.sha256 for p in index.state.parts())
