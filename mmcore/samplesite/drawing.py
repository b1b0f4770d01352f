"""Draw a scene and encode it: photograph-like background, shapes, a face, mild noise."""

from __future__ import annotations

import io
from functools import lru_cache
from math import cos, pi, radians, sin
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from mmcore.samplesite.config import rng
from mmcore.samplesite.layout import Placed, layout
from mmcore.samplesite.scenes import Scene

Colour = tuple[int, int, int]
Point = tuple[float, float]

PAINT: dict[str, Colour] = {
    "red": (212, 32, 36),
    "green": (34, 142, 58),
    "blue": (36, 78, 208),
    "yellow": (246, 212, 22),
    "orange": (242, 128, 14),
    "purple": (122, 42, 158),
    "pink": (248, 120, 184),
    "black": (28, 28, 30),
}
GROUND: dict[str, Colour] = {
    "white": (240, 240, 240),
    "grey": (172, 174, 178),
    "beige": (226, 204, 166),
    "mint": (172, 226, 200),
    "lavender": (204, 194, 240),
}
_SKIN: tuple[Colour, ...] = ((250, 214, 178), (236, 188, 146), (206, 150, 104), (150, 98, 62))
_HAIR: tuple[Colour, ...] = ((52, 34, 24), (110, 70, 34), (30, 28, 30), (150, 148, 150))
_CELLS = 6  # lights across the background, as many down
_SUPER = 3  # supersampling of a sprite; the canvas itself stays at its own size


def _star() -> list[Point]:
    points = []
    for i in range(10):
        reach = 1.0 if i % 2 == 0 else 0.42
        points.append((reach * sin(i * pi / 5), -reach * cos(i * pi / 5)))
    return points


def _heart() -> list[Point]:
    points = []
    for i in range(40):
        t = 2 * pi * i / 40
        x = 16 * sin(t) ** 3
        y = 13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t)
        points.append((x / 16.5, -(y + 2.5) / 15.5))
    return points


_ARM = 0.34
_OUTLINES: dict[str, list[Point]] = {
    "circle": [(0.95 * cos(2 * pi * i / 36), 0.95 * sin(2 * pi * i / 36)) for i in range(36)],
    "square": [(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)],
    "triangle": [(0.0, -0.98), (0.98, 0.82), (-0.98, 0.82)],
    "star": _star(),
    "heart": _heart(),
    "cross": [
        (-_ARM, -1),
        (_ARM, -1),
        (_ARM, -_ARM),
        (1, -_ARM),
        (1, _ARM),
        (_ARM, _ARM),
        (_ARM, 1),
        (-_ARM, 1),
        (-_ARM, _ARM),
        (-1, _ARM),
        (-1, -_ARM),
        (-_ARM, -_ARM),
    ],
    "diamond": [(0.0, -1.0), (0.72, 0.0), (0.0, 1.0), (-0.72, 0.0)],
}
_OUTLINES["ring"] = _OUTLINES["circle"]
_HOLE = 0.46


def _turned(points: list[Point], angle: float, scale: float, middle: float) -> list[Point]:
    c, s = cos(radians(angle)), sin(radians(angle))
    return [(middle + scale * (x * c - y * s), middle + scale * (x * s + y * c)) for x, y in points]


def _shade(colour: Colour, factor: float) -> Colour:
    return (
        min(255, int(colour[0] * factor)),
        min(255, int(colour[1] * factor)),
        min(255, int(colour[2] * factor)),
    )


def _pattern(texture: str, edge: int, angle: float, zone: list[Point]) -> Image.Image:
    """Coverage of stripes or dots inside a zone; coarse, to survive a thumbnail."""
    middle = edge / 2
    ink = Image.new("L", (edge, edge), 0)
    draw = ImageDraw.Draw(ink)
    if texture == "striped":
        pitch = edge / 3.6
        for i in (-1, 0, 1):
            y = i * pitch * 2 / edge
            half = pitch * 0.5 / edge
            band = [(-1.5, y - half), (1.5, y - half), (1.5, y + half), (-1.5, y + half)]
            draw.polygon(_turned(band, angle - 35, middle, middle), fill=255)
    else:
        pitch, radius = 0.54, edge * 0.08
        for row in range(-2, 3):
            for column in range(-2, 3):
                offset = 0.27 if row % 2 else 0.0
                spot = [(column * pitch + offset, row * pitch * 0.87)]
                x, y = _turned(spot, angle, middle, middle)[0]
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    inside = Image.new("L", (edge, edge), 0)
    ImageDraw.Draw(inside).polygon(zone, fill=255)
    return ImageChops.multiply(ink, inside)


def _sprite(item: Placed, colour: Colour) -> tuple[Image.Image, Image.Image]:
    """One shape as colours and coverage, supersampled and reduced."""
    edge = max(4, round(item.diameter)) * _SUPER
    half = edge / 2
    outline = _OUTLINES[item.shape]
    mask = Image.new("L", (edge, edge), 0)
    cut = ImageDraw.Draw(mask)
    cut.polygon(_turned(outline, item.angle, half * 0.98, half), fill=255)
    picture = Image.new("RGB", (edge, edge), _shade(colour, 0.62))
    brush = ImageDraw.Draw(picture)
    brush.polygon(_turned(outline, item.angle, half * 0.90, half), fill=colour)
    if item.texture != "plain":
        ink = (62, 52, 16) if item.colour == "yellow" else (255, 255, 255)
        # a coloured rim stays, so that dots and stripes never eat the outline
        zone = _turned(outline, item.angle, half * 0.80, half)
        picture.paste(ink, (0, 0), _pattern(item.texture, edge, item.angle, zone))
    if item.shape == "ring":
        hole = half * _HOLE
        cut.ellipse((half - hole, half - hole, half + hole, half + hole), fill=0)
    return picture.reduce(_SUPER), mask.reduce(_SUPER)


def _mouth(brush: ImageDraw.ImageDraw, mood: str, edge: int) -> None:
    dark, thick = (92, 16, 22), max(1, round(edge * 0.055))
    left, right = edge * 0.24, edge * 0.76
    if mood == "happy":
        box = (left, edge * 0.36, right, edge * 0.86)
        brush.chord(box, 8, 172, fill=dark)
        brush.chord((edge * 0.31, edge * 0.50, edge * 0.69, edge * 0.74), 8, 172, fill="white")
    elif mood == "sad":
        brush.arc((left, edge * 0.62, right, edge * 1.06), 200, 340, fill=dark, width=thick + 1)
    else:
        top = edge * 0.70
        brush.rectangle((edge * 0.29, top, edge * 0.71, top + thick), fill=dark)


def _brows(brush: ImageDraw.ImageDraw, mood: str, edge: int, colour: Colour) -> None:
    inner, outer = {"happy": (0.29, 0.29), "sad": (0.24, 0.34), "neutral": (0.30, 0.30)}[mood]
    thick = max(1, round(edge * 0.035))
    for sign in (-1, 1):
        start = (edge * (0.5 + sign * 0.09), edge * inner)
        end = (edge * (0.5 + sign * 0.29), edge * outer)
        brush.line((start, end), fill=colour, width=thick)


def _face(mood: str, diameter: float, draw: Random) -> tuple[Image.Image, Image.Image]:
    """A head with hair, eyes, brows and a mouth that shows the mood."""
    edge = max(8, round(diameter)) * _SUPER
    skin, hair = draw.choice(_SKIN), draw.choice(_HAIR)
    mask = Image.new("L", (edge, edge), 0)
    ImageDraw.Draw(mask).ellipse((edge * 0.02, 0, edge * 0.98, edge - 1), fill=255)
    picture = Image.new("RGB", (edge, edge), hair)
    brush = ImageDraw.Draw(picture)
    brush.ellipse((edge * 0.05, edge * 0.14, edge * 0.95, edge * 1.04), fill=skin)
    for sign in (-1, 1):
        x, y, radius = edge * (0.5 + sign * 0.19), edge * 0.42, edge * 0.085
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill="white")
        pupil = radius * 0.6
        brush.ellipse((x - pupil, y - pupil, x + pupil, y + pupil), fill=(20, 20, 30))
        if mood == "sad" and sign < 0:
            brush.ellipse((x - radius, y + radius, x + radius * 0.4, y + radius * 3), "#4aa3f0")
    _brows(brush, mood, edge, hair)
    _mouth(brush, mood, edge)
    return picture.reduce(_SUPER), mask.reduce(_SUPER)


def _background(scene: Scene, size: tuple[int, int], draw: Random) -> Image.Image:
    """A soft field of light over the named colour, different for every scene."""
    noise = np.frombuffer(draw.randbytes(_CELLS * _CELLS * 4), np.uint8)
    cells = noise.reshape(_CELLS, _CELLS, 4) / 255.0
    light, tint = cells[..., :1] * 42 - 24, cells[..., 1:] * 8 - 4
    values = np.asarray(GROUND[scene.background]) + light + tint
    grid = Image.fromarray(np.clip(values.round(), 0, 255).astype(np.uint8))
    return grid.resize(size, Image.Resampling.BICUBIC)


@lru_cache(maxsize=1)
def _noise() -> Image.Image:
    """A fixed tile of grain; every picture takes another window of it."""
    grain = np.random.Generator(np.random.PCG64(20240229)).normal(128, 3.5, (512, 512, 3))
    return Image.fromarray(np.clip(grain.round(), 0, 255).astype(np.uint8))


def paint(scene: Scene) -> Image.Image:
    """Draw a scene as RGB in its own size."""
    draw = rng(scene.seed, "paint", scene.index, scene.attempt)
    image = _background(scene, (scene.width, scene.height), draw)
    plan = layout(scene)
    tints = {group.colour: draw.uniform(0.9, 1.08) for group in scene.groups}
    for item in plan.shapes:
        sprite, mask = _sprite(item, _shade(PAINT[item.colour], tints[item.colour]))
        corner = (round(item.x - sprite.width / 2), round(item.y - sprite.height / 2))
        image.paste(sprite, corner, mask)
    if scene.face and plan.face:
        x, y, diameter = plan.face
        sprite, mask = _face(scene.face.mood, diameter, draw)
        image.paste(sprite, (round(x - sprite.width / 2), round(y - sprite.height / 2)), mask)
    if scene.format != "png":
        left, top = draw.randint(0, 512 - 420), draw.randint(0, 512 - 420)
        grain = _noise().crop((left, top, left + scene.width, top + scene.height))
        image = ImageChops.add(image, grain, 1.0, -128)
    return image


def sketch(scene: Scene, edge: int) -> Image.Image:
    """The scene's main forms on a square of ``edge`` pixels: quick, for comparing scenes.

    Textures, moods and tints are left out, so two sketches differ less than two pictures.
    """
    draw = rng(scene.seed, "paint", scene.index, scene.attempt)
    image = _background(scene, (edge, edge), draw)
    brush = ImageDraw.Draw(image)
    plan = layout(scene, edge, edge)
    for item in plan.shapes:
        points = _turned(_OUTLINES[item.shape], item.angle, item.diameter / 2, 0)
        brush.polygon([(item.x + x, item.y + y) for x, y in points], fill=PAINT[item.colour])
    if plan.face:
        x, y, radius = plan.face[0], plan.face[1], plan.face[2] / 2
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_SKIN[1])
    return image


def encode(image: Image.Image, image_format: str, quality: int = 86) -> bytes:
    """Encode RGB as jpeg, png or webp; the same picture and settings give the same bytes."""
    out = io.BytesIO()
    if image_format == "jpeg":
        image.save(out, "JPEG", quality=quality)
    elif image_format == "png":
        image.save(out, "PNG", compress_level=4)
    elif image_format == "webp":
        image.save(out, "WEBP", quality=quality, method=1)
    else:
        raise ValueError(f"unknown image format {image_format!r}")
    return out.getvalue()


def render(
    scene: Scene, *, scale: float = 1.0, image_format: str | None = None, quality: int = 86
) -> bytes:
    """Encoded bytes of a scene, in its own format and size unless told otherwise."""
    image = paint(scene)
    if scale != 1.0:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return encode(image, image_format or scene.format, quality)
