"""The dedup stage: which images of a day are new, which are copies, and what they are called.

Hashes, keys and edges move; image bytes do not. The driver holds some 32 bytes per image of the
day (images.py, decisions.py), no names and no rows; tasks read thumbnails, keys and texts where
they need them. What earlier days had is asked from their
index (history.py), which is extended by the day at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mmcore.dedup import (
    bands,
    images,
    shingles,
    stage_barred,
    stage_images,
    stage_index,
    stage_protect,
    stage_rows,
    stage_search,
    stage_text_index,
    takedown,
)
from mmcore.dedup.decisions import Decisions, decide
from mmcore.dedup.history import History
from mmcore.dedup.near_texts import Likeness
from mmcore.dedup.stage_protect import Protect, Protected
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
        done = _made(lake, day, config, eyes, (inputs, history, heard), (parents, settings))
    stage_index.extend(lake, history, day)
    return done


def _made(
    lake: Lake,
    day: str,
    config: Config,
    eyes: Eyes | None,
    given: tuple[_Inputs, History, Compared],
    stamp: tuple[list[Dataset], dict[str, Any]],
) -> Dataset:
    """Write `deduplicated@DAY` and `text_index@DAY`. What is known of each image and text ends
    here: the index of images is made from what is stored."""
    inputs, history, heard = given
    writer, night = lake.writer("deduplicated", day), stage_text_index.start(lake, day)
    decided, search = _decided(writer, history, inputs, config, eyes)
    sources = stage_rows.Sources(inputs.cleaned, inputs.crawled, inputs.texts, history, day)
    rows = stage_rows.write(writer, sources, decided, heard, night)
    done = writer.commit(rows.parts, *stamp, rows.metadata | {"search": search})
    stage_text_index.extend(lake, heard, day, night, rows.spoken)
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


def _decided(
    writer: DatasetWriter, history: History, inputs: _Inputs, config: Config, eyes: Eyes | None
) -> tuple[Decisions, dict[str, int]]:
    """What is decided about the day's images, and the counts of the search."""
    day, thumbnails = stage_images.read(writer, inputs.cleaned)
    seen = images.seen_codes(day, history.ids("seen", day.short), history.ids("pixels", day.pixels))
    asked = images.queries(day, seen)
    found = stage_search.search(history, day, asked, thumbnails, config.limits)
    listed = inputs.takedown.read() if inputs.takedown else takedown.TAKEDOWN.empty_table()
    blocked = takedown.blocked(listed, history.blocked())
    protected = inputs.protected.images
    barred = stage_barred.barred(day, blocked, inputs.crawled, protected, thumbnails, config.limits)
    thumbnails.remove()
    assigned = images.assign(day, history.state.ids, seen, asked, found.leader, barred)
    if inputs.normalized is not None and config.semantic and eyes:
        leads = np.flatnonzero(assigned.reason == images.OK)
        scratch = writer.storage, f"{writer.folder}/embeddings"
        again = semantic_duplicates(
            inputs.normalized, day.short[leads], config.semantic, eyes, *scratch
        )
        assigned.reason[leads[again]] = images.SEMANTIC
    return decide(day, assigned, history, stage_rows.ROWS_PER_PART), found.counts
