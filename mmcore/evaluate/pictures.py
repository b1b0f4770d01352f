"""Small pictures for the report card, inlined so that the file needs nothing beside it."""

from __future__ import annotations

import base64
import io

from PIL import Image

_QUALITY = 78


def thumbnail(data: bytes, side: int = 160) -> str:
    """An encoded image as a `data:` URI of a JPEG whose longer side is at most `side` pixels."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (side, side))
        small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode("ascii")
