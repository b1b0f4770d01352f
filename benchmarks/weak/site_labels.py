"""Labels of the sample site, whose truth is known: the label model, majority vote, Snorkel.

    python benchmarks/weak/site_labels.py --snorkel VENV/bin/python --seeds 11 12 13

All sides get the votes of the built-in labeling functions. Every item with a vote is answered;
coverage, accuracy and calibration error of the last column are those of the labels that the stage
would write. Snorkel's matrix has one vote a function (its strongest) and, for things and tags, "no"
where a function speaks of the image and not of this.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.weak.label_model import ask
from benchmarks.weak.site_votes import site_votes, true_answer
from mmcore.samplesite import SiteConfig
from mmcore.samplesite.scenes import COLOURS, SHAPES
from mmcore.weak.captions import CAPTION_ROLES
from mmcore.weak.evidence import Evidence
from mmcore.weak.label_model_captions import caption_beliefs
from mmcore.weak.label_model_fit import fit_all, label
from mmcore.weak.label_model_patterns import GOLD, count_patterns
from mmcore.weak.pairs import Given, choose_captions
from mmcore.weak.votes import combine

_LEAST = 0.6  # the stage's min_share
_BINARY = ("tag", "fact/exists")


def kind_of(row: dict[str, Any]) -> str:
    """`tag`, `sentiment`, `fact/colour`, …"""
    return f"fact/{row['slot'].split('|')[0]}" if row["task"] == "fact" else row["task"]


def items_of(votes: pa.Table, known: list[dict[str, Any]]) -> dict[str, dict[tuple, dict]]:
    """Per kind and (image, task, slot): the `truth`, and the strongest vote of each `source`."""
    kinds: dict[str, dict[tuple, dict]] = {}
    for row in votes.sort_by([("weight", "descending"), ("value", "ascending")]).to_pylist():
        truth = true_answer(row["task"], row["slot"], known[row["image"]])
        if truth is None:
            continue
        key = row["image"], row["task"], row["slot"]
        item = kinds.setdefault(kind_of(row), {}).setdefault(key, {"truth": truth, "said": {}})
        item["said"].setdefault(row["source"], row["value"])
    return kinds


def answers_of(
    labels: pa.Table, items: dict[tuple, dict], values: list[str], binary: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(number of the answer, confidence) of each item, -1 and 0 where there is none.

    Of an item with several labels the surest counts. binary: a "yes" below one half is a "no".
    """
    found = {
        (r["image"], r["task"], r["slot"]): r
        for r in labels.sort_by([("confidence", "ascending")]).to_pylist()
    }
    answer, sure = np.full(len(items), -1), np.zeros(len(items))
    for i, key in enumerate(items):
        if key in found:
            answer[i], sure[i] = values.index(found[key]["value"]), found[key]["confidence"]
            if binary and sure[i] < 0.5:
                answer[i], sure[i] = values.index("no"), 1 - sure[i]
    return answer, sure


def score(answer: np.ndarray, sure: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Accuracy, and expected calibration error of the confidences in 15 even bins."""
    right = answer == truth
    gap = np.bincount(np.minimum((sure * 15).astype(int), 14), sure - right, minlength=15)
    return float(right.mean()), float(np.abs(gap).sum() / len(truth))


def write_matrix(
    file: Path, votes: pa.Table, items: dict[tuple, dict], values: list[str], binary: bool
) -> None:
    """Snorkel's label matrix of one kind."""
    sources = sorted({s for item in items.values() for s in item["said"]})
    speaks = {(r["image"], r["source"]) for r in votes.to_pylist()}
    matrix = np.full((len(items), max(len(sources), 3)), -1)
    for i, (key, item) in enumerate(items.items()):
        for j, source in enumerate(sources):
            if source in item["said"]:
                said = item["said"][source]
                matrix[i, j] = values.index(said) if said in values else -1
            elif binary and (key[0], source) in speaks:
                matrix[i, j] = values.index("no")
    balance = [1 / len(values)] * len(values)
    np.savez(file, matrix=matrix, classes=len(values), balance=balance)


def snorkel_answers(
    python: str, votes: pa.Table, kinds: dict[str, tuple]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(answer, confidence) of Snorkel's model per kind; kinds: (items, values, binary)."""
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for number, (kind, what) in enumerate(kinds.items()):
            mine = votes.filter(pc.equal(votes["task"], kind.split("/")[0]))
            write_matrix(work / f"{number}.votes.npz", mine, *what)
        ask("snorkel", python, work, 0)
        for number, kind in enumerate(kinds):
            found = np.load(work / f"{number}.snorkel.npy")
            out[kind] = found.argmax(1), found.max(1)
    return out


def values_of(items: dict[tuple, dict], binary: bool) -> list[str]:
    """All answers that are true or voted for, but "?"."""
    said = {v for item in items.values() for v in (item["truth"], *item["said"].values())}
    return sorted((said - {"?"}) | ({"no", "yes"} if binary else set()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snorkel", help="python of a virtual environment with snorkel==0.10.0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--images", type=int, default=240)
    args = parser.parse_args()
    scores: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for seed in args.seeds:
        votes, evidence, known = site_votes(SiteConfig(seed=seed, images=args.images))
        votes = votes.filter(pc.not_equal(votes["slot"], "background"))
        models = fit_all(count_patterns(votes, GOLD.empty_table()))
        ours, written = label(votes, models, 0.0), label(votes, models, _LEAST)
        kinds = {
            kind: (items, values_of(items, kind in _BINARY), kind in _BINARY)
            for kind, items in sorted(items_of(votes, known).items())
        }
        theirs = snorkel_answers(args.snorkel, votes, kinds) if args.snorkel else {}
        for kind, (items, values, binary) in kinds.items():
            truth = np.array([values.index(item["truth"]) for item in items.values()])
            sides = {
                "ours": answers_of(ours, items, values, binary),
                "majority": answers_of(combine(votes, 0.0), items, values, binary),
            }
            if theirs:
                sides["snorkel"] = theirs[kind]
            for side, (answer, sure) in sides.items():
                scores.setdefault((kind, side), []).append(score(answer, sure, truth))
            answer, sure = answers_of(written, items, values, False)
            kept = answer >= 0
            found = score(answer[kept], sure[kept], truth[kept])
            scores.setdefault((kind, "written"), []).append((kept.mean(), *found, len(items)))
        captions = caption_scores(votes, evidence, known, models)
        for side, pair in captions.items():
            scores.setdefault(("caption", side), []).append(pair)
    report(scores)


def caption_scores(
    votes: pa.Table, evidence: Evidence, known: list[dict[str, Any]], models: dict[str, Any]
) -> dict[str, tuple[float, ...]]:
    """Of the captions chosen with the label model, and by role, agreement and length alone.

    English ones, which are right if they name no shape and no colour that the picture lacks.
    """
    found: dict[str, tuple[float, ...]] = {}
    given = Given.flatten([])
    belief = caption_beliefs(votes, evidence, models)
    for side, heard in (("ours", belief), ("majority", None)):
        chosen = choose_captions(evidence, given, CAPTION_ROLES, None, heard)
        image = chosen["image"].to_numpy()
        first = chosen.filter(pa.array(np.diff(image, prepend=-1) != 0))
        first = first.filter(pc.equal(first["lang"], "en"))
        right = np.array(
            [
                fits(row["text"], json.loads(known[row["image"]]["shows"]))
                for row in first.to_pylist()
            ]
        )
        sure = first["confidence"].to_numpy()
        found[side] = score(np.ones(len(right)), sure, right.astype(int))
        if side == "ours":
            found["written"] = (1.0, *found[side], len(right))
    return found


def fits(caption: str, scene: dict[str, Any]) -> bool:
    """Whether a caption names no shape and no colour that the picture lacks."""
    words = set(re.findall(r"[a-z]+", caption.lower()))
    things = [t for t in (scene["main"], scene["companion"]) if t]
    shapes = {t["shape"] for t in things}
    colours = {t["colour"] for t in things} | {scene["background"]}
    named = {s for s in SHAPES if words & {s, f"{s}s", f"{s}es"}}
    return named <= shapes and (words & set(COLOURS)) <= colours


def report(scores: dict[tuple[str, str], list[tuple[float, ...]]]) -> None:
    """Accuracy (calibration error) of each side, the mean over seeds."""
    sides = [s for s in ("ours", "majority", "snorkel") if any(k[1] == s for k in scores)]
    print(
        "| task | items | " + " | ".join(sides) + " | labels written: coverage, accuracy, error |"
    )
    print("|---|---|" + "---|" * (len(sides) + 1))
    for kind in dict.fromkeys(k[0] for k in scores):
        cells = []
        for side in sides:
            if (kind, side) not in scores:
                cells.append("")
                continue
            right, error = (statistics.mean(c) for c in zip(*scores[kind, side], strict=True))
            cells.append(f"{right:.4f} ({error:.3f})")
        each = zip(*scores[kind, "written"], strict=True)
        share, right, error, number = (statistics.mean(c) for c in each)
        cells.append(f"{share:.3f}, {right:.4f}, {error:.3f}")
        print(f"| {kind} | {number:.0f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
