"""Compares weak labels with the sample site's truth.

The truth table lists some questions per picture; weak labels ask others too. So an answer is judged
by what the picture shows, read from the question's own words.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

POSITIONS = ("left", "right", "top", "bottom", "centre")
MOODS = ("happy", "sad", "neutral")


def judge(
    pairs: list[dict[str, Any]], truth: dict[str, dict[str, Any]], verbose: bool = False
) -> dict[str, float]:
    """Shares of right labels and of covered images, by task. `truth` is keyed by sha256."""
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    covered: Counter[str] = Counter()
    for row in pairs:
        known = truth[row["sha256"]]
        scene = json.loads(known["shows"])
        for question in row["qa"]:
            if question["lang"] != "en":
                continue
            answer = expected(question["question"], scene)
            good = answer == question["answer"]
            for name in ("qa", f"qa_{question['type']}"):
                asked[name] += 1
                right[name] += good
            if verbose and not good and shown[question["type"]] < 6:
                shown[question["type"]] += 1
                print("WRONG", question, "expected", answer, known["captions"][0])
        tags = {tag["tag"] for tag in row["tags"]}
        asked["tags_precision"] += len(tags)
        right["tags_precision"] += len(tags & set(known["tags"]))
        asked["tags_recall"] += len(known["tags"])
        right["tags_recall"] += len(tags & set(known["tags"]))
        if verbose and tags - set(known["tags"]) and shown["tags"] < 8:
            shown["tags"] += 1
            print("TAGS", tags - set(known["tags"]), known["captions"][0])
        if row["sentiment"] is not None and row["sentiment"]["confidence"] >= 0.35:
            covered["sentiment"] += 1
            asked["sentiment"] += 1
            right["sentiment"] += row["sentiment"]["label"] == known["sentiment"]
            if verbose and row["sentiment"]["label"] != known["sentiment"] and shown["s"] < 8:
                shown["s"] += 1
                print("FEEL", row["sentiment"], known["sentiment"], known["captions"][0])
        covered["caption"] += row["caption"] is not None
        covered["qa"] += bool(row["qa"])
        covered["tags"] += bool(row["tags"])
        if row["caption"] is not None and row["caption"]["lang"] == "en":
            asked["caption"] += 1
            right["caption"] += fits(row["caption"]["text"], scene)
            if verbose and not fits(row["caption"]["text"], scene) and shown["c"] < 8:
                shown["c"] += 1
                print("CAPTION", row["captions"], known["captions"][0])
    out = {name: round(right[name] / asked[name], 4) for name in sorted(asked)}
    out |= {f"{name}_coverage": round(covered[name] / len(pairs), 4) for name in sorted(covered)}
    return out | {f"{name}_number": asked[name] for name in sorted(asked) if name.startswith("qa")}


def groups(scene: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups of shapes of a scene."""
    return [group for group in (scene["main"], scene["companion"]) if group]


def fits(caption: str, scene: dict[str, Any]) -> bool:
    """Whether the caption names no shape and no colour that the picture lacks."""
    words = set(re.findall(r"[a-z]+", caption.lower()))
    shapes = {shape for shape in SHAPES if words & {shape, f"{shape}s", f"{shape}es"}}
    colours = words & set(COLOURS)
    return shapes <= {g["shape"] for g in groups(scene)} and colours <= {
        *(g["colour"] for g in groups(scene)),
        scene["background"],
    }


SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "black")
BACKGROUNDS = ("white", "grey", "beige", "mint", "lavender")


def expected(question: str, scene: dict[str, Any]) -> str | None:
    """The right answer to an English question about a scene, None if it cannot be answered."""
    words = re.findall(r"[a-z]+", question.lower())
    about = next((g for g in groups(scene) if _names(words, g["shape"])), None)
    face = scene["face"] if {"face", "faces"} & set(words) else None
    if words[:1] == ["how"] and words[1] == "many":
        return str(about["count"]) if about else ("1" if face else None)
    if words[0] == "where" or words[:4] == ["in", "which", "part", "of"]:
        place = about or face
        return place["position"] if place else None
    if words[0] in ("is", "are", "does", "do", "can") and _yes_or_no(words):
        return _is_there(words, scene)
    if set(words) & {"mood", "feel"} or (words[0] == "how" and "look" in words):
        return face["mood"] if face else None
    if "colour" in words or "color" in words:
        return scene["background"] if "background" in words else (about or {}).get("colour")
    if set(words) & {"pattern", "texture", "striped"}:
        return (about or {}).get("texture") or None
    if set(words) & {"small", "size", "big"}:
        return (about or {}).get("size") or None
    return _what_is(words, scene)


def _names(words: list[str], noun: str) -> bool:
    return bool({noun, f"{noun}s", f"{noun}es"} & set(words))


def _yes_or_no(words: list[str]) -> bool:
    return "or" not in words


def _is_there(words: list[str], scene: dict[str, Any]) -> str:
    if "face" in words:
        moods = [m for m in MOODS if m in words]
        there = scene["face"] and (not moods or scene["face"]["mood"] in moods)
        return "yes" if there else "no"
    colours = [c for c in (*COLOURS, *BACKGROUNDS) if c in words]
    found = [
        g
        for g in groups(scene)
        if _names(words, g["shape"]) and (not colours or g["colour"] in colours)
    ]
    return "yes" if found else "no"


def _what_is(words: list[str], scene: dict[str, Any]) -> str | None:
    place = next((p for p in POSITIONS if p in words), None)
    at = [g["shape"] for g in groups(scene) if g["position"] == place]
    if scene["face"] and scene["face"]["position"] == place:
        at.append("face")
    return at[0] if len(at) == 1 else None
