"""What kinds of images a day holds: counts that show where a collection leans.

Numbers of images only, taken from attributes; none of them says who or what is right.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

Counts = dict[str, dict[str, int]]

_SIDES = (64, 128, 256, 512, 1024, 2048)
_SQUARE = 1.1
_GREY = 0.02
_SHARES = (0.1, 0.25, 0.5, 0.75)


def coverage(cleaned: pa.Table) -> Counts:
    """How the rows of `cleaned` are spread, by name of the distribution and of its class.

    `unknown` counts the rows on which an attribute is null.
    """
    shorter = pc.min_element_wise(cleaned["width"], cleaned["height"], skip_nulls=False)
    colour = pc.less(cleaned["saturation"], pa.scalar(_GREY, pa.float32()))
    return {
        "formats": _count(cleaned["format"]),
        "shorter_sides": _count(_classes(shorter, _SIDES)),
        "shapes": _count(_shapes(cleaned)),
        "colours": _count(pc.if_else(colour, "grey", "colour")),
        "animated": _count(pc.if_else(cleaned["animated"], "yes", "no")),
        "text_likeness": _count(_classes(cleaned["text_likeness"], _SHARES)),
        "unsafe": _count(_classes(cleaned["unsafe"], _SHARES)),
        "faces": _count(_classes(cleaned["faces"], (1, 2, 5))),
    }


def _shapes(cleaned: pa.Table) -> pa.ChunkedArray:
    wide = pc.greater(cleaned["width"], cleaned["height"])
    square = pc.less(cleaned["aspect"], pa.scalar(_SQUARE, pa.float32()))
    return pc.if_else(square, "square", pc.if_else(wide, "landscape", "portrait"))


def _classes(values: pa.ChunkedArray, bounds: tuple[float, ...]) -> pa.ChunkedArray:
    """`<64`, `64-128`, …, `>=2048` by ascending bounds; a value on a bound is above it."""
    names = pa.scalar(f">={bounds[-1]:g}")
    for lower, upper in reversed(list(zip((None, *bounds), bounds, strict=False))):
        name = f"<{upper:g}" if lower is None else f"{lower:g}-{upper:g}"
        names = pc.if_else(pc.less(values, pa.scalar(upper).cast(values.type)), name, names)
    return names


def _count(values: pa.ChunkedArray) -> dict[str, int]:
    counts = pc.value_counts(pc.fill_null(values, "unknown"))
    return {v["values"].as_py(): v["counts"].as_py() for v in counts}
