"""A picture for people: samples of the val split with what the model says of them."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_SCALE = 2  # pixels of a point: sharp on today's screens
_COLUMNS = 2
_WIDTH, _HEIGHT, _GAP = 500, 176, 12  # points of a card
_SIDE = 152  # of the square that a picture is fitted into
_TITLE = 30
_INK, _GREY, _GOOD, _BAD = "#1a202c", "#718096", "#2f855a", "#c53030"
_PAPER, _CARD, _FRAME, _CHIP, _GOOD_CHIP = "#edf2f7", "#ffffff", "#e2e8f0", "#edf2f7", "#c6f6d5"
_COLOURS = 256  # a palette makes the file a third as large


@dataclass(frozen=True)
class Said:
    """What the model says and how sure it is (0..1), and what is true; "" where nothing is."""

    text: str
    truth: str
    probability: float = 0.0


@dataclass(frozen=True)
class Card:
    """One picture, encoded, and what is said of it; tags are (name, probability, is it true)."""

    picture: bytes
    caption: Said
    question: str
    answer: Said
    tags: tuple[tuple[str, float, bool], ...]
    sentiment: Said


def draw_sheet(title: str, cards: Sequence[Card]) -> bytes:
    """The cards in two columns below a title: PNG, the same bytes for the same input.

    Letters that DejaVu Sans lacks (Chinese, Japanese, Korean) appear as boxes, and Arabic ones are
    not joined.
    """
    rows = max(1, -(-len(cards) // _COLUMNS))
    width = _COLUMNS * _WIDTH + (_COLUMNS + 1) * _GAP
    height = _TITLE + rows * (_HEIGHT + _GAP) + _GAP
    sheet = Image.new("RGB", (width * _SCALE, height * _SCALE), _PAPER)
    pen = _Pen(sheet)
    pen.text((_GAP, _GAP), title, 13, _INK, bold=True)
    for number, card in enumerate(cards):
        row, column = divmod(number, _COLUMNS)
        x = _GAP + column * (_WIDTH + _GAP)
        _draw_card(pen, card, x, _TITLE + _GAP + row * (_HEIGHT + _GAP))
    sink = io.BytesIO()
    sheet.quantize(_COLOURS).save(sink, "PNG")
    return sink.getvalue()


class _Pen:
    """Draws in points on a picture that has `_SCALE` pixels for each."""

    def __init__(self, sheet: Image.Image) -> None:
        self.sheet = sheet
        self._draw = ImageDraw.Draw(sheet)

    def text(
        self, place: tuple[float, float], text: str, size: int, colour: str, bold: bool = False
    ) -> float:
        """Write one line; returns its width."""
        x, y = place
        self._draw.text((x * _SCALE, y * _SCALE), text, fill=colour, font=_font(size, bold))
        return self.width(text, size, bold)

    def box(self, x: float, y: float, width: float, height: float, fill: str, line: str) -> None:
        """A rectangle with round corners."""
        corners = (x * _SCALE, y * _SCALE, (x + width) * _SCALE, (y + height) * _SCALE)
        self._draw.rounded_rectangle(corners, 5 * _SCALE, fill, line, _SCALE)

    def picture(self, x: float, y: float, encoded: bytes) -> None:
        """A picture in the middle of a square of `_SIDE` points, as large as it fits."""
        side = _SIDE * _SCALE
        with Image.open(io.BytesIO(encoded)) as opened:
            image = opened.convert("RGB")
        factor = side / max(image.size)
        size = tuple(max(1, round(length * factor)) for length in image.size)
        image = image.resize((size[0], size[1]), Image.Resampling.LANCZOS)
        left = round(x * _SCALE) + (side - size[0]) // 2
        self.sheet.paste(image, (left, round(y * _SCALE) + (side - size[1]) // 2))

    def width(self, text: str, size: int, bold: bool = False) -> float:
        return _font(size, bold).getlength(text) / _SCALE

    def wrap(self, text: str, size: int, width: float, most: int, bold: bool = False) -> list[str]:
        """At most `most` lines that fit the width; the last one ends in … where text is left."""
        lines, words = [""], text.split()
        while words:
            longer = f"{lines[-1]} {words[0]}".strip()
            if self.width(longer, size, bold) <= width:
                lines[-1] = longer
                words.pop(0)
            elif len(lines) < most and lines[-1]:
                lines.append("")
            else:
                lines[-1] = self.cut(longer, size, width, bold)
                break
        return lines

    def cut(self, text: str, size: int, width: float, bold: bool = False) -> str:
        """The text if it fits, else its beginning and …"""
        if self.width(text, size, bold) <= width:
            return text
        while text and self.width(text + "…", size, bold) > width:
            text = text[:-1]
        return text.rstrip() + "…"


def _draw_card(pen: _Pen, card: Card, x: float, y: float) -> None:
    pen.box(x, y, _WIDTH, _HEIGHT, _CARD, _FRAME)
    pen.picture(x + _GAP, y + _GAP, card.picture)
    left = x + _SIDE + 2 * _GAP
    width = _WIDTH - _SIDE - 3 * _GAP
    y += _GAP - 2
    for line in pen.wrap(card.caption.text or "(wrote nothing)", 13, width, 2, bold=True):
        pen.text((left, y), line, 13, _INK, bold=True)
        y += 17
    truth = f"true: {card.caption.truth}" if card.caption.truth else ""
    for line in pen.wrap(truth, 11, width, 2):
        pen.text((left, y), line, 11, _GREY)
        y += 15
    y += 5
    if card.question and card.answer.text:
        pen.text((left, y), pen.cut(card.question, 11, width), 11, _INK)
        _draw_verdict(pen, left, y + 15, width, card.answer)
        y += 36
    x = left
    for name, probability, true in card.tags:
        label = f"{name} {probability:.0%}"
        chip = pen.width(label, 10) + 12
        if x + chip > left + width:
            break
        pen.box(x, y, chip, 17, _GOOD_CHIP if true else _CHIP, _FRAME)
        pen.text((x + 6, y + 2), label, 10, _INK)
        x += chip + 5
    y += 23 if card.tags else 0
    _draw_verdict(pen, left, y, width, card.sentiment, before="sentiment ")


def _draw_verdict(
    pen: _Pen, x: float, y: float, width: float, said: Said, before: str = ""
) -> None:
    """What was said, green where it is true; where it is not, red with the truth behind it."""
    text = f"{before}{said.text} {said.probability:.0%}"
    if not said.truth:
        pen.text((x, y), pen.cut(text, 11, width), 11, _GREY)
        return
    right = said.text == said.truth
    text = pen.cut(f"{'✓' if right else '✗'} {text}", 11, width, bold=True)
    used = pen.text((x, y), text, 11, _GOOD if right else _BAD, bold=True)
    if not right:
        truth = pen.cut(f"is {said.truth}", 11, max(0, width - used - 8))
        pen.text((x + used + 8, y), truth, 11, _GREY)


@lru_cache(maxsize=16)
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as Matplotlib brings it along; found without importing Matplotlib."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("matplotlib")
    folder = Path(spec.submodule_search_locations[0], "mpl-data/fonts/ttf")
    file = folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    # the basic layout draws the same everywhere; another one would depend on a system's library
    return ImageFont.truetype(file, size * _SCALE, layout_engine=ImageFont.Layout.BASIC)
