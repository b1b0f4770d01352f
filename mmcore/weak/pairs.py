"""Rows of `pairs` from evidence, votes and annotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.annotations import SOURCE, Annotation
from mmcore.weak.captions import CAPTION_ROLES, caption_score
from mmcore.weak.evidence import Evidence
from mmcore.weak.questions import QA

_TEXT = pa.string()
CAPTION = pa.struct(
    [
        ("text", _TEXT),
        ("lang", _TEXT),
        ("confidence", pa.float64()),
        ("source", _TEXT),
        ("checked_by", _TEXT),
    ]
)
"""checked_by: the model version whose score is in the confidence, null where none looked."""

QUESTION = pa.struct(
    [
        ("question", _TEXT),
        ("answer", _TEXT),
        ("type", _TEXT),
        ("lang", _TEXT),
        ("confidence", pa.float64()),
        ("source", _TEXT),
    ]
)
TAG = pa.struct([("tag", _TEXT), ("confidence", pa.float64()), ("source", _TEXT)])
SENTIMENT = pa.struct([("label", _TEXT), ("confidence", pa.float64()), ("source", _TEXT)])
PAIRS = pa.schema(
    [
        ("sha256", _TEXT),
        ("cluster", _TEXT),
        ("split", _TEXT),
        ("caption", CAPTION),
        ("captions", pa.list_(CAPTION)),
        ("qa", pa.list_(QUESTION)),
        ("tags", pa.list_(TAG)),
        ("sentiment", SENTIMENT),
        ("sentiment_cues", pa.list_(SENTIMENT)),
        ("sentiment_conflict", pa.bool_()),
    ]
)
_MAX_CAPTIONS = 16
_SUREST = 0.99
_FIT_POWER, _LEAST_FIT = 3, 0.05

Align = Callable[[NDArray[np.int64], pa.Array], NDArray[np.float64]]
"""Image numbers and texts (string [n]) -> how well they fit, float64 [n] in [0, 1]."""


@dataclass(frozen=True)
class Given:
    """Annotations flattened: one row per given item, `image` its number."""

    captions: pa.Table
    qa: pa.Table
    tags: pa.Table
    sentiment: pa.Table

    @classmethod
    def flatten(cls, annotations: list[Annotation]) -> Given:
        """Tables with columns `image` and `text`; `question`, `answer`; `tag`; `label`."""
        numbered = list(enumerate(annotations))
        pairs = [(i, q, a) for i, note in numbered for q, a in note.qa]
        feelings = [(i, note.sentiment) for i, note in numbered if note.sentiment]
        captions = [(i, text) for i, note in numbered for text in note.captions]
        tags = [(i, tag) for i, note in numbered for tag in note.tags]
        return cls(
            _table(captions, ["text"]),
            _table(pairs, ["question", "answer"]),
            _table(tags, ["tag"]),
            _table(feelings, ["label"]),
        )


def _table(rows: list[tuple[Any, ...]], names: list[str]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * (len(names) + 1)
    types = [pa.int64(), *[_TEXT] * len(names)]
    arrays = [pa.array(c, t) for c, t in zip(columns, types, strict=True)]
    return pa.table(arrays, names=["image", *names])


def choose_captions(
    evidence: Evidence,
    given: Given,
    roles: Sequence[str] = CAPTION_ROLES,
    align: Align | None = None,
    belief: NDArray[np.float64] | None = None,
) -> pa.Table:
    """Candidates best first: `image` and the fields of `CAPTION`, sorted by image.

    Where captions are annotated they come first, at confidence 1; they are recognised among the
    cleaned texts, so that masked personal data stays masked. roles: whose texts may be captions.
    align: how well a model finds that texts fit their images. belief: probability that each of
    `evidence.texts` speaks of its picture, NaN where nothing says so; it is the confidence, and
    decides with role, length and rarity which is first.
    """
    texts = evidence.texts
    wanted = pc.is_in(texts["role"], pa.array(CAPTION_ROLES)).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(wanted & (evidence.weight > 0))
    text = texts["text"].take(pa.array(rows)).combine_chunks()
    annotated = _is_given(evidence.image[rows], text, given.captions)
    keep = annotated | np.isin(evidence.role[rows], list(roles))
    rows, text, annotated = rows[keep], text.filter(pa.array(keep)), annotated[keep]
    image, trust = evidence.image[rows], evidence.weight[rows]
    sure = trust
    if belief is not None:
        heard = belief[rows]
        sure = np.where(np.isnan(heard), trust, np.round(np.minimum(heard, _SUREST), 4))
        trust = np.where(np.isnan(heard), trust, trust * heard)
    if align is not None:
        seen = _with_fit(sure, align(image, text))
        trust, sure = trust * seen / np.maximum(sure, 1e-9), np.round(seen, 4)
    confidence = np.where(annotated, 1.0, sure)
    length = np.diff(evidence.words.starts)[rows]
    score = caption_score(
        np.where(annotated, 1.0, trust),
        length,
        texts["specificity"].to_numpy()[rows],
        texts["count"].to_numpy()[rows],
    )
    source = np.where(annotated, SOURCE, evidence.role[rows])
    langs = evidence.langs[rows]
    table = pa.table(
        {
            "image": image,
            "text": text,
            "lang": pa.array(langs, _TEXT, mask=langs == ""),
            "confidence": confidence,
            "source": pa.array(source, _TEXT),
            "checked_by": pa.nulls(len(rows), _TEXT),
            "first": annotated.astype(np.int8),
            "score": score,
        }
    )
    order = [("image", "ascending"), ("first", "descending"), ("score", "descending")]
    table = table.sort_by([*order, ("text", "ascending")])
    return table.filter(pa.array(_rank(table["image"].to_numpy()) < _MAX_CAPTIONS))


def _with_fit(sure: NDArray[np.float64], fit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities in the light of ranks among strangers: float64 [n] each.

    Of a wrong text every rank is as likely as another; of a right one the density is taken to be
    3 r^2, and no rank alone is held against a text by more than 1 in 20.
    """
    ratio = np.maximum(_FIT_POWER * fit ** (_FIT_POWER - 1), _LEAST_FIT)
    odds = sure / np.maximum(1 - sure, 1e-9) * ratio
    return np.asarray(odds / (1 + odds))


def _is_given(image: NDArray, text: pa.Array, captions: pa.Table) -> NDArray[np.bool_]:
    def keys(numbers: NDArray, texts: pa.Array) -> pa.Array:
        folded = pc.replace_substring_regex(pc.utf8_trim_whitespace(texts), r"\s+", " ")
        return pc.binary_join_element_wise(pa.array(numbers.astype(str)), folded, "\n")

    known = keys(captions["image"].to_numpy(), captions["text"].combine_chunks())
    return pc.is_in(keys(image, text), known).to_numpy(zero_copy_only=False)


def all_questions(weak: pa.Table, given: Given) -> pa.Table:
    """Annotated questions first, then the weak ones that are not asked already; sorted by image."""
    number = given.qa.num_rows
    stated = pa.table(
        [
            given.qa["image"],
            given.qa["question"],
            given.qa["answer"],
            pa.array(["given"] * number, _TEXT),
            pa.nulls(number, _TEXT),
            pa.array(np.ones(number)),
            pa.array([SOURCE] * number, _TEXT),
        ],
        schema=QA,
    )
    return _given_first(stated, weak, "question", {"question": pc.utf8_lower})


def all_tags(labels: pa.Table, given: Given, min_confidence: float) -> pa.Table:
    """Annotated tags first, then the weak ones by confidence: `image` and the fields of `TAG`."""
    number = given.tags.num_rows
    ones = pa.array(np.ones(number))
    stated = pa.table(
        {
            "image": given.tags["image"],
            "tag": given.tags["tag"],
            "confidence": ones,
            "source": pa.array([SOURCE] * number, _TEXT),
        }
    )
    sure = labels.filter(pc.greater_equal(labels["confidence"], min_confidence))
    sure = sure.sort_by(
        [("image", "ascending"), ("confidence", "descending"), ("slot", "ascending")]
    )
    names = ("image", "slot", "confidence", "source")
    weak = pa.table([sure[n] for n in names], schema=stated.schema)
    return _given_first(stated, weak, "tag", {})


def all_feelings(labels: pa.Table, given: Given) -> pa.Table:
    """At most one feeling per image: `image` and the fields of `SENTIMENT`."""
    number = given.sentiment.num_rows
    stated = pa.table(
        {
            "image": given.sentiment["image"],
            "label": given.sentiment["label"],
            "confidence": pa.array(np.ones(number)),
            "source": pa.array([SOURCE] * number, _TEXT),
        }
    )
    names = ("image", "value", "confidence", "source")
    weak = pa.table([labels[n] for n in names], schema=stated.schema)
    known = pc.is_in(weak["image"], stated["image"].combine_chunks())
    return pa.concat_tables([stated, weak.filter(pc.invert(known))]).sort_by("image")


def _given_first(stated: pa.Table, weak: pa.Table, key: str, fold: dict[str, Any]) -> pa.Table:
    both = pa.concat_tables([stated, weak])
    order = pa.array(np.arange(both.num_rows))
    folded = fold.get(key, lambda column: column)(both[key])
    keyed = pa.table({"image": both["image"], "key": folded, "order": order})
    first = keyed.group_by(["image", "key"], use_threads=False).aggregate([("order", "min")])
    once = both.take(first["order_min"]).append_column("order", first["order_min"])
    return once.sort_by([("image", "ascending"), ("order", "ascending")]).drop_columns(["order"])


def assemble(
    rows: pa.Table,
    captions: pa.Table,
    qa: pa.Table,
    tags: pa.Table,
    feelings: pa.Table,
    cues: pa.Table,
    conflicts: pa.Array,
) -> pa.Table:
    """`PAIRS` for kept rows with columns `sha256`, `cluster`, `split`; tables sorted by `image`;
    conflicts: bool [rows]."""
    number = rows.num_rows
    first = captions.filter(pa.array(_rank(captions["image"].to_numpy()) == 0))
    columns = [
        rows["sha256"],
        rows["cluster"],
        rows["split"],
        _one_each(first, CAPTION, number),
        _list_each(captions, CAPTION, number),
        _list_each(qa, QUESTION, number),
        _list_each(tags, TAG, number),
        _one_each(feelings, SENTIMENT, number),
        _list_each(cues, SENTIMENT, number),
        conflicts,
    ]
    return pa.table(columns, schema=PAIRS)


def _structs(table: pa.Table, type: pa.StructType) -> pa.StructArray:
    arrays = [table[field.name].combine_chunks().cast(field.type) for field in type]
    return pa.StructArray.from_arrays(arrays, fields=list(type))


def _list_each(table: pa.Table, type: pa.StructType, number: int) -> pa.ListArray:
    sizes = np.bincount(table["image"].to_numpy(), minlength=number)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), _structs(table, type))


def _one_each(table: pa.Table, type: pa.StructType, number: int) -> pa.Array:
    at = np.full(number, -1)
    at[table["image"].to_numpy()] = np.arange(table.num_rows)
    return _structs(table, type).take(pa.array(at, mask=at < 0))


def _rank(image: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2, … within each run of equal numbers."""
    return np.arange(len(image)) - np.searchsorted(image, image, side="left")
