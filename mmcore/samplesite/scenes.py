"""Scenes: what each picture of the sample site shows, before anything is drawn."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from random import Random

from mmcore.samplesite.config import SiteConfig, rng
from mmcore.samplesite.dirt import deal

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "black")
COUNTS = (1, 2, 3, 4)
SIZES = ("small", "large")
TEXTURES = ("plain", "striped", "dotted")
POSITIONS = ("left", "right", "top", "bottom", "centre")
BACKGROUNDS = ("white", "grey", "beige", "mint", "lavender")
MOODS = ("happy", "sad", "neutral")
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
SENTIMENTS = {"happy": "positive", "sad": "negative", "neutral": "neutral"}

# width : height, with weights; close to 1 so that a square thumbnail stays readable
_ASPECTS = ((1.0, 45), (1.2, 22), (0.85, 18), (4 / 3, 10), (0.8, 5))
_FORMATS = (("jpeg", 70), ("png", 15), ("webp", 15))


@dataclass(frozen=True)
class Group:
    """Some equal shapes standing together. ``size`` is "" where it is not said."""

    shape: str
    colour: str
    count: int
    size: str
    texture: str
    position: str


@dataclass(frozen=True)
class Face:
    """One face; its mood decides the sentiment of the picture."""

    mood: str
    position: str


@dataclass(frozen=True)
class Scene:
    """One distinct picture: its meaning, and what the drawing needs beside it.

    ``attempt`` counts re-draws made to keep any two scenes from looking alike;
    ``width``/``height`` are pixels, ``format`` is jpeg, png or webp.
    """

    id: str
    index: int
    main: Group
    companion: Group | None
    face: Face | None
    background: str
    width: int
    height: int
    format: str
    seed: int
    attempt: int = 0

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of shapes, main group first."""
        return (self.main,) if self.companion is None else (self.main, self.companion)

    @property
    def sentiment(self) -> str:
        """positive, negative or neutral: what the face says, neutral without a face."""
        return SENTIMENTS[self.face.mood] if self.face else "neutral"

    def describe(self) -> dict[str, object]:
        """What the picture shows as JSON-ready values, without drawing details."""
        return {
            "main": asdict(self.main),
            "companion": asdict(self.companion) if self.companion else None,
            "face": asdict(self.face) if self.face else None,
            "background": self.background,
        }


def _main_groups(seed: int, count: int) -> list[Group]:
    """The first ``count`` of all attribute tuples in an order drawn from the seed."""
    sizes = (SHAPES, COLOURS, COUNTS, SIZES, TEXTURES, POSITIONS)
    total = 1
    for values in sizes:
        total *= len(values)
    order = list(range(total))
    rng(seed, "tuples").shuffle(order)
    groups = []
    for code in order[:count]:
        picked: list[object] = []
        for values in sizes:
            code, digit = divmod(code, len(values))
            picked.append(values[digit])
        groups.append(Group(*picked))  # type: ignore[arg-type]
    return groups


def _canvas(draw: Random) -> tuple[int, int, str]:
    aspect = draw.choices([a for a, _ in _ASPECTS], [w for _, w in _ASPECTS])[0]
    image_format = draw.choices([f for f, _ in _FORMATS], [w for _, w in _FORMATS])[0]
    # noise-free PNG is cheap only when small
    longest = draw.randint(200, 280) if image_format == "png" else draw.randint(210, 420)
    width = longest if aspect >= 1 else round(longest * aspect)
    height = longest if aspect <= 1 else round(longest / aspect)
    return max(160, width), max(160, height), image_format


def _second(draw: Random, main: Group) -> tuple[Group | None, Face | None]:
    """What else is in the picture; a face needs room, so never beside a centred group."""
    centred = main.position == "centre"
    kind = draw.random()
    if kind < 0.35:
        place = draw.choice(POSITIONS[:4]) if centred else OPPOSITE[main.position]
        shape = draw.choice([s for s in SHAPES if s != main.shape])
        colour = draw.choice([c for c in COLOURS if c != main.colour])
        return Group(shape, colour, draw.choice((1, 1, 2)), "", "plain", place), None
    if not centred and kind < 0.35 + 0.5625:  # 45% of all pictures
        mood = draw.choices(MOODS, (40, 40, 20))[0]
        return None, Face(mood, OPPOSITE[main.position])
    return None, None


def _scene(seed: int, index: int, main: Group) -> Scene:
    draw = rng(seed, "scene", index)
    companion, face = _second(draw, main)
    background = draw.choice(BACKGROUNDS)
    width, height, image_format = _canvas(draw)
    name = f"s{index:05d}"
    return Scene(name, index, main, companion, face, background, width, height, image_format, seed)


@lru_cache(maxsize=8)
def all_scenes(seed: int, images: int) -> tuple[Scene, ...]:
    """Every scene of both editions: shown first, then added, then withheld, by index."""
    from mmcore.samplesite.distinct import keep_apart

    config = SiteConfig(seed=seed, images=images)
    total = images + config.new_images + config.withheld_images
    groups = _main_groups(seed, total)
    return keep_apart(tuple(_scene(seed, i, group) for i, group in enumerate(groups)))


def scenes(config: SiteConfig) -> list[Scene]:
    """The distinct scenes a visitor of this edition may see, in index order."""
    every = all_scenes(config.seed, config.images)
    if config.edition == 1:
        return list(every[: config.images])
    gone = set(deal(config)["removed"])
    shown = every[: config.images + config.new_images]
    return [scene for scene in shown if scene.index not in gone]


def withheld(config: SiteConfig) -> list[Scene]:
    """Scenes that stand only on pages or under headers that forbid taking them."""
    return list(all_scenes(config.seed, config.images)[config.images + config.new_images :])
