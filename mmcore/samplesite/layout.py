"""Where every shape and the face of a scene stand on the canvas."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from random import Random

from mmcore.samplesite.config import rng
from mmcore.samplesite.scenes import Group, Scene

Box = tuple[float, float, float, float]  # left, top, right, bottom as canvas fractions

# diameters as a fraction of sqrt(width * height), by count
_LARGE = {1: (0.38, 0.44), 2: (0.30, 0.36), 3: (0.26, 0.28), 4: (0.26, 0.28)}
_SMALL = (0.165, 0.185)
_COMPANION = (0.19, 0.22)


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


def _grid(count: int, across: float, down: float) -> list[tuple[float, float]]:
    """Unit offsets of ``count`` shapes in a room of the given width and height."""
    if count == 1:
        return [(0.0, 0.0)]
    if count == 2:
        return [(-0.5, 0.0), (0.5, 0.0)] if across >= down else [(0.0, -0.5), (0.0, 0.5)]
    if count == 3:
        return [(0.0, -0.5), (-0.5, 0.5), (0.5, 0.5)]
    return [(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)]


def _place(
    group: Group, box: Box, wanted: float, size: tuple[int, int], draw: Random
) -> list[Placed]:
    """Stand a group in the middle of its box, with the box's slack as jitter."""
    width, height = size
    across, down = (box[2] - box[0]) * width, (box[3] - box[1]) * height
    cells = _grid(group.count, across, down)
    columns = len({x for x, _ in cells})
    rows = len({y for _, y in cells})
    diameter = min(wanted * sqrt(width * height), across / columns / 1.05, down / rows / 1.05)
    room = min(
        (across - diameter) / max(1, columns - 1) if columns > 1 else 9e9,
        (down - diameter) / max(1, rows - 1) if rows > 1 else 9e9,
    )
    pitch = min(diameter * draw.uniform(1.08, 1.45), room)
    free_x = (across - diameter - pitch * (columns - 1)) / 2
    free_y = (down - diameter - pitch * (rows - 1)) / 2
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
                draw.uniform(-10, 10),
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
