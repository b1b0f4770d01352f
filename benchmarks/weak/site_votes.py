"""The votes that labeling functions give on the sample site, and which answers are true."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import numpy as np
import pyarrow as pa

from mmcore.samplesite import SiteConfig, occurrence_truth, truth
from mmcore.weak.evidence import TEXTS, Evidence, gather
from mmcore.weak.functions import WITHOUT_CHAMPION, vote_all
from mmcore.weak.vocabulary import Vocabulary, count, merge

_ROLES = ("alt", "title", "caption", "context", "heading")
_CAPTIONS = ("alt", "title", "caption")
_NO_TEXT = ("image", "photo", "picture", "img", "dsc", "bild", "foto")


def site_evidence(site: SiteConfig) -> tuple[Evidence, list[dict[str, Any]]]:
    """What the pages say about each picture that is shown, and the truth about it, by image."""
    known = {r["scene"]: r for r in truth(site, "http://site").to_pylist() if r["scene"]}
    shown: OrderedDict[str, list[tuple[str, str]]] = OrderedDict()
    for row in occurrence_truth(site, "http://site").to_pylist():
        if row["scene"] in known:
            said = [(role, row[role]) for role in _ROLES if row[role]]
            said += [("comment", comment) for comment in row["comments"] or []]
            shown.setdefault(row["scene"], []).extend(t for t in said if not _empty(t[1]))
    rows = [
        (image, role, text, None, 1, 0.0, None if role in _CAPTIONS else f"http://site/{image}")
        for image, said in enumerate(shown.values())
        for role, text in dict.fromkeys(said)
    ]
    columns = list(zip(*rows, strict=True))
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, TEXTS, strict=True)], TEXTS)
    near = np.array([row[6] is not None for row in rows])
    evidence = gather(table.filter(pa.array(~near)), table.filter(pa.array(near)), len(shown))
    return evidence, [known[scene] for scene in shown]


def _empty(text: str) -> bool:
    return text.split(".")[0].rstrip("0123456789_").lower() in _NO_TEXT


def site_votes(site: SiteConfig) -> tuple[pa.Table, Evidence, list[dict[str, Any]]]:
    """`VOTES` of the built-in functions, the evidence, and the truth."""
    evidence, known = site_evidence(site)
    vocabulary: Vocabulary = merge([count(evidence)])
    return vote_all(evidence, vocabulary, WITHOUT_CHAMPION), evidence, known


def true_answer(task: str, slot: str, known: dict[str, Any]) -> str | None:
    """What is true of a slot of an image, None where the picture cannot tell."""
    if task == "sentiment":
        return str(known["sentiment"])
    if task == "tag":
        return "yes" if slot in known["tags"] else "no"
    scene = json.loads(known["shows"])
    fact, _, key = slot.partition("|")
    things = {g["shape"]: g for g in (scene["main"], scene["companion"]) if g}
    if scene["face"]:
        things["face"] = {"count": 1, **scene["face"]}
    if key == "background":
        return scene["background"] if fact == "colour" else None
    thing = things.get(key)
    if fact == "exists":
        return "yes" if thing else "no"
    if thing is None:
        return None
    if fact == "plural":
        return "many" if thing["count"] > 1 else "one"
    value = thing.get(fact)
    return None if value is None else str(value)
