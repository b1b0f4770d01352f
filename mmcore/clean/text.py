"""Texts repaired and measured, a whole column at a time.

Only rows that show a sign of damage reach Python: ftfy sees non-ASCII texts, the entity decoder
those with an ampersand. Everything else is Arrow compute (RE2).
"""

from __future__ import annotations

import html
from collections.abc import Callable

import ftfy
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# Only names of HTML elements: "x <y and z> w", `List<String>` and `<EMAIL>` stay as they are.
_TAG = (
    r"(?is)<!--.*?-->|<(?:script|style)\b.*?</(?:script|style)\s*>|</?(?:a|abbr|article|aside|audio"
    r"|b|big|blockquote|body|br|button|canvas|caption|center|cite|code|dd|del|details|div|dl|dt|em"
    r"|embed|fieldset|figcaption|figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img"
    r"|input|ins|label|legend|li|link|main|map|mark|meta|nav|noscript|object|ol|option|p|param"
    r"|path|picture|pre|q|s|script|section|select|small|source|span|strike|strong|style|sub|sup"
    r"|svg|table|tbody|td|textarea|tfoot|th|thead|time|title|tr|tt|u|ul|var|video|wbr)"
    r"(?:\s[^<>]*)?/?>"
)
_ENTITY = r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});"
# Zero-width space, soft hyphen, byte-order mark, direction marks; joiners stay: scripts need them.
_INVISIBLE = "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]+"
_SPACE = r"[\s\pZ\x00-\x1f\x7f-\x9f]+"
_PLACEHOLDER = r"<[A-Z]{2,8}>"

_BOILERPLATE_WORDS = (
    # What authors and tools write where a description should stand; optional number after it.
    # Words that may name what a drawing shows (arrow, house, play, cover) are left out.
    "image|images|img|photo|photos|photograph|picture|pictures|pic|pics|figure|fig|graphic"
    "|graphics|screenshot|thumbnail|thumb|icon|icons|logo|banner|avatar|placeholder|spacer|blank"
    "|pixel|divider|default|untitled|unknown|unnamed|no ?name|none|null|undefined|nan|n/?a|todo"
    "|tbd|alt|alt text|alt tag|image alt|your alt text|caption|title|description|loading"
    "|image description|no description|no caption|no image|no photo|no alt text|image not found"
    "|not available|image unavailable|coming soon|loading image|lazy|lazyload|click here"
    "|click to enlarge|click to zoom|click image to enlarge|click for larger image|click to view"
    "|enlarge|enlarge image|zoom|zoom in|view|view image|view larger|view larger image|open image"
    "|show image|full size|full size image|larger image|see more|read more|learn more|more info"
    "|featured image|post image|product image|product photo|profile picture|profile photo"
    "|profile image|user avatar|stock photo|uploaded image|attachment|image may contain|more"
    "|advertisement|sponsored|an image|a photo|a picture|the image|this image"
    # German, French, Spanish, Italian, Portuguese, Dutch
    "|bild|bilder|foto|fotos|abbildung|abb|grafik|symbolbild|vorschau|vorschaubild|platzhalter"
    "|ohne titel|unbenannt|kein bild|bild vergrößern|vergrößern|zum vergrößern klicken"
    "|hier klicken|beitragsbild|produktbild|titelbild|sans titre|agrandir|cliquez ici"
    "|en savoir plus|logotipo|imagen|imágenes|fotografía|sin título|ampliar|haga clic aquí"
    "|immagine|immagini|senza titolo|ingrandisci|imagem|imagens|sem título|afbeelding|plaatje"
    "|vergroten"
)
_BOILERPLATE = (
    rf"(?i)^\W*(?:{_BOILERPLATE_WORDS})(?:[\s_#:.(-]*(?:\d{{1,6}}|[a-z]))?"
    r"(?:\s*(?:of|/|von|de|di)\s*\d{1,4})?\W*$"
)
_FILE_NAME = (
    # a name with an image's extension; a camera's counter; a hash; a size; a slug; an address
    r"(?i)^(?:[^\s<>:|?*]+ ){0,4}[^\s<>:|?*]*[^\s<>:|?*.]\.(?:jpe?g|jpe|jfif|png|gif|webp|avif|bmp"
    r"|tiff?|svgz?|ico|heic|heif|psd|eps|raw|cr2|nef|arw|dng)(?:[?#]\S*)?$"
    r"|^(?:img|dsc|dscn|dscf|pict|imag|mvi|pxl|gopr|dji|wp|cimg|hpim|scan|screen[ _-]?shot"
    r"|bildschirmfoto)[ _-]*[0-9][0-9 _().-]*[a-z]?[0-9]*$"
    r"|^[0-9a-f]{12,}$|^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
    r"|^\d{2,5}\s?x\s?\d{2,5}(?:\s?px)?$"
    r"|^[a-z0-9]+(?:[_-]+[a-z0-9]+)+[_-]+\d{2,}(?:[_-]+[a-z0-9]+)*$"
    r"|^[a-z0-9]+(?:_+[a-z0-9]+){2,}$"
    r"|^(?:https?://|www\.)\S+$"
)


def repair(texts: pa.Array) -> pa.Array:
    """Texts with broken encodings mended, HTML remains removed and whitespace folded to one space.

    The result is NFC. Nulls stay null.
    """
    texts = on_rows(texts, pc.match_substring_regex(texts, _ENTITY), _unescape)
    texts = pc.replace_substring_regex(texts, _TAG, " ")
    texts = on_rows(texts, pc.invert(pc.string_is_ascii(texts)), ftfy.fix_text)
    texts = pc.replace_substring_regex(texts, _INVISIBLE, "")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, _SPACE, " "))


def measure(texts: pa.Array) -> pa.Table:
    """Attributes of repaired texts without nulls, one row each.

    `chars, bytes, words` (int32); of the visible characters `letter_share, digit_share`, of the
    letters `capital_share`; `repetition, word_share, word_repetition` as `_repetition` says
    (float32); `longest_run` (int32, of one character); `file_name, boilerplate` (bool).
    """
    visible = pc.replace_substring_regex(without_placeholders(texts), r"[\s\pZ]+", "")
    letters = pc.count_substring_regex(visible, r"[\pL\pM]")
    digits = pc.count_substring_regex(visible, r"\p{Nd}")
    capitals = pc.count_substring_regex(visible, r"\p{Lu}")
    repetition, word_share, word_repetition = _repetition(texts)
    return pa.table(
        {
            "chars": pc.utf8_length(texts),
            "bytes": pc.binary_length(texts),
            "words": pc.count_substring_regex(texts, r"\S+"),
            "letter_share": _share(letters, pc.utf8_length(visible)),
            "digit_share": _share(digits, pc.utf8_length(visible)),
            "capital_share": _share(capitals, letters),
            "repetition": pa.array(repetition),
            "word_share": pa.array(word_share),
            "word_repetition": pa.array(word_repetition),
            "longest_run": pa.array(_longest_run(texts)),
            "file_name": pc.match_substring_regex(texts, _FILE_NAME),
            "boilerplate": pc.match_substring_regex(texts, _BOILERPLATE),
        }
    )


def without_placeholders(texts: pa.Array) -> pa.Array:
    """Texts without `<EMAIL>` and its like, which are no words of any language."""
    return pc.replace_substring_regex(texts, _PLACEHOLDER, "")


def _unescape(text: str) -> str:
    """Twice, because content systems escape what is escaped already."""
    return html.unescape(html.unescape(text))


def on_rows(texts: pa.Array, mask: pa.Array, function: Callable[[str], str]) -> pa.Array:
    """Apply a Python function to the rows where `mask` holds."""
    mask = pc.fill_null(mask, False)
    if not pc.any(mask).as_py():
        return texts
    mended = [function(text) for text in texts.filter(mask).to_pylist()]
    return pc.replace_with_mask(texts, mask, pa.array(mended, texts.type))


def _share(some: pa.Array, of: pa.Array) -> pa.Array:
    whole = pc.max_element_wise(of, pa.scalar(1, pa.int32()))
    return pc.divide(pc.cast(some, pa.float32()), pc.cast(whole, pa.float32()))


def _repetition(texts: pa.Array) -> tuple[npt.NDArray[np.float32], ...]:
    """Per text: the share of word triples seen before in it (0 under 8 words), the share of the
    commonest word of 4 or more letters among such words (0 under 6 of them), and the share of words
    seen before in it."""
    n = len(texts)
    words = pc.split_pattern_regex(pc.utf8_lower(texts), r"[^\pL\pM\pN]+")
    row = pc.list_parent_indices(words).to_numpy().astype(np.int64)
    flat = pc.list_flatten(words)
    length = pc.utf8_length(flat).to_numpy()
    codes = flat.dictionary_encode().indices.to_numpy().astype(np.int64)
    row, codes, length = (a[length > 0] for a in (row, codes, length))
    commonest = _commonest(row[length >= 4], codes[length >= 4], n)
    return _triples(row, codes, n), commonest, _again(row, codes, n)


def _longest_run(texts: pa.Array) -> npt.NDArray[np.int32]:
    """The length of the longest run of one character in each text."""
    n = len(texts)
    characters = np.frombuffer("".join(texts.to_pylist()).encode("utf-32-le"), np.uint32)
    owner = np.repeat(np.arange(n), pc.utf8_length(texts).to_numpy())
    longest = np.zeros(n, np.int32)
    if len(characters) == 0:
        return longest
    new = np.ones(len(characters), bool)
    new[1:] = (characters[1:] != characters[:-1]) | (owner[1:] != owner[:-1])
    start = np.flatnonzero(new)
    owners = owner[start]  # every text that has characters, in order
    first = np.flatnonzero(np.diff(owners, prepend=-1))
    runs = np.diff(np.append(start, len(characters))).astype(np.int32)
    longest[owners[first]] = np.maximum.reduceat(runs, first)
    return longest


def _again(
    row: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], n: int
) -> npt.NDArray[np.float32]:
    total = np.bincount(row, minlength=n)
    distinct = np.zeros(n, np.int64)
    if len(row):
        width = int(codes.max()) + 1
        keys = np.sort(row * width + codes)
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        distinct = np.bincount(keys[first] // width, minlength=n)
    return (1 - distinct / np.maximum(total, 1)).astype(np.float32) * (total > 0)


def _triples(
    row: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], n: int
) -> npt.NDArray[np.float32]:
    long = np.bincount(row, minlength=n)[row] >= 8
    row, codes = row[long], codes[long]
    if len(row) < 3:
        return np.zeros(n, np.float32)
    same = row[:-2] == row[2:]
    keys = np.stack([row[:-2], codes[:-2], codes[1:-1], codes[2:]])[:, same]  # [4, T]
    order = np.lexsort(keys[::-1])
    ordered = keys[:, order]
    repeated = (ordered[:, 1:] == ordered[:, :-1]).all(axis=0)
    total = np.bincount(keys[0], minlength=n)
    again = np.bincount(ordered[0, 1:][repeated], minlength=n)
    return (again / np.maximum(total, 1)).astype(np.float32)


def _commonest(
    row: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], n: int
) -> npt.NDArray[np.float32]:
    total = np.bincount(row, minlength=n)
    top = np.zeros(n, np.int64)
    if len(row):
        width = int(codes.max()) + 1
        keys = np.sort(row * width + codes)
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        counts = np.diff(np.append(first, len(keys)))
        owners = keys[first] // width
        start = np.flatnonzero(np.diff(owners, prepend=-1))
        top[owners[start]] = np.maximum.reduceat(counts, start)
    return np.where(total >= 6, top / np.maximum(total, 1), 0).astype(np.float32)
