"""Facts that noun phrases state about an image, as votes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.lexicon import lexicon
from mmcore.weak.phrases import is_person
from mmcore.weak.votes import UNCLEAR, VOTES, make_votes

MOST_WEIGHT = 0.95
FACTS = ("colour", "count", "size", "texture", "mood", "position")


def fact_votes(
    phrases: pa.Table,
    image: NDArray[np.int64],
    source: NDArray[np.object_],
    weight: NDArray[np.float64],
) -> pa.Table:
    """Votes of task `fact`, slots `exists|KEY`, `plural|KEY`, `colour|KEY`, `count|KEY`, ….

    phrases: `PHRASES`; the arrays give image, role and confidence of each text. Where one text
    speaks of two things of a kind ("a red circle and a blue circle"), whatever it says of them is
    unclear, and stands against what other texts say.
    """
    text = phrases["text"].to_numpy()
    keep = weight[text] > 0
    phrases, text = phrases.filter(pa.array(keep)), text[keep]
    base = {
        "image": image[text],
        "weight": np.minimum(weight[text], MOST_WEIGHT),
        "source": source[text],
        "lang": _objects(phrases["lang"]),
    }
    key = _merged_compounds(base["image"], _objects(phrases["key"]))
    twice = _said_twice(phrases)
    person = np.array([is_person(k) for k in key], bool)
    present = np.full(len(key), "yes", object)
    number = np.where(_flags(phrases["plural"]), "many", "one").astype(object)
    tables = [_votes("exists", key, present, base), _votes("plural", key, number, base)]
    for name in FACTS:
        value = _fact(phrases, name)
        # a person's colour or size is not the picture's to say: "a little girl", "a black man"
        if name in ("colour", "size", "texture"):
            value = np.where(person, "", value)
        if name == "count":
            value = np.where(_uncountable(key, base["lang"]), "", value)
        value = np.where(twice & (value != ""), UNCLEAR, value)
        said = value != ""
        some = {column: values[said] for column, values in base.items()}
        tables.append(_votes(name, key[said], value[said], some))
    return pa.concat_tables([VOTES.empty_table(), *tables])


def split_slots(slots: pa.ChunkedArray) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """(fact, key) of slots such as `colour|circle`; equal ones are split once."""
    coded = pc.dictionary_encode(slots).combine_chunks()
    coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
    pairs = [slot.split("|", 1) for slot in coded.dictionary.to_pylist()]
    at = coded.indices.to_numpy(zero_copy_only=False)
    if not len(at):
        return np.zeros(0, object), np.zeros(0, object)
    fact, key = (np.array([pair[side] for pair in pairs], object)[at] for side in (0, 1))
    return fact, key


def _merged_compounds(image: NDArray[np.int64], key: NDArray[np.object_]) -> NDArray[np.object_]:
    """ "toy guitar" is "guitar" where another phrase about the image says just that."""
    head = np.array([k.rpartition(" ")[2] for k in key], object)
    plain = {(i, k) for i, k, h in zip(image.tolist(), key, head, strict=True) if k == h}
    known = [(i, h) in plain for i, h in zip(image.tolist(), head, strict=True)]
    return np.where(np.array(known, bool), head, key)


def _votes(fact: str, key: NDArray, value: NDArray, base: dict[str, NDArray]) -> pa.Table:
    slot = np.full(len(key), f"{fact}|", object) + key
    return make_votes(task="fact", slot=slot, value=value, **base)


def _fact(phrases: pa.Table, name: str) -> NDArray[np.object_]:
    if name == "count":
        count = phrases["count"].to_numpy()
        return np.where(count > 0, count.astype(str).astype(object), "")
    return _objects(pc.fill_null(phrases[name], UNCLEAR))


def _said_twice(phrases: pa.Table) -> NDArray[np.bool_]:
    """Whether the phrase's text names its kind of thing in two phrases, neither of them "the"."""
    definite = _flags(phrases["definite"])
    head = np.array([k.rpartition(" ")[2] for k in phrases["key"].to_pylist()], object)
    keyed = pa.table({"text": phrases["text"], "head": pa.array(head, pa.string())})
    codes = pc.dictionary_encode(
        pc.binary_join_element_wise(pc.cast(keyed["text"], pa.string()), keyed["head"], "|")
    ).combine_chunks()
    at = codes.indices.to_numpy(zero_copy_only=False)
    new = np.bincount(at, weights=~definite, minlength=1)
    return new[at] > 1


def _uncountable(key: NDArray[np.object_], lang: NDArray[np.object_]) -> NDArray[np.bool_]:
    return np.array([is_uncountable(k, g) for k, g in zip(key, lang, strict=True)], bool)


def is_uncountable(key: str, lang: str = "en") -> bool:
    """Whether "how many" or "is there a" makes no sense: water, background, grass."""
    last = key.rpartition(" ")[2]
    if last.startswith("de:"):
        return last[3:] in lexicon("de").not_counted
    return last in lexicon("en").not_counted


def _objects(column: pa.ChunkedArray) -> NDArray[np.object_]:
    return np.array(column.to_pylist(), object)


def _flags(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return column.to_numpy(zero_copy_only=False).astype(bool)
