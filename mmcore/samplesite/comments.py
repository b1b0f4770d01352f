"""What visitors write under a picture: feelings, noise, and sometimes the contrary."""

from __future__ import annotations

from random import Random

CONTRARY = 0.08  # share of the feeling comments that contradict the picture
NOISE = 0.2

_ByLanguage = dict[str, tuple[str, ...]]
_SMILE = ("", "", "", " \U0001f600", " \U0001f60a", " :-)", " \u2764\ufe0f")
_TEARS = ("", "", "", " \U0001f622", " \U0001f61e", " :-(", " \U0001f494")
_SHRUG = ("", "", "", "", " \U0001f610")
_STRONG: _ByLanguage = {
    "en": ("so", "really", "very", "absolutely", "truly"),
    "de": ("so", "wirklich", "sehr"),
}

_GOOD: _ByLanguage = {
    "en": ("lovely", "cheerful", "happy", "delightful", "charming", "joyful", "wonderful"),
    "de": ("schön", "fröhlich", "heiter", "bezaubernd", "herrlich", "liebenswert"),
}
_BAD: _ByLanguage = {
    "en": ("sad", "gloomy", "miserable", "depressing", "dreary", "unhappy", "heartbreaking"),
    "de": ("traurig", "düster", "trostlos", "bedrückend", "unglücklich", "jämmerlich"),
}

_POSITIVE: _ByLanguage = {
    "en": (
        "{strong} {good}!",
        "what a {good} picture",
        "This makes me smile every time.",
        "I love this one",
        "not {bad} at all, it made my day",
        "Never seen anything so {good}.",
        "could not be more {good}",
        "I was down this morning, now I feel great",
        "There is nothing {bad} about it, just {good}!",
        "One look and I am happy again",
        "{strong} {good}, thank you for sharing",
        "Such a {good} mood, I cannot stop smiling",
    ),
    "de": (
        "{strong} {good}!",
        "Das bringt mich jedes Mal zum Lächeln.",
        "Ich liebe dieses Bild",
        "gar nicht {bad}, im Gegenteil",
        "Selten war etwas so {good}.",
        "Das hat meinen Tag gerettet",
        "Wie {good} ist das denn!",
        "Da bekommt man gleich gute Laune",
        "{strong} {good}, danke fürs Zeigen",
        "kein bisschen {bad}, einfach {good}",
    ),
}
_NEGATIVE: _ByLanguage = {
    "en": (
        "{strong} {bad}",
        "what a {bad} picture",
        "This makes me want to cry.",
        "not {good} at all",
        "hardly {good}, I feel sorry for them",
        "I do not like this mood, it is {strong} {bad}",
        "Poor thing, looks {bad}",
        "far from {good}",
        "Never seen anything so {bad}.",
        "It used to be {good}, now it is just {bad}",
        "cannot look at it without tears",
        "{strong} {bad}, it ruined my evening",
    ),
    "de": (
        "{strong} {bad}",
        "Da kommen mir die Tränen.",
        "überhaupt nicht {good}",
        "kaum {good}, das tut mir leid",
        "Mir gefällt die Stimmung nicht, {strong} {bad}",
        "Ach je, das wirkt {bad}",
        "alles andere als {good}",
        "Selten war etwas so {bad}.",
        "{strong} {bad}, das zieht mich runter",
        "nicht {good}, nur {bad}",
    ),
}
_NEUTRAL: _ByLanguage = {
    "en": (
        "neither happy nor sad",
        "an ordinary picture",
        "It is okay, nothing special.",
        "No strong feelings about this one",
        "neat and plain, that is all",
        "not bad, not good",
        "It is what it is.",
        "Fine for a catalogue",
    ),
    "de": (
        "weder fröhlich noch traurig",
        "ein gewöhnliches Bild",
        "Ganz okay, nichts Besonderes.",
        "Dazu habe ich keine Meinung",
        "sachlich und schlicht",
        "nicht schlecht, nicht gut",
        "Es ist, wie es ist.",
        "Reicht für einen Katalog",
    ),
}
_NOISE: _ByLanguage = {
    "en": (
        "First!",
        "Which camera was this?",
        "Please update the link on page two",
        "see also my own pages",
        "Is the gallery open on Sunday?",
        "asdf",
        "+1",
        "Who took it?",
    ),
    "de": (
        "Erster!",
        "Welche Kamera war das?",
        "Der Link auf Seite zwei geht nicht",
        "siehe auch meine Seiten",
        "Ist die Galerie am Sonntag offen?",
        "test",
        "+1",
        "Wer hat das aufgenommen?",
    ),
}
_FORMS = {
    "positive": _POSITIVE,
    "negative": _NEGATIVE,
    "neutral": _NEUTRAL,
}
_FACES = {"positive": _SMILE, "negative": _TEARS, "neutral": _SHRUG}
AUTHORS = ("Anna", "Ben", "Chloe", "Dieter", "Emma", "Farid", "Greta", "Henry", "Ines", "Jonas")


def feeling(sentiment: str, lang: str, draw: Random) -> str:
    """One comment that carries a feeling: positive, negative or neutral."""
    text = draw.choice(_FORMS[sentiment][lang]).format(
        strong=draw.choice(_STRONG[lang]),
        good=draw.choice(_GOOD[lang]),
        bad=draw.choice(_BAD[lang]),
    )
    if draw.random() < 0.5:
        text = text[:1].upper() + text[1:]
    return text + draw.choice(_FACES[sentiment])


def _contrary(sentiment: str, draw: Random) -> str:
    others = {"positive": ("negative",), "negative": ("positive",)}
    return draw.choice(others.get(sentiment, ("positive", "negative")))


def comments(sentiment: str, lang: str, draw: Random) -> list[str]:
    """Up to three comments on a picture of the given sentiment; a quarter have none."""
    texts = []
    for _ in range(draw.choices((0, 1, 2, 3), (25, 30, 30, 15))[0]):
        if draw.random() < NOISE:
            texts.append(draw.choice(_NOISE[lang]))
        elif draw.random() < CONTRARY:
            texts.append(feeling(_contrary(sentiment, draw), lang, draw))
        else:
            texts.append(feeling(sentiment, lang, draw))
    return texts
