"""Texts repaired and measured, a whole column at a time.

Only rows that show a sign of damage reach Python: ftfy sees non-ASCII texts, the entity decoder
those with an ampersand. Everything else is Arrow compute (RE2).
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable

import ftfy
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.clean.characters import (
    CAPITAL,
    DIGIT,
    MARK,
    NUMBER,
    OTHER,
    SMALL,
    Characters,
    Hashes,
    Ints,
    Words,
)

_VISIBLE = (OTHER, SMALL, CAPITAL, MARK, DIGIT, NUMBER)
# Batches fit a processor's cache; at most 2^16 texts.
_TEXTS_PER_BATCH = 4096
_BYTES_PER_BATCH = 400_000

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


# A text of the batch and a hash in one number, so that sorting numbers groups both: 16 bits and 48.
_TEXT_BITS = np.uint64(48)
_LOW = (np.uint64(1) << _TEXT_BITS) - np.uint64(1)
_ODD = np.uint64(0xD6E8FEB86659FD93)


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
    """Attributes of repaired texts without nulls, one row each. Placeholders count as characters
    (`chars`, `bytes`) and as nothing else.

    `chars, bytes, words` (int32; a word has a letter or digit and is parted by blanks); of the
    visible characters `letter_share, digit_share`, of the letters `capital_share` (float32);
    `repetition`, the share of word triples seen before in the text (0 under 8 words), `word_share`,
    the share of the commonest word of 4 or more letters among such words (0 under 6 of them), and
    `word_repetition`, the share of words seen before (float32); `longest_run` (int32, of one
    character); `file_name, boilerplate` (bool).
    """
    ends = np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False), dtype=np.int64)
    batch = np.maximum(ends // _BYTES_PER_BATCH, np.arange(len(ends)) // _TEXTS_PER_BATCH)
    cuts = [0, *np.flatnonzero(np.diff(batch)) + 1, len(texts)]
    parts = [_measure_some(texts.slice(a, b - a)) for a, b in itertools.pairwise(cuts)]
    return pa.concat_tables(parts).combine_chunks()


def _measure_some(texts: pa.Array) -> pa.Table:
    characters = Characters(without_placeholders(texts))
    letters, visible = characters.count(SMALL, CAPITAL, MARK), characters.count(*_VISIBLE)
    words = characters.words()
    word_share, word_repetition = _repeated_words(words, len(texts))
    return pa.table(
        {
            "chars": pc.utf8_length(texts),
            "bytes": pc.binary_length(texts),
            "words": pa.array(
                np.bincount(words.text[words.parted], minlength=len(texts)), pa.int32()
            ),
            "letter_share": _share(letters, visible),
            "digit_share": _share(characters.count(DIGIT), visible),
            "capital_share": _share(characters.count(CAPITAL), letters),
            "repetition": _repeated_triples(words, len(texts)),
            "word_share": word_share,
            "word_repetition": word_repetition,
            "longest_run": pa.array(characters.longest_run(), pa.int32()),
            "file_name": pc.match_substring_regex(texts, _FILE_NAME),
            "boilerplate": pc.match_substring_regex(texts, _BOILERPLATE),
        }
    )


def without_placeholders(texts: pa.Array) -> pa.Array:
    """Texts without `<EMAIL>` and its like, which are no words of any language."""
    return pc.replace_substring_regex(texts, _PLACEHOLDER, "") if _marked(texts) else texts


def _marked(texts: pa.Array) -> bool:
    return bool(pc.any(pc.match_substring(texts, "<")).as_py())


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


def _share(some: Ints, of: Ints) -> pa.Array:
    return pa.array((some / np.maximum(of, 1)).astype(np.float32))


def _runs(text: Ints, hashes: Hashes) -> tuple[Ints, Ints, Hashes]:
    """(text, how often, the lower 48 bits of the hash) of every different hash of every text."""
    keys = (text.astype(np.uint64) << _TEXT_BITS) | (hashes & _LOW)
    keys = np.sort(keys)
    start = np.flatnonzero(np.diff(keys, prepend=~keys[:1]))
    count = np.diff(np.append(start, len(keys)))
    return (keys[start] >> _TEXT_BITS).astype(np.int64), count, keys[start] & _LOW


def _repeated_triples(words: Words, n: int) -> pa.Array:
    enough = np.bincount(words.text, minlength=n)[words.text] >= 8
    text, word = words.text[enough], words.hash[enough]
    whole = text[:-2] == text[2:]
    triples = word[:-2] * _ODD + word[1:-1]
    triples = ((triples * _ODD + word[2:]) >> np.uint64(16))[whole]
    text = text[:-2][whole]
    different = np.bincount(_runs(text, triples)[0], minlength=n)
    total = np.bincount(text, minlength=n)
    return _share(total - different, total)


def _repeated_words(words: Words, n: int) -> tuple[pa.Array, pa.Array]:
    """`word_share` and `word_repetition`; the lowest bit of a hash tells long words from short."""
    long = (words.length >= 4).astype(np.uint64)
    text, count, low = _runs(words.text, (words.hash >> np.uint64(16)) << np.uint64(1) | long)
    total = np.bincount(words.text, minlength=n)
    again = _share(total - np.bincount(text, minlength=n), total)
    text, count = text[low & np.uint64(1) == 1], count[low & np.uint64(1) == 1]
    total_long = np.bincount(text, count, minlength=n).astype(np.int64)
    top = np.zeros(n, np.int64)
    if len(text):
        start = np.flatnonzero(np.diff(text, prepend=-1))
        top[text[start]] = np.maximum.reduceat(count, start)
    return _share(np.where(total_long >= 6, top, 0), total_long), again
