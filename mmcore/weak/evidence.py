"""Everything a page says about some images, as one flat table of texts with classified words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.addresses import FOLDER_ROLE, URL_ROLE, address_texts
from mmcore.weak.captions import STRICT_ROLES, agreement, role_priors, text_confidence
from mmcore.weak.lexicon import LANGUAGES
from mmcore.weak.words import Words, classify, detect_languages

TEXTS = pa.schema(
    [
        ("image", pa.int64()),
        ("role", pa.string()),
        ("text", pa.string()),
        ("lang", pa.string()),
        ("count", pa.int64()),
        ("specificity", pa.float64()),
        ("page_url", pa.string()),
    ]
)
"""image: its number in the part; count and specificity: of captions, else 1 and 0."""

PAGE_ROLES = ("heading", "context", "keyword", "comment")
"""What is read of `texts` beside the captions that `tokenized` brings."""

PLACES = pa.schema([("image", pa.int64()), ("image_url", pa.string()), ("page_url", pa.string())])
"""Where an image stands: one row per (image, image_url, page_url)."""

_JOINT = " , "


@dataclass(frozen=True)
class Evidence:
    """The texts of some images, sorted by image, and how far each can be trusted.

    texts: `TEXTS` without keywords and comments, plus one row of role `keyword` per image that has
    any and the words of each file's name as role `url`; langs: object [n]; words: of texts; weight:
    float64 [n] in [0, 1]. keywords, comments and folders (of addresses): `TEXTS` of those roles.
    places: `PLACES`. seen: what the champion sees, one row per image (`champion.SEEN`), or None.
    """

    images: int
    texts: pa.Table
    langs: NDArray[np.object_]
    words: Words
    weight: NDArray[np.float64]
    keywords: pa.Table
    keyword_weight: NDArray[np.float64]
    comments: pa.Table
    folders: pa.Table
    places: pa.Table
    seen: pa.Table | None = None

    @property
    def image(self) -> NDArray[np.int64]:
        return self.texts["image"].to_numpy()

    @property
    def role(self) -> NDArray[np.object_]:
        return np.array(self.texts["role"].to_pylist(), object)


def caption_texts(tokenized: pa.Table, sha256: pa.Array) -> pa.Table:
    """Rows of `tokenized` as `TEXTS`; images are numbered by their place in `sha256`."""
    image = pc.index_in(tokenized["sha256"], sha256)
    columns = [image, *(tokenized[n] for n in ("role", "text", "lang", "count", "specificity"))]
    table = pa.table([*columns, pa.nulls(len(image), pa.string())], names=TEXTS.names)
    return table.cast(TEXTS)


def page_texts(texts: pa.Table, members: pa.Table) -> pa.Table:
    """Rows of `texts` about cluster members as `TEXTS`, each text of an image once per role.

    members: columns `sha256` and `image`, the number of the kept image of its cluster.
    """
    wanted = pc.and_(texts["kept"], pc.is_in(texts["role"], pa.array(PAGE_ROLES)))
    known = members["sha256"].combine_chunks()
    texts = texts.filter(pc.and_(wanted, pc.is_in(texts["sha256"], known))).combine_chunks()
    number = texts.num_rows
    columns = [
        members["image"].take(pc.index_in(texts["sha256"], known)),
        *(texts[n] for n in ("role", "text", "lang")),
        pa.array(np.ones(number, np.int64)),
        pa.array(np.zeros(number)),
        texts["page_url"],
    ]
    table = pa.table(columns, names=TEXTS.names).cast(TEXTS)
    keys = ["image", "role", "text"]
    rest = [name for name in TEXTS.names if name not in keys]
    once = table.group_by(keys, use_threads=False).aggregate(
        [(n, "first", pc.ScalarAggregateOptions(skip_nulls=False)) for n in rest]
    )
    names = [name.removesuffix("_first") for name in once.column_names]
    return once.rename_columns(names).select(TEXTS.names).cast(TEXTS)


def page_places(texts: pa.Table, members: pa.Table) -> pa.Table:
    """The `PLACES` of cluster members, from rows of `texts`, whatever became of the texts."""
    at = pc.index_in(texts["sha256"], members["sha256"].combine_chunks())
    known = texts.filter(at.is_valid())
    image = members["image"].take(at.drop_null().combine_chunks())
    found = pa.table([image, known["image_url"], known["page_url"]], schema=PLACES)
    return distinct_places(found)


def distinct_places(places: pa.Table) -> pa.Table:
    """Each of `PLACES` once, in order."""
    once = places.group_by(PLACES.names, use_threads=False).aggregate([])
    return once.sort_by([(name, "ascending") for name in PLACES.names]).cast(PLACES)


def gather(
    captions: pa.Table,
    pages: pa.Table,
    images: int,
    places: pa.Table | None = None,
    page_language: bool = True,
) -> Evidence:
    """The evidence about `images` images from `caption_texts` and `page_texts`.

    places: `PLACES`, none by default. page_language: whether a text too short to tell its language
    is read in that of the other texts about the image.
    """
    places = PLACES.empty_table() if places is None else places
    addresses = _address_rows(places)
    pages = pa.concat_tables([pages, addresses])
    role = pages["role"]
    keywords = _sorted(pages.filter(pc.equal(role, "keyword")))
    comments = _sorted(pages.filter(pc.equal(role, "comment")))
    nearby = pages.filter(pc.is_in(role, pa.array(["heading", "context", URL_ROLE])))
    texts = _sorted(pa.concat_tables([captions, nearby, _joined(keywords)]))
    langs = detect_languages(texts["text"].combine_chunks(), texts["lang"].combine_chunks())
    if page_language:
        langs = _with_page_language(texts, langs)
    words = classify(texts["text"].combine_chunks(), langs)
    prior = role_priors(texts["role"].combine_chunks()) / _sharing(texts)
    strict = pc.is_in(texts["role"].combine_chunks(), pa.array(STRICT_ROLES))
    agreed = agreement(
        texts["image"].to_numpy(), words, prior, strict.to_numpy(zero_copy_only=False)
    )
    return Evidence(
        images=images,
        texts=texts,
        langs=langs,
        words=words,
        weight=text_confidence(prior, agreed),
        keywords=keywords,
        keyword_weight=role_priors(keywords["role"].combine_chunks()) / _sharing(keywords),
        comments=comments,
        folders=_sorted(pages.filter(pc.equal(role, FOLDER_ROLE))),
        places=places,
    )


def _with_page_language(texts: pa.Table, langs: NDArray[np.object_]) -> NDArray[np.object_]:
    """The commonest language of an image's texts for those that neither say nor show theirs."""
    image = texts["image"].to_numpy()
    mute = texts["lang"].is_null().to_numpy() & (langs == "")
    number = [np.bincount(image, weights=langs == lang, minlength=1)[image] for lang in LANGUAGES]
    counts = np.stack(number)
    clear = counts.max(axis=0) > np.sort(counts, axis=0)[-2]
    usual = np.array(LANGUAGES, object)[counts.argmax(axis=0)]
    return np.where(mute & clear, usual, langs).astype(object)


def _address_rows(places: pa.Table) -> pa.Table:
    """`TEXTS` of roles `url` and `folder`."""
    words = address_texts(places)
    number = words.num_rows
    columns = [
        words["image"],
        words["role"],
        words["text"],
        pa.nulls(number, pa.string()),
        pa.array(np.ones(number, np.int64)),
        pa.array(np.zeros(number)),
        words["page_url"],
    ]
    return pa.table(columns, schema=TEXTS)


def _sorted(table: pa.Table) -> pa.Table:
    keys = [(name, "ascending") for name in ("image", "role", "text", "lang")]
    return table.sort_by(keys).combine_chunks()


def _joined(keywords: pa.Table) -> pa.Table:
    """All keywords of an image as one text."""
    if keywords.num_rows == 0:
        return TEXTS.empty_table()
    lists = keywords.group_by("image", use_threads=False).aggregate(
        [("text", "list"), ("lang", "first"), ("page_url", "first")]
    )
    number = lists.num_rows
    return pa.table(
        [
            lists["image"],
            pa.array(["keyword"] * number),
            pc.binary_join(lists["text_list"], _JOINT),
            lists["lang_first"],
            pa.array(np.ones(number, np.int64)),
            pa.array(np.zeros(number)),
            lists["page_url_first"],
        ],
        schema=TEXTS,
    )


def _sharing(table: pa.Table) -> NDArray[np.float64]:
    """How many images share each text that stands once on its page: float64 [n], 1 for captions.

    A heading or a keyword of a gallery says little of any one picture.
    """
    if table.num_rows == 0:
        return np.ones(0)
    page = pc.fill_null(table["page_url"], "")
    parts = [pc.cast(page, pa.string()), table["role"], table["text"]]
    keyed = pc.dictionary_encode(pc.binary_join_element_wise(*parts, "\n")).combine_chunks()
    code = keyed.indices.to_numpy(zero_copy_only=False)
    number = np.bincount(code)[code].astype(np.float64)
    return np.where(np.array(page.to_pylist(), object) == "", 1.0, number)
