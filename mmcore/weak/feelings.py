"""Votes on the feeling of a picture: what its visitors write, and the moods its texts name."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.evidence import Evidence
from mmcore.weak.lexicon import Kind
from mmcore.weak.ratings import rating_labels, ratings
from mmcore.weak.sentiment import feel
from mmcore.weak.votes import UNCLEAR, combine, make_votes
from mmcore.weak.words import detect_languages

_MOODS = {"happy": "positive", "sad": "negative", "angry": "negative", "scared": "negative"}
_MOODS |= {"neutral": "neutral", "tired": "neutral"}
_SLOT = "sentiment"
_SILENT_CONFIDENCE = 0.3
_RATING_TRUST = 0.8
_SHOWN = ["mood", "champion"]


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


def rating_votes(evidence: Evidence) -> pa.Table:
    """One vote per comment that rates: "★★★★☆", "4/5"."""
    label = rating_labels(ratings(evidence.comments["text"].combine_chunks()))
    rated = label != ""
    image = evidence.comments["image"].to_numpy()[rated]
    weight, lang = np.full(len(image), _RATING_TRUST), np.full(len(image), "", object)
    return _votes(image, label[rated], weight, "rating", lang)


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


def find_cues(votes: pa.Table) -> pa.Table:
    """What each function feels about each image: columns `image`, `label`, `confidence`, `source`.

    votes: `VOTES` of any task. A function whose own votes disagree gives no cue.
    """
    felt = votes.filter(pc.equal(votes["task"], _SLOT))
    felt = felt.set_column(felt.column_names.index("slot"), "slot", felt["source"])
    labels = combine(felt)
    columns = [labels[name] for name in ("image", "value", "confidence", "source")]
    return pa.table(columns, names=["image", "label", "confidence", "source"])


def find_conflicts(cues: pa.Table, images: int) -> pa.Array:
    """Whether what people write of an image and what it shows feel opposite: bool [images].

    Null where there are not cues of both kinds. What an image shows is what descriptive texts name
    ("a crying child") and what the champion sees.
    """
    shows = pc.is_in(cues["source"], pa.array(_SHOWN)).to_numpy(zero_copy_only=False)
    image = cues["image"].to_numpy()
    sides = []
    for chosen in (shows, ~shows):
        label = np.array(cues["label"].to_pylist(), object)[chosen]
        at = image[chosen]
        marks = {
            name: np.bincount(at[label == name], minlength=images) > 0
            for name in ("negative", "positive")
        }
        sides.append((np.bincount(at, minlength=images) > 0, marks))
    (seen, shown), (read, written) = sides
    opposite = (shown["negative"] & written["positive"]) | (shown["positive"] & written["negative"])
    return pa.array(opposite, mask=~(seen & read))


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
