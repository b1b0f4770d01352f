"""English texts about a scene: captions, alt texts, titles, paragraphs, keywords."""

from __future__ import annotations

from random import Random

from mmcore.samplesite.scenes import Face, Group, Scene

NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}
POSITIONS = {
    "left": ("on the left", "on the left side", "to the left"),
    "right": ("on the right", "on the right side", "to the right"),
    "top": ("at the top", "in the upper part", "at the top"),
    "bottom": ("at the bottom", "in the lower part", "at the bottom"),
    "centre": ("in the centre", "in the middle", "in the center"),
}
MOODS = {
    "happy": ("happy", "smiling", "cheerful"),
    "sad": ("sad", "unhappy", "frowning"),
    "neutral": ("neutral", "expressionless", "calm"),
}
_WITH = {"striped": "with stripes", "dotted": "with dots", "plain": ""}


def plural(shape: str) -> str:
    """crosses, circles, …"""
    return shape + ("es" if shape.endswith("s") else "s")


def noun(group: Group) -> str:
    """The shape's name in the number the group has."""
    return group.shape if group.count == 1 else plural(group.shape)


def article(word: str) -> str:
    """a or an, by the word that follows."""
    return "an" if word[0] in "aeiou" else "a"


def counted(words: list[str], count: int) -> str:
    """Words with an article or a number in front: "a red circle", "two red circles"."""
    return " ".join([article(words[0]) if count == 1 else NUMBERS[count], *words])


def phrase(group: Group, *, size: bool = True, texture: bool = True, tail: bool = False) -> str:
    """A noun phrase such as "two large striped red circles"; ``tail`` says "with stripes"."""
    words = [group.size] if size and group.size else []
    if texture and group.size and not tail:
        words.append(group.texture)
    words += [group.colour, noun(group)]
    text = counted(words, group.count)
    if texture and tail and group.size and _WITH[group.texture]:
        text += f" {_WITH[group.texture]}"
    return text


def where(position: str, draw: Random | None = None) -> str:
    """A phrase for a position; the plainest one without a generator."""
    forms = POSITIONS[position]
    return forms[0] if draw is None else draw.choices(forms, (6, 2, 2))[0]


def face(item: Face, draw: Random | None = None) -> str:
    """A phrase such as "a happy face"."""
    word = MOODS[item.mood][0]
    if draw is not None:
        word = draw.choices(MOODS[item.mood], (6, 2, 2))[0]
    return f"{article(word)} {word} face"


def _second(scene: Scene, draw: Random | None) -> tuple[str, str] | None:
    """The phrase and the place of whatever stands beside the main group."""
    if scene.companion:
        return phrase(scene.companion), where(scene.companion.position, draw)
    if scene.face:
        return face(scene.face, draw), where(scene.face.position, draw)
    return None


def sentence(text: str) -> str:
    """First letter upper case."""
    return text[:1].upper() + text[1:]


def canonical(scene: Scene) -> str:
    """The plain full caption that the truth table gives."""
    text = f"{phrase(scene.main)} {where(scene.main.position)}"
    second = _second(scene, None)
    if second:
        text += f" and {second[0]} {second[1]}"
    return f"{text}, on {article(scene.background)} {scene.background} background"


def paraphrase(scene: Scene) -> str:
    """The same facts as ``canonical`` in another order."""
    verb = "is" if scene.main.count == 1 else "are"
    text = f"{where(scene.main.position)} there {verb} {phrase(scene.main, tail=True)}"
    second = _second(scene, None)
    if second:
        text += f", {second[1]} {second[0]}"
    return text


def caption(scene: Scene, draw: Random) -> str:
    """A full caption as a figcaption says it, in one of many forms."""
    main = phrase(scene.main, tail=draw.random() < 0.2)
    if scene.main.texture == "plain" and draw.random() < 0.3:
        main = phrase(scene.main, texture=False)
    place, second = where(scene.main.position, draw), _second(scene, draw)
    verb = "is" if scene.main.count == 1 else "are"
    form = draw.randrange(6)
    if second is None:
        text = (
            f"{main} {place}",
            f"there {verb} {main} {place}",
            f"the picture shows {main} {place}",
            f"{place}: {main}",
            f"{main}, {place}",
            f"we see {main} {place}",
        )[form]
    else:
        other, there = second
        text = (
            f"{main} {place} and {other} {there}",
            f"{place} there {verb} {main}, {there} {other}",
            f"the picture shows {main} {place} and {other} {there}",
            f"{other} {there}, {main} {place}",
            f"{main} {place}, {other} {there}",
            f"{main} {place}, with {other} {there}",
        )[form]
    if draw.random() < 0.35:
        text += f" on {article(scene.background)} {scene.background} background"
    return sentence(text) + draw.choice(("", ".", "."))


def alt(scene: Scene, draw: Random) -> str:
    """A short alt text that names some of the facts."""
    group = scene.main
    words = [group.texture] if group.texture != "plain" and draw.random() < 0.55 else []
    if draw.random() < 0.3:
        words.insert(0, group.size)
    if draw.random() < 0.92:
        words.append(group.colour)
    words.append(noun(group))
    text = counted(words, group.count) if draw.random() < 0.7 else " ".join(words)
    if draw.random() < 0.35:
        text += f" {where(group.position, draw)}"
    if scene.face and draw.random() < 0.7:
        text = f"{face(scene.face, draw)} and {text}"
    elif scene.companion and draw.random() < 0.5:
        text += f" and {phrase(scene.companion)}"
    return sentence(text) if draw.random() < 0.5 else text


def title(scene: Scene, draw: Random) -> str:
    """A terse title attribute."""
    group = scene.main
    if scene.face and draw.random() < 0.5:
        return sentence(face(scene.face, draw)[2:].strip())
    text = f"{group.colour} {plural(group.shape) if group.count > 1 else group.shape}"
    return sentence(text)


def heading(scene: Scene, draw: Random) -> str:
    """A heading over one picture."""
    text = phrase(scene.main, size=False, texture=draw.random() < 0.5)
    if scene.face:
        text += f" and {face(scene.face, draw)}"
    return sentence(text)


def paragraph(scene: Scene, draw: Random) -> str:
    """A few sentences near the picture, each about one fact."""
    group = scene.main
    name, verb = f"the {noun(group)}", "is" if group.count == 1 else "are"
    have = "has" if group.count == 1 else "have"
    texture = {
        "plain": f"{name} {verb} plain",
        "striped": f"{name} {have} stripes",
        "dotted": f"{name} {have} dots",
    }[group.texture]
    facts = [
        f"{name} {verb} {group.colour}",
        f"{name} {verb} {group.size}",
        texture,
        f"you find {name} {where(group.position, draw)}",
        f"the background is {scene.background}",
    ]
    if group.count > 1:
        facts.append(f"there are {NUMBERS[group.count]} {plural(group.shape)}")
    if scene.face:
        facts.append(f"the face looks {MOODS[scene.face.mood][0]}")
    if scene.companion:
        facts.append(f"next to {'it' if group.count == 1 else 'them'}: {phrase(scene.companion)}")
    opening = draw.choice(("Seen on our walk", "From the collection", "A favourite of ours"))
    picked = draw.sample(facts, draw.randint(2, 3))
    return f"{opening}. " + " ".join(f"{sentence(fact)}." for fact in picked)


def keywords(scene: Scene) -> list[str]:
    """What a webmaster would put into the keywords of the picture's own page."""
    words = []
    for group in scene.groups:
        words += [group.shape, group.colour]
    if scene.main.texture != "plain":
        words.append(scene.main.texture)
    words.append(scene.main.size)
    if scene.face:
        words += ["face", MOODS[scene.face.mood][0]]
    return list(dict.fromkeys(words))
