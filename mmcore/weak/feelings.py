"""Votes on the feeling of a picture: what its visitors write, and the moods its texts name."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcore.weak.evidence import Evidence
from mmcore.weak.lexicon import Kind
from mmcore.weak.sentiment import feel
from mmcore.weak.votes import UNCLEAR, make_votes
from mmcore.weak.words import detect_languages

_MOODS = {"happy": "positive", "sad": "negative", "angry": "negative", "scared": "negative"}
_MOODS |= {"neutral": "neutral", "tired": "neutral"}
_SLOT = "sentiment"
_SILENT_CONFIDENCE = 0.3


def comment_votes(evidence: Evidence) -> pa.Table:
    """One vote per comment that feels something or says that it does not."""
    comments = evidence.comments
    texts = comments["text"].combine_chunks()
    langs = detect_languages(texts, comments["lang"].combine_chunks())
    feeling = feel(texts, langs)
    label = feeling.label
    # one mild word is a weaker sign than "I love it, so lovely!"
    weight = np.clip(0.45 + 0.15 * feeling.strength * np.abs(feeling.score), 0.45, 0.85)
    weight = np.where(label == "neutral", 0.5, weight)
    said = label != ""
    image = comments["image"].to_numpy()
    return _votes(image[said], label[said], weight[said], "comments", langs[said])


def mood_votes(evidence: Evidence) -> pa.Table:
    """One vote per text that names a mood: "a smiling boy", "ein trauriges Gesicht"."""
    words = evidence.words
    moods = words.values["mood"]
    label = np.array([_MOODS.get(m, "") for m in moods] or [], object)
    felt = ((words.kinds & int(Kind.MOOD)) != 0) & (label != "")
    at = np.flatnonzero(felt[words.code]) if len(words) else np.zeros(0, np.int64)
    text, label = words.text[at], label[words.code[at]]
    pairs = pa.table({"text": text, "label": pa.array(label, pa.string())})
    once = pairs.group_by("text", use_threads=False).aggregate(
        [("label", "first"), ("label", "count_distinct")]
    )
    mixed = once["label_count_distinct"].to_numpy() > 1
    value = np.where(mixed, UNCLEAR, np.array(once["label_first"].to_pylist(), object))
    text = once["text"].to_numpy()
    keep = evidence.weight[text] > 0
    text, value = text[keep], value[keep]
    weight = np.minimum(evidence.weight[text] * 0.9, 0.95)
    return _votes(evidence.image[text], value, weight, "mood", evidence.langs[text])


def silent(evidence: Evidence, labels: pa.Table) -> pa.Table:
    """Neutral, at low confidence, for images with comments of which none feels anything.

    labels: `LABELS` of task `sentiment` so far. Returns rows to be added to it.
    """
    commented = np.unique(evidence.comments["image"].to_numpy())
    quiet = np.setdiff1d(commented, labels["image"].to_numpy())
    number = len(quiet)
    columns = {
        "image": quiet,
        "task": [_SLOT] * number,
        "slot": [_SLOT] * number,
        "value": ["neutral"] * number,
        "confidence": np.full(number, _SILENT_CONFIDENCE),
        "source": ["comments"] * number,
        "lang": [""] * number,
    }
    return pa.table([pa.array(columns[f.name], f.type) for f in labels.schema], labels.schema)


def _votes(image: NDArray, value: NDArray, weight: NDArray, source: str, lang: NDArray) -> pa.Table:
    number = len(image)
    return make_votes(
        image=image,
        task=_SLOT,
        slot=np.full(number, _SLOT, object),
        value=value,
        weight=weight,
        source=np.full(number, source, object),
        lang=lang,
    )
