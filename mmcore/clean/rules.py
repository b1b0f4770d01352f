"""Rules turn attributes into reasons, with Arrow compute only: no image is decoded, no text is read
again, so a threshold can be changed at any time."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from mmcore.clean.sites import FLOOR

CAPTION_ROLES = ("alt", "caption", "title")

Masks = list[tuple[str, pa.Array]]
"""(reason, where it holds), most important first."""


class ImageRules(BaseModel):
    """Thresholds on image attributes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_bytes: int = Field(
        default=512, ge=0, description="Smallest image file; web photographs start near 5000."
    )
    min_side: int = Field(
        default=64,
        ge=1,
        description="Smallest shorter side in pixels: 64 leaves icons out, 200 suits photographs.",
    )
    max_aspect: float = Field(
        default=3.0,
        ge=1,
        description="Longest longer side, as a multiple of the shorter: drops banners.",
    )
    min_deviation: float = Field(
        default=2.0,
        ge=0,
        description="An image none of whose channels varies by this much (standard deviation, "
        "0 to 127) is blank.",
    )
    max_urls: int = Field(
        default=20,
        ge=8,
        description="Most URLs of a day that may give the very same file: beyond, it is a "
        "placeholder.",
    )
    max_text_likeness: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Largest share of an image that looks like rendered text: 0.35 leaves "
        "screenshots and scanned pages out.",
    )
    max_unsafe: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Largest score of nudity; decides only where clean.safety is set.",
    )


class TextRules(BaseModel):
    """Thresholds on text attributes. Captions are not documents: none of these asks for prose.

    CC12M is Changpinyo et al., CVPR 2021; CC3M Sharma et al., ACL 2018; LAION-400M Schuhmann et al.
    2021; COYO-700M Byeon et al. 2022. Where they are stricter than what suits a small domain, their
    value is in the description.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_text_bytes: int = Field(
        default=3,
        ge=1,
        description="Shortest alt text, title or caption in UTF-8 bytes: three Latin letters or "
        "one Chinese character (LAION: 5 characters).",
    )
    min_caption_words: int = Field(
        default=1,
        ge=1,
        description="Fewest words of an alt text, title or caption (CC12M, COYO: 3); counts "
        "languages that write blanks.",
    )
    max_caption_chars: int = Field(
        default=1000,
        ge=1,
        description="Longest alt text, title or caption in characters (COYO: 1000).",
    )
    max_caption_words: int = Field(
        default=256,
        ge=1,
        description="Longest alt text, title or caption in words (CC12M, COYO: 256).",
    )
    max_context_chars: int = Field(
        default=5000, ge=1, description="Longest text of any other role in characters."
    )
    max_repetition: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Largest share of word triples that repeat an earlier one (from 8 words).",
    )
    max_word_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Largest share that one word of 4 or more letters may have among such words "
        "(from 6 of them): keyword stuffing.",
    )
    max_word_repetition: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Largest share of words seen before in the text (CC12M: 0.2; that also drops "
        "`a red circle and a blue square`).",
    )
    max_run: int = Field(
        default=10, ge=1, description="Longest run of one character, as in `!!!!!!!!!!!!`."
    )
    min_letter_share: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Smallest share of letters among the visible characters.",
    )
    max_digit_share: float = Field(
        default=0.7, ge=0, le=1, description="Largest share of digits among them."
    )
    max_capital_share: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Largest share of capitals among the letters of an alt text, title or caption.",
    )
    max_site_images: int = Field(
        default=20,
        ge=FLOOR,
        description="An alt text, title or caption under more images of one site than this …",
    )
    max_site_share: float = Field(
        default=0.04,
        ge=0,
        le=1,
        description="… and under a larger share of the site's images describes none of them.",
    )


def image_reasons(measured: pa.Table, rules: ImageRules) -> pa.Array:
    """A reason for every MEASURED row with `urls`; `ok` where nothing speaks against it."""
    outcome = _flat(measured["outcome"])
    shorter = pc.min_element_wise(_flat(measured["width"]), _flat(measured["height"]))
    masks: Masks = [
        ("too_few_bytes", pc.less(_flat(measured["bytes"]), rules.min_bytes)),
        ("too_small", pc.less(shorter, rules.min_side)),
        ("bad_aspect", pc.greater(_flat(measured["aspect"]), pa.scalar(rules.max_aspect))),
        ("blank", pc.less(_flat(measured["deviation"]), pa.scalar(rules.min_deviation))),
        ("placeholder", pc.greater(_flat(measured["urls"]), rules.max_urls)),
        ("unsafe", pc.greater(_flat(measured["unsafe"]), pa.scalar(rules.max_unsafe))),
        ("text", pc.greater(_flat(measured["text_likeness"]), pa.scalar(rules.max_text_likeness))),
    ]
    decoded = pc.equal(outcome, "ok")
    return pc.if_else(decoded, first_reason(masks, measured.num_rows), outcome)


def text_reasons(texts: pa.Table, rules: TextRules) -> pa.Array:
    """A reason for every row with the text attributes of MEASURED_TEXTS; `ok` where nothing speaks
    against it."""
    role = _flat(texts["role"])
    caption = pc.is_in(role, value_set=pa.array(CAPTION_ROLES))
    chars, words = _flat(texts["chars"]), _flat(texts["words"])
    few_words = pc.less(words, rules.min_caption_words)
    short = pc.or_(pc.less(_flat(texts["bytes"]), rules.min_text_bytes), few_words)
    long_context = pc.greater(chars, rules.max_context_chars)
    site = pc.and_(
        pc.greater(_flat(texts["site_images"]), rules.max_site_images),
        _above(texts["site_share"], rules.max_site_share),
    )
    masks: Masks = [
        ("empty", pc.equal(chars, 0)),
        ("file_name", _flat(texts["file_name"])),
        # A keyword "gallery" says what its page is about; an alt text "image" says nothing.
        ("boilerplate", pc.and_(_flat(texts["boilerplate"]), caption)),
        ("site_boilerplate", pc.and_(site, caption)),
        # A comment may be a smiley or "+1", and says something all the same.
        ("not_text", pc.and_not(_not_text(texts, caption, rules), pc.equal(role, "comment"))),
        ("too_short", pc.and_(caption, short)),
        ("too_long", pc.if_else(caption, _long_caption(chars, words, rules), long_context)),
        ("repetitive", _repetitive(texts, caption, rules)),
    ]
    return first_reason(masks, texts.num_rows)


def _not_text(texts: pa.Table, caption: pa.Array, rules: TextRules) -> pa.Array:
    few_letters = pc.less(_flat(texts["letter_share"]), _float(rules.min_letter_share))
    figures = _above(texts["digit_share"], rules.max_digit_share)
    shouted = pc.and_(_above(texts["capital_share"], rules.max_capital_share), caption)
    return pc.or_(pc.or_(few_letters, figures), shouted)


def _repetitive(texts: pa.Table, caption: pa.Array, rules: TextRules) -> pa.Array:
    triples = _above(texts["repetition"], rules.max_repetition)
    stuffed = _above(texts["word_share"], rules.max_word_share)
    again = pc.and_(_above(texts["word_repetition"], rules.max_word_repetition), caption)
    run = pc.greater(_flat(texts["longest_run"]), rules.max_run)
    return pc.or_(pc.or_(triples, stuffed), pc.or_(again, run))


def _long_caption(chars: pa.Array, words: pa.Array, rules: TextRules) -> pa.Array:
    return pc.or_(
        pc.greater(chars, rules.max_caption_chars), pc.greater(words, rules.max_caption_words)
    )


def _above(column: pa.ChunkedArray | pa.Array, threshold: float) -> pa.Array:
    return pc.greater(_flat(column), _float(threshold))


def _float(threshold: float) -> pa.Scalar:
    """A threshold as precise as the attribute: a share of exactly 0.7 is not above 0.7."""
    return pa.scalar(threshold, pa.float32())


def first_reason(masks: Masks, rows: int) -> pa.Array:
    """The first reason whose mask is true on a row, else `ok`; a null attribute decides nothing."""
    if rows == 0:
        return pa.array([], pa.string())
    conditions = pc.make_struct(
        *(pc.fill_null(mask, False) for _, mask in masks), field_names=[r for r, _ in masks]
    )
    return pc.case_when(conditions, *(pa.scalar(reason) for reason, _ in masks), pa.scalar("ok"))


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
