"""Which text is the caption of an image: role, agreement with the other texts, length, rarity."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.lexicon import CLOSED, Kind
from mmcore.weak.negatives import group_of
from mmcore.weak.words import Words

ROLE_PRIOR = {
    "annotation": 1.0,
    "caption": 0.9,
    "alt": 0.85,
    "title": 0.7,
    "keyword": 0.7,
    "heading": 0.55,
    "context": 0.5,
    "url": 0.45,
    "page_title": 0.3,
}
"""How likely a text of this role describes its image, before anything is read."""

STRICT_ROLES = ("annotation", "caption", "alt", "title")
CAPTION_ROLES = ("caption", "alt", "title")
_MOST_TEXTS = 24
_FULL_LENGTH = 8
_CONTRADICTED = 0.3
_UNHEARD, _UNHEARD_WEIGHT = 0.75, 0.1
_NOUN_SHARE = 0.7  # two texts about one image name the same things before they look alike
_MEANINGFUL = Kind.NUMBER | Kind.COLOUR | Kind.SIZE | Kind.TEXTURE | Kind.MOOD
_MEANINGFUL |= Kind.POSITION_ADVERB | Kind.POSITION_NOUN | Kind.POSITION_ADJECTIVE


def role_priors(roles: pa.Array) -> NDArray[np.float64]:
    """`ROLE_PRIOR` of each role, 0 for roles that describe nothing (comments): float64 [n]."""
    names, priors = pa.array(list(ROLE_PRIOR)), np.array([*ROLE_PRIOR.values(), 0.0])
    return priors[pc.index_in(roles, names).fill_null(len(names)).to_numpy(zero_copy_only=False)]


def content_words(words: Words) -> NDArray[np.object_]:
    """What each vocabulary word means in any language, "" for function words: object [vocabulary].

    "rote" and "red" both mean `colour:red`, "Kreise" and "circle" both `circle`.
    """
    meaningful = (words.kinds & int(_MEANINGFUL)) != 0
    closed = (words.kinds & int(CLOSED)) != 0
    out = np.where(closed | ~np.array([n[:1].isalpha() for n in words.names], bool), "", words.keys)
    for name, values in words.values.items():
        said = (values != "") & meaningful
        out = np.where(said, f"{name}:" + values.astype(object), out)
    return out.astype(object)


def agreement(
    image: NDArray[np.int64], words: Words, prior: NDArray[np.float64], strict: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """How much of each text the other texts of its image say too.

    image: int64 [n], sorted; prior: float64 [n], how much each text counts as a witness; strict:
    bool [n], whether its silence counts against others (an alt text should name what the caption
    names; a paragraph may speak of other things). Output: float64 [n] in [0, 1], the mean overlap
    with the other texts, weighted by the witness, and `_UNHEARD` where there is none.
    """
    text, code, noun = _contents(words, prior > 0)
    listed = _first_texts(image, np.bincount(text, minlength=len(image)) > 0)
    parts = []
    for wanted in (noun, ~noun):
        keep = wanted & listed[text]
        parts.append(_overlaps(image, text[keep], code[keep]))
    overlap = parts[0].join(parts[1], ["a", "b"], join_type="full outer", right_suffix="_look")
    one, other = overlap["a"].to_numpy(), overlap["b"].to_numpy()
    named = pc.fill_null(overlap["overlap"], 0.0).to_numpy()
    looks = pc.fill_null(overlap["overlap_look"], 0.0).to_numpy()
    nameless = _without(one, text[noun]) | _without(other, text[noun])
    lookless = _without(one, text[~noun]) | _without(other, text[~noun])
    share = np.where(nameless, 0.0, np.where(lookless, 1.0, _NOUN_SHARE))
    said = prior[other] * (share * named + (1 - share) * looks)
    agreed = np.bincount(one, weights=said, minlength=len(image))
    helped = np.bincount(one, weights=np.where(strict[other], 0.0, said), minlength=len(image))
    witness = np.where(listed & strict, prior, 0.0)
    possible = np.bincount(image, weights=witness, minlength=1)[image] - witness + helped
    # where alt and caption flatly contradict each other no paragraph can decide between them
    firm = np.bincount(one, weights=np.where(strict[other], said, 0.0), minlength=len(image))
    others = possible - helped
    bound = np.where(others > 1e-9, firm / np.maximum(others, 1e-9) + _CONTRADICTED, 1.0)
    agreed = (agreed + _UNHEARD * _UNHEARD_WEIGHT) / (possible + _UNHEARD_WEIGHT)
    return np.clip(np.minimum(agreed, bound), 0, 1)


def _without(texts: NDArray[np.int64], having: NDArray[np.int64]) -> NDArray[np.bool_]:
    return ~np.isin(texts, having)


def _overlaps(image: NDArray, text: NDArray, code: NDArray) -> pa.Table:
    """|A∩B| / min(|A|, |B|) of pairs of texts of one image: columns `a`, `b`, `overlap`."""
    size = np.bincount(text, minlength=len(image))
    table = pa.table({"a": text, "image": image[text], "code": code})
    pairs = table.join(table, ["image", "code"], join_type="inner", right_suffix="_b")
    shared = pairs.group_by(["a", "a_b"]).aggregate([("code", "count")])
    one, other = shared["a"].to_numpy(), shared["a_b"].to_numpy()
    different = one != other
    one, other = one[different], other[different]
    both = shared["code_count"].to_numpy()[different]
    return pa.table({"a": one, "b": other, "overlap": both / np.minimum(size[one], size[other])})


def _contents(words: Words, used: NDArray[np.bool_]) -> tuple[NDArray, NDArray, NDArray]:
    """(text, code of a content word, whether it is a noun), each once, of the texts in use.

    Words that may name the same thing ("boy", "child") count as one.
    """
    said = [group_of(m) if ":" not in m else m for m in content_words(words)]
    meanings = pc.dictionary_encode(pa.array(said, pa.string()))
    names = np.array(meanings.dictionary.to_pylist() or [""], object)
    noun = np.array([":" not in n or n.startswith("de:") for n in names], bool)
    meaning = meanings.indices.to_numpy(zero_copy_only=False)[words.code]
    keep = (names[meaning] != "") & used[words.text]
    pairs = np.unique(words.text[keep] * len(names) + meaning[keep])
    code = pairs % len(names)
    return pairs // len(names), code, noun[code]


def _first_texts(image: NDArray[np.int64], usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The first usable texts of each image, a bounded number: comparing all pairs is quadratic."""
    rank: NDArray[np.int64] = np.cumsum(usable) - usable.astype(np.int64)
    starts = np.searchsorted(image, image, side="left")
    return usable & (rank - rank[starts] < _MOST_TEXTS)


def text_confidence(prior: NDArray[np.float64], agreed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Trust in each text, role prior times agreement: float64 [n] in [0, 1]."""
    return np.round(prior * (0.25 + 0.75 * agreed), 4)


def caption_score(
    confidence: NDArray[np.float64],
    length: NDArray[np.int64],
    specificity: NDArray[np.float64],
    count: NDArray[np.int64],
) -> NDArray[np.float64]:
    """What candidates are ranked by: trust, then length (to 8 words), rarity and repetition.

    confidence, specificity (mean IDF): float64 [n]; length in words, count of places: int64 [n].
    """
    long_enough = 0.7 + 0.3 * np.minimum(length, _FULL_LENGTH) / _FULL_LENGTH
    rare = 1 + 0.02 * np.minimum(specificity, 10.0)
    repeated = 1 + 0.05 * np.log2(np.clip(count, 1, 8))
    return confidence * long_enough * rare * repeated
