"""What a champion says of a day's images, and how that joins what pages said.

Scores are kept beside the decision: a threshold can be changed without asking the model again.
CapFilt after BLIP (arXiv:2201.12086): generated captions where the web has none that fits, both
filtered by the model's own score. Tags and feelings above a confidence, as FixMatch does
(arXiv:2001.07685), for images that pages say nothing of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.annotations import SOURCE as ANNOTATION
from mmcore.weak.matching import Calibration
from mmcore.weak.pairs import CAPTION, PAIRS, SENTIMENT, TAG

Floats = NDArray[np.floating]

FILTER, CAPTIONS, TAGS, FEELINGS = "caption_filter", "captions", "tags", "sentiment"
KINDS = (FILTER, CAPTIONS, TAGS, FEELINGS)
"""What a champion may do to a day's labels; each passes its own examination or is not done."""

TASK_OF = {FILTER: "caption", CAPTIONS: "caption", TAGS: "tag", FEELINGS: "sentiment"}

_SCORE = pa.float32()
GENERATED = pa.schema(
    [
        ("sha256", pa.string()),
        ("scores", pa.list_(_SCORE)),
        ("caption", pa.string()),
        ("lang", pa.string()),
        ("score", _SCORE),
        ("tags", pa.list_(pa.struct([("tag", pa.string()), ("probability", _SCORE)]))),
        ("sentiment", pa.struct([("label", pa.string()), ("probability", _SCORE)])),
    ]
)
"""One row for each row of the day's labels, in their order. scores: of their `captions`, one each;
caption, score: what the model writes, and how well it finds that to fit; tags: of probability .5
and more."""

FEELING_NAMES = ("negative", "neutral", "positive")
_WORTH_KEEPING = 0.5


@dataclass(frozen=True)
class Seen:
    """What a champion makes of n images and t texts.

    image: [n, D], text: [t, D], rows of length 1, their dot product the score; caption, lang: n
    strings, and caption_vector [n, D]; tags: probabilities [n, V] of `tag_names`; sentiment: [n, 3]
    of `FEELING_NAMES`.
    """

    image: Floats
    text: Floats
    caption: list[str]
    lang: list[str]
    caption_vector: Floats
    tag_names: tuple[str, ...]
    tags: Floats
    sentiment: Floats


@dataclass(frozen=True)
class LabelingModel:
    """A model that labels. look: encoded images and texts to `Seen`; `name` as it will stand in
    `source` (`shop@3`); `digest` changes when the model does."""

    name: str
    digest: str
    look: Callable[[list[bytes], list[str]], Seen]


def generated_rows(sha256: pa.Array, captions: pa.ListArray, seen: Seen) -> pa.Table:
    """`GENERATED` for images and their captions; `seen.text` are the captions, flattened."""
    owner = np.repeat(np.arange(len(sha256)), _lengths(captions))
    scores = (seen.image[owner] * seen.text).sum(axis=1)
    row, column = np.nonzero(seen.tags >= _WORTH_KEEPING)
    names = pa.array(np.array([*seen.tag_names, ""], object)[column], pa.string())
    tags = pa.StructArray.from_arrays(
        [names, pa.array(seen.tags[row, column], _SCORE)],
        fields=list(GENERATED.field("tags").type.value_type),
    )
    best = seen.sentiment.argmax(axis=1)
    feeling = pa.StructArray.from_arrays(
        [
            pa.array(np.array(FEELING_NAMES, object)[best], pa.string()),
            pa.array(seen.sentiment.max(axis=1, initial=0.0), _SCORE),
        ],
        fields=list(GENERATED.field("sentiment").type),
    )
    columns = [
        sha256,
        pa.ListArray.from_arrays(_offsets(_lengths(captions)), pa.array(scores, _SCORE)),
        pa.array(seen.caption, pa.string()),
        pa.array(seen.lang, pa.string()),
        pa.array((seen.image * seen.caption_vector).sum(axis=1), _SCORE),
        pa.ListArray.from_arrays(_offsets(np.bincount(row, minlength=len(sha256))), tags),
        feeling,
    ]
    return pa.table(columns, schema=GENERATED)


@dataclass(frozen=True)
class Thresholds:
    """Least probabilities: that a caption is right; of a tag or feeling."""

    min_match: float
    min_probability: float


def joined(
    labels: pa.Table,
    generated: pa.Table,
    allowed: Collection[str],
    champion: str,
    right: Calibration | None,
    limits: Thresholds,
    train: NDArray[np.bool_],
) -> pa.Table:
    """`PAIRS` with what a champion adds to them, of the `KINDS` that are allowed.

    labels: `PAIRS`; generated: their rows of `GENERATED`; train: bool [n], rows that may change: a
    model must not write the labels that the next one is tested on. Annotations are never touched.
    A web caption that does not fit is left out, another one's confidence multiplied by the
    probability that it is right; a generated label's confidence is its probability.
    """
    changed = _changed(labels, generated, allowed, champion, right, limits)
    own = np.arange(labels.num_rows)
    both = pa.concat_tables([labels.cast(PAIRS), changed])
    return both.take(pa.array(np.where(train, own + labels.num_rows, own))).combine_chunks()


def _changed(
    labels: pa.Table,
    generated: pa.Table,
    allowed: Collection[str],
    champion: str,
    right: Calibration | None,
    limits: Thresholds,
) -> pa.Table:
    captions = labels["captions"].combine_chunks()
    if right is not None and FILTER in allowed:
        scores = generated["scores"].combine_chunks()
        captions = _filtered(captions, scores, champion, right, limits)
    if right is not None and CAPTIONS in allowed:
        captions = _captioned(captions, generated, champion, right, limits)
    tags = labels["tags"].combine_chunks()
    if TAGS in allowed:
        tags = _tagged(tags, generated, champion, limits)
    feelings = labels["sentiment"].combine_chunks()
    if FEELINGS in allowed:
        feelings = _felt(feelings, generated, champion, limits)
    columns = {name: labels[name] for name in PAIRS.names}
    columns |= {"captions": captions, "caption": _first(captions), "tags": tags}
    return pa.table(columns | {"sentiment": feelings}, schema=PAIRS)


def _filtered(
    captions: pa.ListArray,
    scores: pa.ListArray,
    champion: str,
    right: Calibration,
    limits: Thresholds,
) -> pa.ListArray:
    flat = captions.flatten()
    stated = pc.equal(flat.field("source"), ANNOTATION).to_numpy(zero_copy_only=False)
    chance = np.where(stated, 1.0, right(scores.flatten().to_numpy()))
    confidence = np.round(flat.field("confidence").to_numpy() * chance, 4)
    keep = stated | (chance >= limits.min_match)
    checked = pa.array([champion] * len(stated), pa.string(), mask=stated)
    new = {"confidence": pa.array(confidence), "checked_by": checked}
    fields = [new.get(f.name, flat.field(f.name)) for f in CAPTION]
    changed = pa.StructArray.from_arrays(fields, fields=list(CAPTION))
    owner = np.repeat(np.arange(len(captions)), _lengths(captions))
    # The best first again; a stable sort leaves equals in the order of the pages.
    order = np.lexsort((-confidence, ~stated, owner))
    order = order[keep[order]]
    sizes = np.bincount(owner[keep], minlength=len(captions))
    return pa.ListArray.from_arrays(_offsets(sizes), changed.take(pa.array(order)))


def _captioned(
    captions: pa.ListArray,
    generated: pa.Table,
    champion: str,
    right: Calibration,
    limits: Thresholds,
) -> pa.ListArray:
    """A generated caption for each image that has none, where it fits."""
    chance = right(generated["score"].to_numpy())
    written = pc.greater(pc.utf8_length(generated["caption"]), 0).to_numpy()
    give = (_lengths(captions) == 0) & (chance >= limits.min_match) & written
    new = generated.filter(pa.array(give))
    values = {
        "text": new["caption"].combine_chunks(),
        "lang": new["lang"].combine_chunks(),
        "confidence": pa.array(np.round(chance[give], 4)),
        "source": pa.array([champion] * new.num_rows, pa.string()),
    }
    return _filled(captions, give, _struct(CAPTION, values))


def _tagged(
    tags: pa.ListArray, generated: pa.Table, champion: str, limits: Thresholds
) -> pa.ListArray:
    """The champion's tags for each image that has none."""
    said = generated["tags"].combine_chunks()
    flat = said.flatten()
    probability = flat.field("probability").to_numpy().astype(np.float64)
    owner = np.repeat(np.arange(len(said)), _lengths(said))
    sure = (probability >= limits.min_probability) & (_lengths(tags) == 0)[owner]
    order = np.lexsort((-probability, owner))
    order = order[sure[order]]
    values = {
        "tag": flat.field("tag").take(pa.array(order)),
        "confidence": pa.array(np.round(probability[order], 4)),
        "source": pa.array([champion] * len(order), pa.string()),
    }
    sizes = np.bincount(owner[sure], minlength=len(tags))
    return _filled(tags, sizes, _struct(TAG, values))


def _felt(
    feelings: pa.StructArray, generated: pa.Table, champion: str, limits: Thresholds
) -> pa.StructArray:
    """The champion's feeling for each image that has none."""
    said = generated["sentiment"].combine_chunks()
    probability = said.field("probability").to_numpy().astype(np.float64)
    silent = feelings.is_null().to_numpy(zero_copy_only=False)
    give = silent & (probability >= limits.min_probability)
    values = {
        "label": said.field("label"),
        "confidence": pa.array(np.round(probability, 4)),
        "source": pa.array([champion] * len(said), pa.string()),
    }
    both = pa.concat_arrays([feelings, _struct(SENTIMENT, values)])
    own = np.arange(len(feelings))
    return both.take(pa.array(np.where(give, own + len(feelings), own)))


def _struct(kind: pa.StructType, values: dict[str, pa.Array]) -> pa.StructArray:
    arrays = [
        values[f.name].cast(f.type) if f.name in values else pa.nulls(len(values["source"]), f.type)
        for f in kind
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(kind))


def _filled(lists: pa.ListArray, sizes: NDArray, new: pa.StructArray) -> pa.ListArray:
    """Empty lists filled with `sizes` items each of `new`; `sizes` is 0 for lists that are not."""
    own, old = _lengths(lists), lists.flatten()
    sizes = sizes.astype(np.int64)
    owner = np.concatenate([np.repeat(np.arange(len(lists)), n) for n in (own, sizes)])
    both = pa.concat_arrays([old.cast(new.type), new])
    order = np.argsort(owner, kind="stable")
    return pa.ListArray.from_arrays(_offsets(own + sizes), both.take(pa.array(order)))


def _first(captions: pa.ListArray) -> pa.StructArray:
    sizes = _lengths(captions)
    at = np.cumsum(sizes) - sizes
    return captions.flatten().take(pa.array(at, mask=sizes == 0))


def _lengths(lists: pa.ListArray) -> NDArray[np.int64]:
    sizes = pc.fill_null(pc.list_value_length(lists), 0)
    return sizes.to_numpy(zero_copy_only=False).astype(np.int64)


def _offsets(sizes: NDArray) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
