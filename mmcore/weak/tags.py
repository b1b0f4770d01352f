"""Tags: what texts and keywords name (things, colours, textures, ...), in one vocabulary."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.captions import content_words
from mmcore.weak.lexicon import LANGUAGES, canonical_noun, lexicon
from mmcore.weak.votes import make_votes
from mmcore.weak.words import Words

_ATTRIBUTES = ("colour", "size", "texture", "mood")
_YES = "yes"


def fact_tags(votes: pa.Table) -> pa.Table:
    """Votes of task `tag` from votes of task `fact`: the things named and how they look.

    The background's colour is no tag of the picture. Of a compound noun its head is the tag.
    """
    split = [slot.split("|", 1) for slot in votes["slot"].to_pylist()]
    fact = np.array([s[0] for s in split], object)
    key = np.array([s[1] for s in split], object)
    value = np.array(votes["value"].to_pylist(), object)
    thing = fact == "exists"
    # of two circles in two colours both colours are in the picture, but their votes say "?"
    look = np.isin(fact, _ATTRIBUTES) & (key != "background") & (value != "?")
    heads = np.array([k.rpartition(" ")[2] for k in key], object)
    tag = np.where(thing, heads, value)
    keep = thing | look
    rows = votes.filter(pa.array(keep))
    return _votes(rows, tag[keep])


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


_KEPT = ("image", "weight", "source", "lang")


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


def keyword_votes(words: Words, image: NDArray[np.int64], weight: NDArray[np.float64]) -> pa.Table:
    """Votes of task `tag`, one per keyword; image: int64 [n]; weight: float64 [n], its trust."""
    row, term = keyword_terms(words)
    row, term = row[weight[row] > 0], term[weight[row] > 0]
    base = {
        "image": image[row],
        "weight": np.minimum(weight[row], 0.95),
        "source": np.full(len(row), "keyword", object),
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
