"""Where every shape and the face of a scene stand on the canvas."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from random import Random

from mmcore.samplesite.config import rng
from mmcore.samplesite.scenes import Group, Scene

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom as canvas fractions

# diameters as a fraction of sqrt(width * height), by count
_LARGE = {1: (0.38, 0.44), 2: (0.30, 0.36), 3: (0.27, 0.29), 4: (0.265, 0.285)}
_SMALL = (0.18, 0.195)
_COMPANION = (0.21, 0.23)


@dataclass(frozen=True)
class Placed:
    """One shape: centre and diameter in pixels, rotation in degrees."""

    shape: str
    colour: str
    texture: str
    x: float
    y: float
    diameter: float
    angle: float


@dataclass(frozen=True)
class Layout:
    """All shapes of a scene and, where there is a face, its centre and diameter."""

    shapes: tuple[Placed, ...]
    face: tuple[float, float, float] | None


def _side(position: str, depth: float) -> Box:
    boxes: dict[str, Box] = {
        "left": (0.02, 0.04, depth, 0.96),
        "right": (1 - depth, 0.04, 0.98, 0.96),
        "top": (0.04, 0.02, 0.96, depth),
        "bottom": (0.04, 1 - depth, 0.96, 0.98),
        "centre": (0.21, 0.21, 0.79, 0.79),
    }
    return boxes[position]


def _line(count: int, across: bool) -> list[Point]:
    steps = [i - (count - 1) / 2 for i in range(count)]
    return [(step, 0.0) if across else (0.0, step) for step in steps]


def _extent(cells: list[Point]) -> tuple[float, float]:
    """Width and height of some offsets, in pitches."""
    xs, ys = [x for x, _ in cells], [y for _, y in cells]
    return max(xs) - min(xs), max(ys) - min(ys)


def _fits(cells: list[Point], across: float, down: float) -> float:
    """The largest diameter at which shapes at these offsets fit into a room."""
    wide, high = _extent(cells)
    return min(across / (wide + 1), down / (high + 1)) / 1.05


def _grid(count: int, across: float, down: float, wanted: float) -> list[Point]:
    """Offsets of ``count`` shapes in a room: a compact form, a line where that is too small."""
    line = _line(count, across >= down)
    compact = {
        3: [(0.0, -0.5), (-0.5, 0.5), (0.5, 0.5)],
        4: [(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)],
    }.get(count, line)
    narrow = _fits(compact, across, down)
    return compact if narrow >= min(wanted, _fits(line, across, down)) else line


def _place(
    group: Group, box: Box, wanted: float, size: tuple[int, int], draw: Random
) -> list[Placed]:
    """Stand a group in the middle of its box, with the box's slack as jitter."""
    width, height = size
    across, down = (box[2] - box[0]) * width, (box[3] - box[1]) * height
    wanted *= sqrt(width * height)
    cells = _grid(group.count, across, down, wanted)
    wide, high = _extent(cells)
    diameter = min(wanted, _fits(cells, across, down))
    pitch = diameter * draw.uniform(1.08, 1.45)
    if wide:
        pitch = min(pitch, (across - diameter) / wide)
    if high:
        pitch = min(pitch, (down - diameter) / high)
    free_x = (across - diameter - pitch * wide) / 2
    free_y = (down - diameter - pitch * high) / 2
    # a group stays near the middle of its box, or "left" would look like "top"
    middle_x = (box[0] + box[2]) / 2 * width + draw.uniform(-1, 1) * min(free_x, 0.08 * width)
    middle_y = (box[1] + box[3]) / 2 * height + draw.uniform(-1, 1) * min(free_y, 0.08 * height)
    placed = []
    for x, y in cells:
        placed.append(
            Placed(
                group.shape,
                group.colour,
                group.texture,
                middle_x + x * pitch,
                middle_y + y * pitch,
                diameter * draw.uniform(0.96, 1.0),
                draw.uniform(-7, 7),
            )
        )
    return placed


def layout(scene: Scene, width: int | None = None, height: int | None = None) -> Layout:
    """Place a scene on a canvas of the given pixels (its own size if not given)."""
    size = (width or scene.width, height or scene.height)
    draw = rng(scene.seed, "layout", scene.index, scene.attempt)
    main = scene.main
    low, high = _LARGE[main.count] if main.size == "large" else _SMALL
    alone = scene.companion is None and scene.face is None
    box = _side(main.position, 0.54 if alone else 0.57)
    shapes = _place(main, box, draw.uniform(low, high), size, draw)
    if scene.companion:
        depth = 0.21 if main.position == "centre" else 0.40
        other = _side(scene.companion.position, depth)
        shapes += _place(scene.companion, other, draw.uniform(*_COMPANION), size, draw)
    face = None
    if scene.face:
        room = _side(scene.face.position, 0.42)
        reach = min((room[2] - room[0]) * size[0], (room[3] - room[1]) * size[1])
        diameter = reach * draw.uniform(0.92, 1.0)
        along = draw.uniform(-0.12, 0.12)
        sideways = scene.face.position in ("left", "right")
        x = ((room[0] + room[2]) / 2 + (0 if sideways else along)) * size[0]
        y = ((room[1] + room[3]) / 2 + (along if sideways else 0)) * size[1]
        face = (x, y, diameter)
    return Layout(tuple(shapes), face)
