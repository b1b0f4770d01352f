"""SVG, drawn by resvg (the extra `mmcore[svg]`) at the size that is stored.

resvg runs no script and opens no connection, but it reads files that a drawing names. So a drawing
that refers to anything outside itself is refused before resvg sees it, as browsers leave such parts
out of an `<img>`. It is drawn in the child process of `sandbox.py`, and with one font that is part
of this installation, so that every machine draws the same.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from xml.parsers import expat

import cv2
import numpy as np
from cv2.typing import MatLike

from mmcore.errors import UserError

MAX_BYTES = 8 << 20
_START = re.compile(
    rb"\A(?:\xef\xbb\xbf)?"
    rb"(?:\s+|<\?xml[^>]*>|<!--.*?-->|<!doctype svg[^>\[]*(?:\[.*?\]\s*)?>)*<svg[\s>]",
    re.DOTALL | re.IGNORECASE,
)
# A part of the drawing, or a PNG, JPEG, GIF or WebP written into it: by its bytes in base64, for
# what is declared may be another SVG all the same.
_INSIDE = re.compile(r"#|data:[^,]*;base64,\s*(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR)")
_NUMBER = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z%]*)\s*\Z", re.IGNORECASE)
# CSS Values 4, 6.2: absolute lengths in pixels.
_PIXELS = {"": 1, "px": 1, "in": 96, "cm": 96 / 2.54, "mm": 9.6 / 2.54, "pt": 4 / 3, "pc": 16}


class UnsafeDrawing(Exception):
    """The drawing refers to something outside itself."""


@dataclass(frozen=True)
class Drawing:
    """A checked SVG: `text` refers to nothing outside itself; the size is its own, in pixels."""

    text: str
    width: int
    height: int

    def draw(self, size: tuple[int, int], background: str) -> MatLike:
        """sRGB [H, W, 3] of `size` (width, height) on a background `#rrggbb`."""
        import resvg_py

        png = resvg_py.svg_to_bytes(
            svg_string=self.text,
            width=size[0],
            height=size[1],
            background=background,
            dpi=96,
            skip_system_fonts=True,
            font_files=_fonts(),
            font_family="DejaVu Sans",
            sans_serif_family="DejaVu Sans",
            serif_family="DejaVu Sans",
            monospace_family="DejaVu Sans",
        )
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert pixels is not None
        # resvg keeps the aspect to the pixel, where a side of ours was rounded.
        return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def looks_like_svg(data: bytes) -> bool:
    """Whether the first bytes lead up to an `<svg>` element."""
    return _START.match(data[:4096]) is not None


def read_svg(data: bytes) -> Drawing:
    """Check a drawing and read its size.

    Raises UnsafeDrawing, or ValueError for what is not well-formed UTF-8 XML, too long, or without
    a size.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"an SVG of more than {MAX_BYTES >> 20} MiB")
    text = data.decode("utf-8-sig")
    check = _Check()
    parser = expat.ParserCreate(encoding="utf-8")
    parser.StartElementHandler = check.element
    parser.EntityDeclHandler = check.entity
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from error
    width, height = _size(check.root)
    return Drawing(text, width, height)


def require_svg() -> None:
    """UserError where the extra is not installed."""
    if importlib.util.find_spec("resvg_py") is None:
        raise UserError("clean.svg needs an extra: install it with `pip install 'mmcore[svg]'`.")


class _Check:
    """Looks at every element after entities were put in, so nothing hides in one."""

    def __init__(self) -> None:
        self.root: dict[str, str] = {}

    def element(self, name: str, attributes: dict[str, str]) -> None:
        if not self.root:
            self.root = {"svg": "", **attributes}
        if name.rpartition(":")[2] == "a":  # a link is not followed
            return
        for key, value in attributes.items():
            reference = key.rpartition(":")[2] in ("href", "src")
            if reference and value.strip() and not _INSIDE.match(value.strip()):
                raise UnsafeDrawing(f"<{name}> refers to {value.strip()[:80]}")

    def entity(
        self,
        name: str,
        is_parameter: bool,
        value: str | None,
        base: str | None,
        system: str | None,
        public: str | None,
        notation: str | None,
    ) -> None:
        if is_parameter or value is None:
            raise UnsafeDrawing(f"the entity {name[:80]} is outside the drawing")


def _size(root: dict[str, str]) -> tuple[int, int]:
    """Width and height in pixels, by the attributes of the root or by its view box."""
    box = [float(v) for v in re.findall(r"[-+0-9.eE]+", root.get("viewBox", ""))]
    view = (box[2], box[3]) if len(box) == 4 and min(box[2:]) > 0 else None
    width, height = _length(root.get("width")), _length(root.get("height"))
    if view and width is None and height is not None:
        width = height * view[0] / view[1]
    elif view and height is None and width is not None:
        height = width * view[1] / view[0]
    elif view and width is None:
        width, height = view
    if not width or not height:
        raise ValueError("the drawing has no size")
    return max(1, round(width)), max(1, round(height))


def _length(text: str | None) -> float | None:
    """Pixels, or None for what depends on a page."""
    match = _NUMBER.match(text or "")
    unit = _PIXELS.get(match[2].lower()) if match else None
    return float(match[1]) * unit if match and unit else None


@lru_cache(maxsize=1)
def _fonts() -> list[str]:
    """DejaVu Sans, which matplotlib carries."""
    found = importlib.util.find_spec("matplotlib")
    folders = found.submodule_search_locations if found else None
    font = Path(folders[0] if folders else ".", "mpl-data/fonts/ttf/DejaVuSans.ttf")
    return [str(font)] if font.exists() else []
