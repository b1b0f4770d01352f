"""Is what a champion generated worth anything? A bounded sample of a day's images decides.

It says what a score is worth (matching.py) and, for each kind of generated label, whether a
training set gets better with it (probe.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.generated import (
    CAPTIONS,
    FEELING_NAMES,
    FEELINGS,
    FILTER,
    TAGS,
    Floats,
    Thresholds,
)
from mmcore.weak.matching import Calibration, calibrate
from mmcore.weak.probe import Verdict, examine, examine_captions, held_out

_MOST_TAGS = 300


@dataclass(frozen=True)
class Sample:
    """Some images: their rows of the labels and of `GENERATED`, and what the model saw of them.

    hashes: of their clusters; image, caption: vectors of images and of generated captions; text:
    vectors of all their captions, one after the other.
    """

    labels: pa.Table
    generated: pa.Table
    hashes: NDArray[np.uint64]
    image: Floats
    text: Floats
    caption: Floats


def joined_samples(samples: list[Sample]) -> Sample:
    """One sample of several, at least one of them not empty."""
    vectors = (
        np.concatenate([getattr(s, name) for s in samples if len(s.hashes)])
        for name in ("hashes", "image", "text", "caption")
    )
    labels = pa.concat_tables([s.labels for s in samples]).combine_chunks()
    generated = pa.concat_tables([s.generated for s in samples]).combine_chunks()
    return Sample(labels, generated, *vectors)


def examined(samples: list[Sample], limits: Thresholds) -> tuple[Calibration | None, list[Verdict]]:
    """What a score is worth, and a verdict on each kind of generated label."""
    if not any(len(s.hashes) for s in samples):
        return None, []
    sample = joined_samples(samples)
    exam = held_out(sample.hashes)
    captions = sample.labels["captions"].combine_chunks()
    owner = np.repeat(np.arange(len(exam)), pc.list_value_length(captions).to_numpy())
    scores = (sample.image[owner] * sample.text).sum(axis=1)
    others = sample.image[_strangers(owner, sample.hashes)]
    right = calibrate(scores, (others * sample.text).sum(axis=1))
    verdicts = [_tag_verdict(sample, exam, limits), _feeling_verdict(sample, exam, limits)]
    if right is not None:
        verdicts += _caption_verdicts(sample, owner, right(scores), right, exam, limits)
    return right, verdicts


def _strangers(owner: NDArray[np.int64], hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each text an image of another cluster."""
    other = (owner + len(hashes) // 2) % len(hashes)
    same = hashes[other] == hashes[owner]
    return np.where(same, (other + 1) % len(hashes), other)


def _caption_verdicts(
    sample: Sample,
    owner: NDArray[np.int64],
    chance: Floats,
    right: Calibration,
    exam: NDArray[np.bool_],
    limits: Thresholds,
) -> list[Verdict]:
    flat = sample.labels["captions"].combine_chunks().flatten()
    trust = flat.field("confidence").to_numpy()
    sifted = np.where(chance >= limits.min_match, trust * chance, 0.0)
    first = examine_captions(FILTER, sample.image, sample.text, owner, trust, sifted, exam)
    now = sifted if first.used else trust
    left = np.bincount(owner[now > 0], minlength=len(exam)) > 0
    offer = right(sample.generated["score"].to_numpy())
    offer = np.where(~left & (offer >= limits.min_match), offer, 0.0)
    texts = np.concatenate([sample.text, sample.caption])
    image = np.concatenate([owner, np.arange(len(exam))])
    before = np.concatenate([now, np.zeros(len(exam))])
    after = np.concatenate([now, offer])
    return [first, examine_captions(CAPTIONS, sample.image, texts, image, before, after, exam)]


def _tag_verdict(sample: Sample, exam: NDArray[np.bool_], limits: Thresholds) -> Verdict:
    lists = sample.labels["tags"].combine_chunks()
    said = sample.generated["tags"].combine_chunks()
    flat, new = lists.flatten(), said.flatten()
    counts = flat.field("tag").value_counts().to_pylist()
    names = [c["values"] for c in sorted(counts, key=lambda c: (-c["counts"], c["values"]))]
    before = _targets(lists, flat.field("tag"), flat.field("confidence"), names[:_MOST_TAGS])
    sure = pc.greater_equal(new.field("probability"), limits.min_probability)
    probability = pc.if_else(sure, new.field("probability"), 0.0)
    offered = _targets(said, new.field("tag"), probability, names[:_MOST_TAGS])
    known = before.sum(axis=1) > 0
    after = np.where(known[:, None], before, offered)
    weight = known.astype(float)
    more = np.where(known, 1.0, offered.max(axis=1, initial=0.0))
    return examine(TAGS, sample.image, before, weight, after, more, exam)


def _targets(lists: pa.ListArray, tag: pa.Array, value: pa.Array, names: list[str]) -> Floats:
    """A row an image, a column a tag: float64 [n, K]."""
    out = np.zeros((len(lists), max(1, len(names))))
    row = np.repeat(np.arange(len(lists)), pc.list_value_length(lists).to_numpy())
    column = pc.index_in(tag, pa.array(names, pa.string())).fill_null(-1).to_numpy()
    there = column >= 0
    out[row[there], column[there]] = value.to_numpy(zero_copy_only=False)[there]
    return out


def _feeling_verdict(sample: Sample, exam: NDArray[np.bool_], limits: Thresholds) -> Verdict:
    labels = sample.labels["sentiment"].combine_chunks()
    said = sample.generated["sentiment"].combine_chunks()
    names = pa.array(FEELING_NAMES)
    own = pc.index_in(labels.field("label"), names).fill_null(-1).to_numpy()
    own = np.where(labels.is_null().to_numpy(zero_copy_only=False), -1, own)
    trust = pc.fill_null(labels.field("confidence"), 0.0).to_numpy(zero_copy_only=False)
    weight = np.where(own >= 0, trust, 0.0)
    probability = said.field("probability").to_numpy()
    offer = pc.index_in(said.field("label"), names).to_numpy()
    give = (own < 0) & (probability >= limits.min_probability)
    one_hot = np.eye(len(FEELING_NAMES))
    before = np.where((own >= 0)[:, None], one_hot[own], 0.0)
    after = np.where(give[:, None], one_hot[offer], before)
    more = np.where(give, probability, weight)
    return examine(FEELINGS, sample.image, before, weight, after, more, exam)
