"""Tags: what texts and keywords name (things, colours, textures, ...), in one vocabulary."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.captions import content_words
from mmcore.weak.facts import split_slots
from mmcore.weak.lexicon import LANGUAGES, canonical_noun, lexicon
from mmcore.weak.votes import make_votes
from mmcore.weak.words import Words

_ATTRIBUTES = ("colour", "size", "texture", "mood")
_YES = "yes"
_COMPOUND = 0.9
_FEW = 20  # images of which no share says anything


def fact_tags(votes: pa.Table) -> pa.Table:
    """Votes of task `tag` from votes of task `fact`: the things named and how they look.

    The background's colour is no tag of the picture. Of a compound noun its head is the tag.
    """
    fact, key = split_slots(votes["slot"])
    value = np.array(votes["value"].to_pylist(), object)
    thing = fact == "exists"
    # of two circles in two colours both colours are in the picture, but their votes say "?"
    look = np.isin(fact, _ATTRIBUTES) & (key != "background") & (value != "?")
    heads = np.array([k.rpartition(" ")[2] for k in key], object)
    tag = np.where(thing, heads, value)
    keep = thing | look
    rows = votes.filter(pa.array(keep))
    return _votes(rows, tag[keep])


def compound_tags(
    phrases: pa.Table,
    image: NDArray[np.int64],
    source: NDArray[np.object_],
    weight: NDArray[np.float64],
) -> pa.Table:
    """Votes for the compounds among phrases (`PHRASES`), a little less sure than their heads'.

    The arrays give image, role and confidence of each text.
    """
    key = np.array(phrases["key"].to_pylist(), object)
    text = phrases["text"].to_numpy()
    keep = np.array([" " in k for k in key], bool) & (weight[text] > 0)
    text = text[keep]
    columns = [
        pa.array(image[text], pa.int64()),
        pa.array(np.minimum(weight[text], 0.95) * _COMPOUND, pa.float64()),
        pa.array(source[text], pa.string()),
        phrases["lang"].filter(pa.array(keep)),
    ]
    return _votes(pa.table(columns, names=_KEPT), key[keep])


def with_synonyms(votes: pa.Table, synonyms: dict[str, str]) -> pa.Table:
    """Tag votes under the name that all forms of a tag go by."""
    forms = pa.array(list(synonyms), pa.string())
    at = pc.index_in(votes["slot"], forms)
    named = pa.array(list(synonyms.values()), pa.string()).take(at.combine_chunks())
    slot = pc.coalesce(named, votes["slot"].combine_chunks())
    return votes.set_column(votes.column_names.index("slot"), "slot", slot)


def with_parents(
    labels: pa.Table,
    parents: dict[str, tuple[str, ...]],
    vocabulary: dict[str, int],
    images: int,
    max_share: float,
) -> pa.Table:
    """Tag labels (`LABELS`) with the tags above each, at least as sure as the surest below.

    A tag that, with all below it, would stand on more than `max_share` of the images says nothing.
    """
    total: dict[str, int] = {}
    for child, above in parents.items():
        for tag in above:
            total[tag] = total.get(tag, vocabulary.get(tag, 0)) + vocabulary.get(child, 0)
    most = max_share * images if images >= _FEW else images
    pairs = [
        (child.removeprefix("de:"), tag.removeprefix("de:"))
        for child, above in sorted(parents.items())
        for tag in above
        if total[tag] <= most or images < _FEW
    ]
    columns = list(zip(*pairs, strict=True)) or [(), ()]
    links = pa.table([pa.array(c, pa.string()) for c in columns], names=["slot", "above"])
    found = labels.join(links, "slot", join_type="inner")
    names = [n if n != "slot" else "above" for n in labels.column_names]
    added = found.select(names).rename_columns(labels.column_names).cast(labels.schema)
    order = [("image", "ascending"), ("slot", "ascending"), ("confidence", "descending")]
    both = pa.concat_tables([labels, added])
    both = both.sort_by([*order, ("source", "ascending"), ("lang", "ascending")])
    keys = ["image", "slot"]
    rest = [n for n in labels.column_names if n not in keys]
    once = both.group_by(keys, use_threads=False).aggregate([(n, "first") for n in rest])
    once = once.rename_columns([*keys, *rest])
    return once.select(labels.column_names).cast(labels.schema)


def _votes(rows: pa.Table, tag: NDArray[np.object_]) -> pa.Table:
    """One vote per image, tag and source: the strongest."""
    table = pa.table({"tag": pa.array(tag, pa.string()), **{n: rows[n] for n in _KEPT}})
    group = ["image", "tag", "source"]
    best = table.sort_by([*((n, "ascending") for n in group), ("weight", "descending")])
    best = best.group_by(group, use_threads=False).aggregate(
        [("weight", "first"), ("lang", "first")]
    )
    names = np.array(best["tag"].to_pylist(), object)
    return make_votes(
        image=best["image"].to_numpy(),
        task="tag",
        slot=names,
        value=np.full(len(names), _YES, object),
        weight=best["weight_first"].to_numpy(),
        source=np.array(best["source"].to_pylist(), object),
        lang=np.array(best["lang_first"].to_pylist(), object),
    )


_KEPT = ["image", "weight", "source", "lang"]


def keyword_terms(words: Words) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """(number of the keyword, its term) for the keywords of one to three words that mean something.

    words: of n keywords, flattened. A term is a canonical noun, an attribute such as `colour:red`,
    or such a noun with the words before it ("polar bear").
    """
    length = np.diff(words.starts)
    rows = np.flatnonzero((length >= 1) & (length <= 3))
    first, last = words.starts[rows], words.starts[rows + 1] - 1
    term = content_words(words)[words.code[last]] if len(rows) else np.empty(0, object)
    for extra in (1, 2):
        longer = (length[rows] > extra) & (term != "")
        before = words.names[words.code[np.maximum(last - extra, first)]]
        term = np.where(longer, before + np.full(len(rows), " ", object) + term, term)
    return rows[term != ""], term[term != ""]


def keyword_votes(
    words: Words,
    image: NDArray[np.int64],
    weight: NDArray[np.float64],
    source: str = "keyword",
) -> pa.Table:
    """Votes of task `tag`, one per keyword; image: int64 [n]; weight: float64 [n], its trust."""
    row, term = keyword_terms(words)
    row, term = row[weight[row] > 0], term[weight[row] > 0]
    base = {
        "image": image[row],
        "weight": np.minimum(weight[row], 0.95),
        "source": np.full(len(row), source, object),
        "lang": np.full(len(row), "", object),
    }
    types = (pa.int64(), pa.float64(), pa.string(), pa.string())
    columns = {n: pa.array(v, t) for (n, v), t in zip(base.items(), types, strict=True)}
    return _votes(pa.table(columns), np.array([_bare(t) for t in term], object))


def _bare(meaning: str) -> str:
    """`colour:red` → `red`; a German word without an English entry keeps its `de:`."""
    prefix, _, value = meaning.partition(":")
    return value if value and prefix not in LANGUAGES else meaning


def managed(
    votes: pa.Table, vocabulary: dict[str, int], images: int, min_images: int, max_share: float
) -> pa.Table:
    """The tag votes whose tag is in the vocabulary: in enough images and not in nearly all.

    vocabulary: how many of the corpus' `images` name each term. The `de:` of words that only
    German has is dropped here.
    """
    least = min_images if images >= 10 * min_images else 1
    most = max(max_share * images, least)
    names = votes["slot"].unique().to_pylist()
    allowed = [n for n in names if least <= vocabulary.get(n, 0) <= most and is_tag(n)]
    kept = votes.filter(pc.is_in(votes["slot"], pa.array(allowed, pa.string())))
    bare = pc.replace_substring_regex(kept["slot"], r"^de:", "")
    return kept.set_column(kept.column_names.index("slot"), "slot", bare)


def is_tag(term: str) -> bool:
    """Whether a term says something of a picture: not "picture", "background", "side"."""
    last = term.rpartition(" ")[2]
    if last in ("background", "foreground") or len(last.removeprefix("de:")) < 2:
        return False
    german = last.removeprefix("de:")
    if german != last:
        return german not in lexicon("de").not_subjects
    return canonical_noun(last, "en") not in lexicon("en").not_subjects
