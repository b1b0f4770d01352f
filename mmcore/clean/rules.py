"""Rules turn attributes into reasons, with Arrow compute only: no image is decoded, no text is read
again, so a threshold can be changed at any time."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

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
    """Thresholds on text attributes. Captions are not documents: none of these asks for prose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_text_bytes: int = Field(
        default=3,
        ge=1,
        description="Shortest alt text, title or caption in UTF-8 bytes: three Latin letters or "
        "one Chinese character.",
    )
    max_caption_chars: int = Field(
        default=1000, ge=1, description="Longest alt text, title or caption in characters."
    )
    max_caption_words: int = Field(
        default=256, ge=1, description="Longest alt text, title or caption in words."
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
    min_letter_share: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Smallest share of letters among the visible characters.",
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
    """A reason for every row with the text attributes of `text.measure` and a `role`."""
    caption = pc.is_in(_flat(texts["role"]), value_set=pa.array(CAPTION_ROLES))
    chars, words = _flat(texts["chars"]), _flat(texts["words"])
    long_caption = pc.or_(
        pc.greater(chars, rules.max_caption_chars), pc.greater(words, rules.max_caption_words)
    )
    long_context = pc.greater(chars, rules.max_context_chars)
    repetitive = pc.or_(
        pc.greater(_flat(texts["repetition"]), pa.scalar(rules.max_repetition)),
        pc.greater(_flat(texts["word_share"]), pa.scalar(rules.max_word_share)),
    )
    few_letters = pc.less(_flat(texts["letter_share"]), pa.scalar(rules.min_letter_share))
    masks: Masks = [
        ("empty", pc.equal(chars, 0)),
        ("file_name", _flat(texts["file_name"])),
        # A keyword "gallery" says what its page is about; an alt text "image" says nothing.
        ("boilerplate", pc.and_(_flat(texts["boilerplate"]), caption)),
        # A comment may be a smiley or "+1", and says something all the same.
        ("not_text", pc.and_not(few_letters, pc.equal(_flat(texts["role"]), "comment"))),
        ("too_short", pc.and_(caption, pc.less(_flat(texts["bytes"]), rules.min_text_bytes))),
        ("too_long", pc.if_else(caption, long_caption, long_context)),
        ("repetitive", repetitive),
    ]
    return first_reason(masks, texts.num_rows)


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
