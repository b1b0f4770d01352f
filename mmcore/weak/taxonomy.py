"""Which tags stand above others and which mean the same, from what the corpus itself says.

Hyponyms by the patterns of Hearst (1992): "animals such as owls", "owls and other animals", "an owl
is a bird", "Eulen und andere Vögel"; and by the heads of compounds: a "tabby cat" is a "cat".
Synonyms by spelling ("t-shirt", "tshirt"), and by two texts of different roles that each name one
thing of the same image, where the corpus does that again and again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.captions import STRICT_ROLES
from mmcore.weak.evidence import Evidence
from mmcore.weak.lexicon import CLOSED, Kind, english_nouns
from mmcore.weak.tags import is_tag
from mmcore.weak.words import Words, candidate_nouns

RELATIONS = pa.schema(
    [("kind", pa.string()), ("one", pa.string()), ("other", pa.string()), ("images", pa.int64())]
)
"""kind `is_a`: `one` is a kind of `other`; `same`: both were said of one image, each alone;
`alone`: of how many images `one` was said alone."""

_LEAST_IS_A = 2
_LEAST_SAME, _SAME_SHARE = 3, 0.5
_DEPTH = 4
# the words between hyponym and hypernym; after "such as" the order turns round
_DOWN: tuple[tuple[str, ...], ...] = (
    ("such", "as"),
    ("including",),
    ("especially",),
    ("wie", "etwa"),
    ("wie", "zum", "beispiel"),
)
_UP: tuple[tuple[str, ...], ...] = (
    ("and", "other"),
    ("or", "other"),
    ("und", "andere"),
    ("oder", "andere"),
)
_UP += (("is", "a", "kind", "of"), ("is", "a", "type", "of"), ("are", "a", "kind", "of"))
_UP += (("is", "a"), ("is", "an"), ("ist", "ein"), ("ist", "eine"))


@dataclass(frozen=True)
class Taxonomy:
    """parents: tag -> the tags above it, nearest first; synonyms: form -> the tag it goes by."""

    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    synonyms: dict[str, str] = field(default_factory=dict)


def count_relations(evidence: Evidence, clean: NDArray[np.bool_]) -> pa.Table:
    """The `RELATIONS` that the texts of one part state.

    clean: for each word occurrence whether it stands as a noun does (`count_noun_uses`).
    """
    words = evidence.words
    if not len(words):
        return RELATIONS.empty_table()
    text, child, parent = _patterns(words, clean | words.has(Kind.NOUN))
    stated = _distinct("is_a", evidence.image[text], child, parent)
    image, one, other, alone = _alone_together(evidence, clean)
    same = _distinct("same", image, one, other)
    single = _distinct("alone", alone[0], alone[1], np.full(len(alone[1]), "", object))
    return pa.concat_tables([stated, same, single])


def merge_relations(tables: list[pa.Table]) -> pa.Table:
    """The sum of the `RELATIONS` of all parts, in order."""
    table = pa.concat_tables([RELATIONS.empty_table(), *tables])
    keys = ["kind", "one", "other"]
    summed = table.group_by(keys, use_threads=False).aggregate([("images", "sum")])
    summed = summed.rename_columns([*keys, "images"]).cast(RELATIONS)
    return summed.sort_by([(k, "ascending") for k in keys])


def taxonomy(relations: pa.Table, terms: dict[str, int]) -> Taxonomy:
    """The hierarchy and the synonyms of a corpus.

    relations: of all parts; terms: how many images name each tag, compounds ("tabby cat") too.
    """
    by_kind: dict[str, list[dict]] = {"is_a": [], "same": [], "alone": []}
    for row in relations.to_pylist():
        by_kind[row["kind"]].append(row)
    synonyms = _synonyms(by_kind["same"], by_kind["alone"], terms)

    def tag(term: str) -> str:
        return synonyms.get(term, term)

    links: dict[tuple[str, str], int] = {}
    for row in by_kind["is_a"]:
        pair = (tag(row["one"]), tag(row["other"]))
        links[pair] = links.get(pair, 0) + row["images"]
    edges = [(-n, *pair) for pair, n in links.items() if n >= _LEAST_IS_A]
    heads = ((t, t.rpartition(" ")[2]) for t in terms if " " in t)
    edges += [(-terms[t], tag(t), tag(head)) for t, head in heads if head in terms]
    return Taxonomy(_closure(edges), synonyms)


def _closure(edges: list[tuple[int, str, str]]) -> dict[str, tuple[str, ...]]:
    """All tags above each, nearest first. Of edges in a circle the weakest falls out."""
    direct: dict[str, list[str]] = {}
    for _, child, parent in sorted(edges):
        sound = child != parent and is_tag(parent) and child not in _above(direct, parent)
        if sound and parent not in direct.get(child, ()):
            direct.setdefault(child, []).append(parent)
    return {child: tuple(_above(direct, child)) for child in direct}


def _above(direct: dict[str, list[str]], tag: str) -> list[str]:
    found: list[str] = []
    level = [tag]
    for _ in range(_DEPTH):
        level = [p for t in level for p in direct.get(t, ()) if p not in found]
        found += list(dict.fromkeys(level))
    return found


def _synonyms(same: list[dict], alone: list[dict], terms: dict[str, int]) -> dict[str, str]:
    """Form -> tag. Of two forms the one of the bilingual list stays, else the first by alphabet:
    a name must not change because tonight the other form is more usual."""
    number = {row["one"]: row["images"] for row in alone}
    out: dict[str, str] = {}
    spelt: dict[str, list[str]] = {}
    for term in terms:
        if ":" not in term:
            spelt.setdefault(term.replace("-", "").replace(" ", ""), []).append(term)
    groups = [forms for forms in spelt.values() if len(forms) > 1]
    for row in same:
        most = max(number.get(row["one"], 0), number.get(row["other"], 0))
        if row["images"] >= max(_LEAST_SAME, _SAME_SHARE * most):
            groups.append([row["one"], row["other"]])
    for forms in sorted(sorted(forms) for forms in groups):
        named = [out.get(form, form) for form in forms]
        best = min(named, key=lambda form: (form not in english_nouns(), form))
        for form in {*forms, *named} - {best}:
            out[form] = best
    return {form: _last(out, form) for form in sorted(out)}


def _last(names: dict[str, str], form: str) -> str:
    for _ in range(len(names)):
        if form not in names:
            break
        form = names[form]
    return form


def _patterns(words: Words, sure: NDArray[np.bool_]) -> tuple[NDArray, NDArray, NDArray]:
    """(text, kind, what it is a kind of) of every pattern the texts hold; sure: surely nouns."""
    noun = candidate_nouns(words) & ~words.has(Kind.COLOUR | Kind.MOOD)
    names, size = words.names[words.code], len(words)
    text, low, high = [], [], []
    for down, phrases in ((True, _DOWN), (False, _UP)):
        for phrase in phrases:
            at = np.flatnonzero(_matches(names, words.text, phrase))
            before, after = at - 1, at + len(phrase)
            # "such as the owl", "is a small bird": the noun after an article and what looks
            for _ in range(2):
                here = np.minimum(after, size - 1)
                after = np.where(noun[here] | (after >= size), after, after + 1)
            here, back = np.minimum(after, size - 1), np.maximum(before, 0)
            comma = names[back] == ","
            back = np.where(comma, np.maximum(back - 1, 0), back)
            # "is a tabby cat": the last noun of a compound is the thing
            follows = np.minimum(here + 1, size - 1)
            longer = (noun & sure)[follows] & (words.text[follows] == words.text[here])
            longer &= (follows > here) & ~words.plurals[words.code[here]]
            here = np.where(longer & (words.langs[words.code[here]] == "en"), follows, here)
            same = (words.text[here] == words.text[back]) & (after < size) & (before >= 0)
            keep = same & noun[here] & noun[back] & (back < at)
            first, second = back[keep], here[keep]
            low.append(second if down else first)
            high.append(first if down else second)
            text.append(words.text[at[keep]])
    child, parent = (words.keys[words.code[np.concatenate(side)]] for side in (low, high))
    return np.concatenate(text), child, parent


def _matches(names: NDArray, text: NDArray, phrase: tuple[str, ...]) -> NDArray[np.bool_]:
    """Where a phrase starts."""
    out = names == phrase[0]
    for by, word in enumerate(phrase[1:], 1):
        follows = np.zeros(len(names), bool)
        follows[:-by] = (names[by:] == word) & (text[by:] == text[:-by])
        out = out & follows
    return out


def _alone_together(
    evidence: Evidence, clean: NDArray[np.bool_]
) -> tuple[NDArray, NDArray, NDArray, tuple[NDArray, NDArray]]:
    """Images with two texts of different roles that name one thing each, and not the same: (image,
    one, other); and (image, thing) of every such text."""
    words = evidence.words
    open_class = (words.kinds & int(CLOSED)) == 0
    # a word that is neither closed nor a known noun may be a thing too: such a text names two
    used = (clean | words.has(Kind.NOUN)) & open_class[words.code]
    number = np.bincount(words.text[used], minlength=len(evidence.image))
    strict = np.isin(evidence.role, STRICT_ROLES)
    single = (number == 1) & strict
    at = np.flatnonzero(used & single[words.text])
    text, key = words.text[at], words.keys[words.code[at]].astype(object)
    table = pa.table(
        {
            "image": evidence.image[text],
            "role": pa.array(evidence.role[text], pa.string()),
            "key": pa.array(key, pa.string()),
        }
    )
    table = table.group_by(table.column_names, use_threads=False).aggregate([])
    image, key = table["image"].to_numpy(), _objects(table["key"])
    pairs = table.join(table, "image", join_type="inner", right_suffix="_b")
    differ = pc.and_(
        pc.not_equal(pairs["role"], pairs["role_b"]), pc.less(pairs["key"], pairs["key_b"])
    )
    pairs = pairs.filter(differ)
    columns = (_objects(pairs["key"]), _objects(pairs["key_b"]))
    return pairs["image"].to_numpy(), *columns, (image, key)


def _distinct(kind: str, image: NDArray, one: NDArray, other: NDArray) -> pa.Table:
    """`RELATIONS`: how many images state each pair."""
    strings = [pa.array(side, pa.string()) for side in (one, other)]
    table = pa.table([pa.array(image, pa.int64()), *strings], names=["image", "one", "other"])
    table = table.filter(pc.not_equal(table["one"], table["other"]))
    per = table.group_by(["one", "other"], use_threads=False).aggregate(
        [("image", "count_distinct")]
    )
    kinds = pa.array([kind] * per.num_rows, pa.string())
    return pa.table([kinds, per["one"], per["other"], per["image_count_distinct"]], RELATIONS)


def _objects(column: pa.ChunkedArray) -> NDArray[np.object_]:
    return np.array(column.to_pylist(), object)
