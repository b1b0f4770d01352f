"""German texts about a scene, with the inflection that German asks for."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from mmcore.samplesite.english import sentence
from mmcore.samplesite.scenes import Face, Group, Scene

NUMBERS = {2: "zwei", 3: "drei", 4: "vier"}
NOUNS = {  # gender, singular, plural, dative plural
    "circle": ("m", "Kreis", "Kreise", "Kreisen"),
    "square": ("n", "Quadrat", "Quadrate", "Quadraten"),
    "triangle": ("n", "Dreieck", "Dreiecke", "Dreiecken"),
    "star": ("m", "Stern", "Sterne", "Sternen"),
    "heart": ("n", "Herz", "Herzen", "Herzen"),
    "cross": ("n", "Kreuz", "Kreuze", "Kreuzen"),
    "ring": ("m", "Ring", "Ringe", "Ringen"),
    "diamond": ("f", "Raute", "Rauten", "Rauten"),
}
COLOURS = {
    "red": "rot",
    "green": "grün",
    "blue": "blau",
    "yellow": "gelb",
    "orange": "orangefarben",
    "purple": "violett",
    "pink": "rosafarben",
    "black": "schwarz",
}
SIZES = {"small": "klein", "large": "groß"}
TEXTURES = {"plain": "einfarbig", "striped": "gestreift", "dotted": "gepunktet"}
BACKGROUNDS = {
    "white": "weiß",
    "grey": "grau",
    "beige": "beigefarben",
    "mint": "mintgrün",
    "lavender": "fliederfarben",
}
POSITIONS = {
    "left": ("links", "auf der linken Seite", "links im Bild"),
    "right": ("rechts", "auf der rechten Seite", "rechts im Bild"),
    "top": ("oben", "im oberen Teil", "oben im Bild"),
    "bottom": ("unten", "im unteren Teil", "unten im Bild"),
    "centre": ("in der Mitte", "in der Bildmitte", "mitten im Bild"),
}
MOODS = {
    "happy": ("fröhlich", "lachend", "glücklich"),
    "sad": ("traurig", "unglücklich", "bedrückt"),
    "neutral": ("neutral", "ausdruckslos", "ruhig"),
}
# article and adjective ending after "ein" by case and gender; a bare plural uses _STRONG
_ARTICLES = {
    "nominative": {"m": "ein", "n": "ein", "f": "eine"},
    "accusative": {"m": "einen", "n": "ein", "f": "eine"},
    "dative": {"m": "einem", "n": "einem", "f": "einer"},
}
_ENDINGS = {
    "nominative": {"m": "er", "n": "es", "f": "e"},
    "accusative": {"m": "en", "n": "es", "f": "e"},
    "dative": {"m": "en", "n": "en", "f": "en"},
}
_STRONG = {"nominative": "e", "accusative": "e", "dative": "en"}


@dataclass(frozen=True)
class Thing:
    """A noun phrase before its case is known: adjectives uninflected."""

    adjectives: tuple[str, ...]
    gender: str
    singular: str
    plural: str
    dative_plural: str
    count: int

    def say(self, case: str) -> str:
        """The phrase in nominative, accusative or dative."""
        if self.count == 1:
            ending = _ENDINGS[case][self.gender]
            words = [_ARTICLES[case][self.gender]]
            name = self.singular
        else:
            ending, words = _STRONG[case], [NUMBERS[self.count]]
            name = self.dative_plural if case == "dative" else self.plural
        return " ".join([*words, *(word + ending for word in self.adjectives), name])


def thing(group: Group, *, size: bool = True, texture: bool = True) -> Thing:
    """The group as a noun phrase; a companion has neither size nor texture words."""
    adjectives = [SIZES[group.size]] if size and group.size else []
    adjectives.append(COLOURS[group.colour])
    if texture and group.size:
        adjectives.append(TEXTURES[group.texture])
    return Thing(tuple(adjectives), *NOUNS[group.shape], group.count)


def face(item: Face, draw: Random | None = None) -> Thing:
    """The face as a noun phrase such as "ein fröhliches Gesicht"."""
    word = MOODS[item.mood][0]
    if draw is not None:
        word = draw.choices(MOODS[item.mood], (6, 2, 2))[0]
    return Thing((word,), "n", "Gesicht", "Gesichter", "Gesichtern", 1)


def where(position: str, draw: Random | None = None) -> str:
    """A phrase for a position; the plainest one without a generator."""
    forms = POSITIONS[position]
    return forms[0] if draw is None else draw.choices(forms, (6, 2, 2))[0]


def ground(scene: Scene) -> str:
    """ "vor weißem Hintergrund" """
    return f"vor {BACKGROUNDS[scene.background]}em Hintergrund"


def _second(scene: Scene, draw: Random | None) -> tuple[Thing, str] | None:
    if scene.companion:
        return thing(scene.companion), where(scene.companion.position, draw)
    if scene.face:
        return face(scene.face, draw), where(scene.face.position, draw)
    return None


def canonical(scene: Scene) -> str:
    """The plain full caption that the truth table gives."""
    text = f"{thing(scene.main).say('nominative')} {where(scene.main.position)}"
    second = _second(scene, None)
    if second:
        text += f" und {second[0].say('nominative')} {second[1]}"
    return f"{text}, {ground(scene)}"


def paraphrase(scene: Scene) -> str:
    """The same facts as ``canonical`` in another order."""
    verb = "ist" if scene.main.count == 1 else "sind"
    text = f"{where(scene.main.position)} {verb} {thing(scene.main).say('nominative')} zu sehen"
    second = _second(scene, None)
    if second:
        text += f", {second[1]} {second[0].say('nominative')}"
    return text


def caption(scene: Scene, draw: Random) -> str:
    """A full caption as a figcaption says it, in one of many forms."""
    group = thing(scene.main)
    if scene.main.texture == "plain" and draw.random() < 0.3:
        group = thing(scene.main, texture=False)
    main, seen = group.say("nominative"), group.say("accusative")
    place, second = where(scene.main.position, draw), _second(scene, draw)
    verb = "ist" if scene.main.count == 1 else "sind"
    form = draw.randrange(5)
    if second is None:
        text = (
            f"{main} {place}",
            f"das Bild zeigt {seen} {place}",
            f"{place} {verb} {main}",
            f"man sieht {seen} {place}",
            f"{main}, {place}",
        )[form]
    else:
        other, there = second
        text = (
            f"{main} {place} und {other.say('nominative')} {there}",
            f"das Bild zeigt {seen} {place} und {other.say('accusative')} {there}",
            f"{place} {verb} {main}, {there} {other.say('nominative')}",
            f"man sieht {seen} {place} und {other.say('accusative')} {there}",
            f"{main} {place}, mit {other.say('dative')} {there}",
        )[form]
    if draw.random() < 0.35:
        text += f" {ground(scene)}"
    return sentence(text) + draw.choice(("", ".", "."))


def alt(scene: Scene, draw: Random) -> str:
    """A short alt text that names some of the facts."""
    texture = scene.main.texture != "plain" and draw.random() < 0.55
    text = thing(scene.main, size=draw.random() < 0.3, texture=texture).say("nominative")
    if draw.random() < 0.35:
        text += f" {where(scene.main.position, draw)}"
    if scene.face and draw.random() < 0.7:
        text = f"{face(scene.face, draw).say('nominative')} und {text}"
    elif scene.companion and draw.random() < 0.5:
        text += f" und {thing(scene.companion).say('nominative')}"
    return sentence(text) if draw.random() < 0.5 else text


def title(scene: Scene, draw: Random) -> str:
    """A terse title attribute."""
    if scene.face and draw.random() < 0.5:
        return sentence(face(scene.face, draw).say("nominative"))
    return sentence(thing(scene.main, size=False, texture=False).say("nominative"))


def heading(scene: Scene, draw: Random) -> str:
    """A heading over one picture."""
    text = thing(scene.main, size=False, texture=draw.random() < 0.5).say("nominative")
    if scene.face:
        text += f" und {face(scene.face, draw).say('nominative')}"
    return sentence(text)


_THE = {"m": "der", "n": "das", "f": "die"}
_THE_ACCUSATIVE = {"m": "den", "n": "das", "f": "die"}


def paragraph(scene: Scene, draw: Random) -> str:
    """A few sentences near the picture, each about one fact."""
    group = scene.main
    gender, singular, plural, _ = NOUNS[group.shape]
    many = group.count > 1
    name = f"die {plural}" if many else f"{_THE[gender]} {singular}"
    found = f"die {plural}" if many else f"{_THE_ACCUSATIVE[gender]} {singular}"
    verb = "sind" if many else "ist"
    facts = [
        f"{name} {verb} {COLOURS[group.colour]}",
        f"{name} {verb} {SIZES[group.size]}",
        f"{name} {verb} {TEXTURES[group.texture]}",
        f"{found} findet man {where(group.position, draw)}",
        f"der Hintergrund ist {BACKGROUNDS[scene.background]}",
    ]
    if many:
        facts.append(f"es sind {NUMBERS[group.count]} {plural}")
    if scene.face:
        facts.append(f"das Gesicht wirkt {MOODS[scene.face.mood][0]}")
    if scene.companion:
        facts.append(f"daneben steht: {thing(scene.companion).say('nominative')}")
    opening = draw.choice(
        ("Unterwegs gesehen", "Aus der Sammlung", "Eines unserer Lieblingsbilder")
    )
    picked = draw.sample(facts, draw.randint(2, 3))
    return f"{opening}. " + " ".join(f"{sentence(fact)}." for fact in picked)


def keywords(scene: Scene) -> list[str]:
    """What a webmaster would put into the keywords of the picture's own page."""
    words = []
    for group in scene.groups:
        words += [NOUNS[group.shape][1], COLOURS[group.colour]]
    if scene.main.texture != "plain":
        words.append(TEXTURES[scene.main.texture])
    words.append(SIZES[scene.main.size])
    if scene.face:
        words += ["Gesicht", MOODS[scene.face.mood][0]]
    return list(dict.fromkeys(words))
