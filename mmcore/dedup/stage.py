"""The dedup stage: which images of a day are new, which are copies, and what they are called.

Hashes, keys and edges move; image bytes do not. The driver holds a few numbers per image of the
day, tasks read thumbnails and texts where they need them. What earlier days had is asked from their
index (history.py), which is extended by the day at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from mmcore.dedup import (
    bands,
    images,
    records,
    shingles,
    stage_index,
    stage_protect,
    stage_rows,
    stage_search,
    stage_text_index,
    takedown,
)
from mmcore.dedup.hashing import positions, short_digests
from mmcore.dedup.history import History
from mmcore.dedup.images import Assigned, Barred, Images
from mmcore.dedup.near_texts import Likeness
from mmcore.dedup.runs import Indices
from mmcore.dedup.stage_protect import Protect, Protected
from mmcore.dedup.stage_search import Listed, Thumbnails, near_listed
from mmcore.dedup.stage_semantic import Eyes, semantic_duplicates
from mmcore.dedup.stage_text_index import Compared, TextLimits
from mmcore.lake import Dataset, DatasetWriter, Lake


class Config(BaseModel):
    """What counts as the same picture and the same text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_hamming: int = Field(
        default=6,
        ge=0,
        le=bands.MAX_HAMMING,
        description="Perceptual hashes (64 bits) that differ in more bits are different pictures.",
    )
    max_mean_difference: float = Field(
        default=4.0,
        ge=0,
        le=255,
        description="Largest mean difference of two 16x16 RGB thumbnails (0 to 255), brightness "
        "and contrast taken out.",
    )
    max_local_difference: float = Field(
        default=7.0,
        ge=0,
        le=255,
        description="Largest difference in any one place of the thumbnails: keeps pictures apart "
        "that differ in one object or one colour. 10 also finds copies of a third of the size.",
    )
    bucket_cap: int = Field(
        default=1000,
        ge=1,
        description="At most so many candidates per image or text and probe; bounds the work where "
        "very many look alike.",
    )
    min_text_similarity: float = Field(
        default=0.8,
        ge=0.5,
        le=1,
        description="Texts are the same if their sets of word runs (of characters in short texts) "
        "are at least so similar (Jaccard).",
    )
    words_per_shingle: int = Field(
        default=2,
        ge=1,
        le=shingles.WORDS,
        description="Length of a word run. 2 suits captions, 5 is usual for documents.",
    )
    max_caption_clusters: int = Field(
        default=50,
        ge=1,
        description="A caption that stands under more clusters than this describes none of them.",
    )

    semantic: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Once there is a champion: pictures of a day whose embeddings have at least "
        "this cosine count as one; 0.95 is strict. Empty: not compared.",
    )

    @property
    def text_limits(self) -> TextLimits:
        """What the merging of captions needs to know."""
        likeness = Likeness(self.words_per_shingle, self.min_text_similarity)
        return TextLimits(likeness, self.bucket_cap, self.max_caption_clusters)

    @property
    def limits(self) -> stage_search.Limits:
        """What the search for near-duplicates needs to know."""
        return stage_search.Limits(
            self.max_hamming, self.max_mean_difference, self.max_local_difference, self.bucket_cap
        )


def run(
    lake: Lake,
    day: str,
    config: Config,
    protect: Protect | None = None,
    eyes: Eyes | None = None,
) -> Dataset:
    """Deduplicate a day against itself and all earlier days; returns `deduplicated@DAY`.

    protect: evaluation sets whose near-duplicates must not be kept. eyes: the champion's, for
    `config.semantic`, None while there is none. Also writes `image_index@DAY` and `text_index@DAY`,
    by which later days know what this one had.
    """
    history = stage_index.before(lake, day)
    inputs = _Inputs(
        lake.dataset("cleaned", day),
        lake.dataset("crawled", day),
        lake.dataset("texts", day),
        lake.find(takedown.NAME),
        stage_protect.protect(lake, protect or Protect()),
        lake.dataset("normalized", day) if config.semantic and eyes else None,
    )
    heard = stage_text_index.before(lake, day, config.text_limits, inputs.protected.texts)
    parents = inputs.parents(history, heard)
    settings = config.model_dump(mode="json") | ({"eyes": eyes.name} if eyes else {})
    done = lake.reusable("deduplicated", day, settings, parents)
    if done is not None:
        stage_text_index.extend(lake, heard, day)
    else:
        writer, night = lake.writer("deduplicated", day), stage_text_index.start(lake, day)
        found, search = _assigned(writer, history, inputs, config, eyes)
        rows = stage_rows.write(
            writer,
            inputs.texts,
            inputs.crawled,
            _decided(inputs.crawled, history, *found, day),
            heard,
            night,
        )
        done = writer.commit(rows.parts, parents, settings, rows.metadata | {"search": search})
        stage_text_index.extend(lake, heard, day, night, rows.spoken)
    stage_index.extend(lake, history, day)
    return done


@dataclass(frozen=True)
class _Inputs:
    """What the stage reads of the day, and the takedown list."""

    cleaned: Dataset
    crawled: Dataset
    texts: Dataset
    takedown: Dataset | None
    protected: Protected
    normalized: Dataset | None
    """Only where embeddings are made of it."""

    def parents(self, history: History, heard: Compared) -> list[Dataset]:
        """All that decides what the stage writes."""
        given = [self.cleaned, self.crawled, self.texts, self.takedown, history.dataset]
        given += [heard.history.dataset, self.normalized]
        return [ds for ds in (*given, *self.protected.datasets) if ds is not None]


def _assigned(
    writer: DatasetWriter, history: History, inputs: _Inputs, config: Config, eyes: Eyes | None
) -> tuple[tuple[Images, Assigned], dict[str, int]]:
    """The day's images, the cluster of each, and the counts of the search."""
    parts = [part.filter(part["kept"]) for part in inputs.cleaned.iter_parts(images.COLUMNS)]
    day = images.read_images(parts)
    seen = images.seen_codes(day, history.ids("seen", day.short), history.ids("pixels", day.pixels))
    asked = images.queries(day, seen)
    kept = [part.num_rows for part in parts]
    thumbnails = stage_search.write_thumbnails(writer, inputs.cleaned, kept)
    found = stage_search.search(history, day, asked, thumbnails, config.limits)
    barred = _barred(history, inputs, day, thumbnails, config)
    thumbnails.remove()
    assigned = images.assign(day, history.state.ids, seen, asked, found.leader, barred)
    if inputs.normalized is not None and config.semantic and eyes:
        leads = np.flatnonzero(assigned.reason == "ok")
        scratch = writer.storage, f"{writer.folder}/embeddings"
        again = semantic_duplicates(
            inputs.normalized, day.short[leads], config.semantic, eyes, *scratch
        )
        assigned.reason[leads[again]] = "semantic_duplicate"
    return (day, assigned), found.counts


def _barred(
    history: History, inputs: _Inputs, day: Images, thumbnails: Thumbnails, config: Config
) -> Barred:
    """Images of the day that were taken down or are of an evaluation set, or near one of those."""
    listed = inputs.takedown.read() if inputs.takedown else takedown.TAKEDOWN.empty_table()
    blocked = takedown.blocked(listed, history.blocked())
    crawled = inputs.crawled.iter_parts(["sha256", "image_url", "page_url"])
    taken_down = blocked.exactly(day, crawled)
    taken_down |= near_listed(day, [Listed(blocked.hashes)], thumbnails, config.limits)
    given, protected = [], np.zeros(len(day), np.bool_)
    if (dataset := inputs.protected.images) is not None:
        for number, part in enumerate(dataset.iter_parts(["sha256", "pixels", "phash"])):
            protected |= np.isin(day.short, short_digests(part["sha256"]))
            protected |= np.isin(day.pixels, short_digests(part["pixels"]))
            given.append(Listed(part["phash"].to_numpy(), dataset, number))
    protected |= near_listed(day, given, thumbnails, config.limits)
    return Barred(taken_down, protected)


def _decided(
    crawled: Dataset, history: History, day_images: Images, assigned: Assigned, day: str
) -> pa.Table:
    """The rows but for captions and annotations, by cluster and key."""
    codes, number = np.unique(assigned.code, return_inverse=True)
    old = int(np.searchsorted(codes, history.state.ids))
    known = history.known(codes[:old])
    leaders = pa.array(codes[old:] - history.state.ids)
    names = pa.concat_arrays([known.names, day_images.keys.take(leaders)])
    days = pa.concat_arrays([known.day, pa.array([day] * len(leaders), pa.string())])
    split = np.concatenate([known.split, np.full(len(leaders), -1, np.int64)])
    _raise_splits(split, crawled, day_images, number)
    where = pa.array(number)
    table = pa.table(
        {
            "sha256": day_images.keys,
            "cluster": names.take(where),
            "kept": pa.array(assigned.reason == "ok"),
            "reason": pa.array(assigned.reason, pa.string()),
            "split": records.split_names(split[number]),
            "day_first_seen": days.take(where),
        }
    )
    return table.sort_by([("cluster", "ascending"), ("sha256", "ascending")])


def _raise_splits(split: Indices, crawled: Dataset, day_images: Images, number: Indices) -> None:
    """Raise the rank of each cluster to the best protected split its images were asked for."""
    order = np.argsort(day_images.short)
    for part in crawled.iter_parts(["sha256", "split"]):
        asked = part.filter(pc.is_valid(part["split"]))
        at = positions(day_images.short[order], short_digests(asked["sha256"]))
        there = at >= 0
        cluster = number[order[at[there]]]
        np.maximum.at(split, cluster, records.split_ranks(asked["split"])[there])
