"""What may be asked about a scene, and the tags it deserves."""

from __future__ import annotations

from random import Random

from mmcore.samplesite import english
from mmcore.samplesite.config import rng
from mmcore.samplesite.scenes import COLOURS, SHAPES, Group, Scene

Pair = tuple[str, str]


def _pick(draw: Random, *forms: str) -> str:
    """The plainest wording first and most often."""
    return draw.choices(forms, [6] + [2] * (len(forms) - 1))[0]


def _about_group(group: Group, draw: Random) -> list[Pair]:
    name, many = english.noun(group), english.plural(group.shape)
    be = "is" if group.count == 1 else "are"
    have = "does" if group.count == 1 else "do"
    pairs = [
        (
            _pick(
                draw,
                f"what colour {be} the {name}?",
                f"what is the colour of the {name}?",
                f"which colour {have} the {name} have?",
            ),
            group.colour,
        ),
        (
            _pick(draw, f"how many {many} are there?", f"how many {many} do you see?"),
            str(group.count),
        ),
        (_pick(draw, f"where {be} the {name}?", f"where do you see the {name}?"), group.position),
    ]
    if group.size:
        pairs.append((f"{be} the {name} small or large?", group.size))
        pairs.append((f"{be} the {name} plain, striped or dotted?", group.texture))
    return pairs


def _about_places(scene: Scene, draw: Random) -> list[Pair]:
    pairs = []
    for group in scene.groups:
        place = english.POSITIONS[group.position][0]
        pairs.append(
            (_pick(draw, f"what shape is {place}?", f"which shape is {place}?"), group.shape)
        )
    if scene.face:
        pairs.append((f"what is {english.POSITIONS[scene.face.position][0]}?", "face"))
    return pairs


def _yes_or_no(scene: Scene, draw: Random) -> list[Pair]:
    """Each kind of question once with yes and once with no, so that neither answer leads."""
    shown = [group.shape for group in scene.groups]
    there = draw.choice(shown)
    missing = draw.choice([shape for shape in SHAPES if shape not in shown])
    group = draw.choice(scene.groups)
    wrong = draw.choice([c for c in COLOURS if c not in {g.colour for g in scene.groups}])
    return [
        (f"is there {_a(there)}?", "yes"),
        (f"is there {_a(missing)}?", "no"),
        (f"is there {_a(f'{group.colour} {group.shape}')}?", "yes"),
        (f"is there {_a(f'{wrong} {group.shape}')}?", "no"),
        ("is there a face?", "yes" if scene.face else "no"),
    ]


def _a(words: str) -> str:
    return f"{english.article(words)} {words}"


def questions(scene: Scene) -> list[Pair]:
    """Unambiguous (question, answer) pairs in English; answers are short lower-case words.

    The two groups of a scene differ in shape, in colour and in position, so naming the shape
    or the place always points at exactly one of them.
    """
    draw = rng(scene.seed, "questions", scene.index)
    pairs: list[Pair] = []
    for group in scene.groups:
        pairs += _about_group(group, draw)
    pairs += _about_places(scene, draw)
    pairs += _yes_or_no(scene, draw)
    if scene.face:
        look = _pick(draw, "how does the face look?", "what mood is the face in?")
        pairs.append((look, scene.face.mood))
    pairs.append(("what colour is the background?", scene.background))
    return pairs


def tags(scene: Scene) -> list[str]:
    """Shapes, colours, texture and size of the main group, and the face with its mood."""
    words = []
    for group in scene.groups:
        words += [group.shape, group.colour]
    words += [scene.main.texture, scene.main.size]
    if scene.face:
        words += ["face", scene.face.mood]
    return list(dict.fromkeys(words))
