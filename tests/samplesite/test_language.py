"""What pages, questions and comments say is right in both languages."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from mmcore.samplesite import Face, Group, SiteConfig, english, german, scenes
from mmcore.samplesite.comments import CONTRARY, comments, feeling
from mmcore.samplesite.questions import questions, tags
from mmcore.samplesite.scenes import MOODS, Scene


def _scene(main: Group, companion: Group | None = None, face: Face | None = None) -> Scene:
    return Scene("s00000", 0, main, companion, face, "white", 240, 240, "jpeg", 1)


SCENES = scenes(SiteConfig(seed=5, images=600))
CIRCLES = Group("circle", "red", 2, "large", "striped", "left")


@pytest.mark.parametrize(
    ("group", "case", "phrase"),
    [
        (CIRCLES, "nominative", "zwei große rote gestreifte Kreise"),
        (CIRCLES, "dative", "zwei großen roten gestreiften Kreisen"),
        (
            Group("star", "yellow", 1, "small", "plain", "top"),
            "nominative",
            "ein kleiner gelber einfarbiger Stern",
        ),
        (
            Group("star", "blue", 1, "small", "dotted", "top"),
            "accusative",
            "einen kleinen blauen gepunkteten Stern",
        ),
        (
            Group("heart", "pink", 1, "large", "plain", "top"),
            "accusative",
            "ein großes rosafarbenes einfarbiges Herz",
        ),
        (Group("diamond", "green", 1, "", "plain", "top"), "nominative", "eine grüne Raute"),
        (Group("diamond", "green", 1, "", "plain", "top"), "dative", "einer grünen Raute"),
        (Group("cross", "purple", 4, "", "plain", "top"), "dative", "vier violetten Kreuzen"),
        (Group("heart", "black", 3, "", "plain", "top"), "nominative", "drei schwarze Herzen"),
    ],
)
def test_german_phrases_are_inflected(group: Group, case: str, phrase: str) -> None:
    assert german.thing(group).say(case) == phrase


def test_german_captions_read_as_german() -> None:
    scene = _scene(CIRCLES, face=Face("sad", "right"))
    assert german.canonical(scene) == (
        "zwei große rote gestreifte Kreise links und ein trauriges Gesicht rechts, "
        "vor weißem Hintergrund"
    )
    said = {german.caption(scene, Random(i)) for i in range(200)}
    assert any("mit einem traurigen Gesicht rechts" in text for text in said)
    assert len(said) > 40


def test_english_captions_name_everything() -> None:
    scene = _scene(CIRCLES, companion=Group("cross", "orange", 1, "", "plain", "right"))
    assert english.canonical(scene) == (
        "two large striped red circles on the left and an orange cross on the right, "
        "on a white background"
    )
    for i in range(200):
        text = english.caption(scene, Random(i)).lower()
        for word in ("two", "large", "strip", "red", "circles", "left", "an orange cross", "right"):
            assert word in text


def test_alt_texts_say_less_than_captions() -> None:
    shown = SCENES
    draw = Random(1)
    for voice in (english, german):
        alts = sum(len(voice.alt(scene, draw)) for scene in shown)
        captions = sum(len(voice.caption(scene, draw)) for scene in shown)
        assert alts < 0.8 * captions


def test_a_question_has_one_answer_and_names_one_group() -> None:
    for scene in SCENES:
        pairs = questions(scene)
        assert len({question for question, _ in pairs}) == len(pairs)
        for group in scene.groups:
            name = english.noun(group)
            for question, answer in pairs:
                if "colour" in question and name in question.replace("?", "").split():
                    assert answer == group.colour
                if question.startswith("how many") and english.plural(group.shape) in question:
                    assert answer == str(group.count)
        assert all(answer == answer.lower() and answer for _, answer in pairs)
        assert not (scene.face and len(scene.groups) > 1)


def test_yes_and_no_are_balanced_for_every_kind_of_question() -> None:
    for scene in SCENES:
        answers = Counter(
            answer
            for question, answer in questions(scene)
            if answer in ("yes", "no") and "face" not in question
        )
        assert answers == {"yes": 2, "no": 2}
    faces = [bool(scene.face) for scene in SCENES]
    assert 0.38 < sum(faces) / len(faces) < 0.52


def test_tags_name_shapes_colours_texture_and_mood() -> None:
    assert tags(_scene(CIRCLES, face=Face("happy", "right"))) == [
        "circle",
        "red",
        "striped",
        "large",
        "face",
        "happy",
    ]


def test_moods_and_seconds_come_in_the_planned_shares() -> None:
    shown = SCENES
    moods = Counter(scene.face.mood for scene in shown if scene.face)
    assert set(moods) == set(MOODS)
    assert moods["happy"] > 80 and moods["sad"] > 80 and moods["neutral"] > 35
    assert 0.28 < sum(scene.companion is not None for scene in shown) / 600 < 0.42


@pytest.mark.parametrize("lang", ["en", "de"])
def test_comments_mostly_carry_the_feeling_of_the_picture(lang: str) -> None:
    def could_say(sentiment: str) -> set[str]:
        return {feeling(sentiment, lang, Random(i)) for i in range(20000)}

    good, bad = could_say("positive"), could_say("negative")
    draw = Random(9)
    said = [text for _ in range(800) for text in comments("positive", lang, draw)]
    right = sum(text in good for text in said)
    contrary = sum(text in bad for text in said)
    assert right > 5 * contrary
    assert 0.5 * CONTRARY < contrary / (right + contrary) < 1.6 * CONTRARY
    assert len(said) - right - contrary > 0.1 * len(said)  # noise
