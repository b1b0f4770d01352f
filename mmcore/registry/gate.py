"""The gate: whether the evidence is good enough to make a candidate the champion."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mmcore.errors import UserError


class Gate(BaseModel):
    """What a candidate must show before it becomes the champion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beat_blind: Literal["proven", "higher", "off"] = Field(
        "proven",
        description="Against guessing without the image: proven = the 95 % interval of the "
        "difference lies above blind_margin; higher = the score is higher; off = not asked.",
    )
    blind_margin: float = Field(0.0, ge=0, description="How far above the blind guess.")
    min_images: int = Field(
        20, ge=1, description="Tasks with fewer test images are reported but not judged."
    )
    champion_tolerance: float = Field(
        0.02,
        ge=0,
        description="A score more than this below the champion's refuses, if the 95 % interval "
        "also lies below zero.",
    )
    minima: dict[str, float] = Field(
        default_factory=dict,
        description="Least scores, e.g. {retrieval.text_to_image.r@1: 0.5, vqa.accuracy: 0.8}.",
    )


@dataclass(frozen=True)
class Finding:
    """One condition of the gate on one task, and whether it holds."""

    task: str
    passed: bool
    message: str


@dataclass(frozen=True)
class Decision:
    """Whether the gate is passed; `findings` says every condition that was looked at."""

    passed: bool
    findings: tuple[Finding, ...]

    @property
    def reasons(self) -> list[str]:
        """Why it was refused, one sentence each; empty where it passed."""
        return [finding.message for finding in self.findings if not finding.passed]

    def to_dict(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "findings": [
                {"task": f.task, "passed": f.passed, "message": f.message} for f in self.findings
            ],
        }


def decide(scores: Mapping[str, Any], gate: Gate) -> Decision:
    """Judge the `scores.json` of an evaluation.

    Every task with enough images must beat its blind baseline and must not be clearly worse than
    the champion on the same images; named scores must reach their minima; at least one task must
    have been judged. Where some task has gold or annotated labels, tasks that only have weak ones
    are not judged: nobody has checked what they are compared with. Without a champion there is
    nothing to compare with.
    """
    tasks = scores["tasks"]
    findings: list[Finding] = []
    judged = 0
    checked = any(_is_checked(entry, gate) for entry in tasks.values())
    for task, entry in tasks.items():
        if entry["images"] < gate.min_images:
            message = f"{task}: not judged, {entry['images']} images are fewer than gate.min_images"
            findings.append(Finding(task, True, f"{message} = {gate.min_images}."))
            continue
        if checked and not _is_checked(entry, gate):
            message = f"{task}: not judged, its labels are weak and other tasks have checked ones."
            findings.append(Finding(task, True, message))
            continue
        judged += 1
        findings += _against_blind(task, entry, gate)
        findings += _against_champion(task, entry, gate)
    if not judged:
        message = f"No task has {gate.min_images} test images: lower gate.min_images or add data."
        findings.append(Finding("all", False, message))
    findings += [_minimum(name, least, tasks) for name, least in sorted(gate.minima.items())]
    return Decision(all(finding.passed for finding in findings), tuple(findings))


def _is_checked(entry: Mapping[str, Any], gate: Gate) -> bool:
    return entry["labels"] != "weak" and entry["images"] >= gate.min_images


def _against_blind(task: str, entry: Mapping[str, Any], gate: Gate) -> Iterator[Finding]:
    if gate.beat_blind == "off":
        return
    metric, blind = entry["primary"], entry["blind"]
    difference = blind["difference"][metric]
    proof = difference["low"] if gate.beat_blind == "proven" else difference["value"]
    passed = _finite(proof) and proof > gate.blind_margin
    verb = "is above" if passed else "is not clearly above"
    yield Finding(
        task,
        passed,
        f"{task}: {metric} {_shown(entry['metrics'][metric]['value'])} {verb} "
        f"{_shown(blind['metrics'][metric])} without looking ({blind['name']}); difference "
        f"{_interval(difference)}.",
    )


def _against_champion(task: str, entry: Mapping[str, Any], gate: Gate) -> Iterator[Finding]:
    champion = entry["champion"]
    if champion is None:
        return
    metric = entry["primary"]
    difference = champion["difference"][metric]
    value, high = difference["value"], difference["high"]
    comparable = _finite(value) and _finite(high)
    worse = not comparable or (value < -gate.champion_tolerance and high < 0)
    verb = "is worse than" if worse else "holds against"
    yield Finding(
        task,
        not worse,
        f"{task}: {metric} {_shown(entry['metrics'][metric]['value'])} {verb} the champion's "
        f"{_shown(champion['metrics'][metric])} on the same images; difference "
        f"{_interval(difference)}.",
    )


def _minimum(name: str, least: float, tasks: Mapping[str, Any]) -> Finding:
    task, _, metric = name.partition(".")
    known = tasks.get(task, {}).get("metrics", {})
    if task in tasks and metric not in known:
        listed = ", ".join(f"{task}.{key}" for key in known)
        raise UserError(f"gate.minima names {name}, which is no score: choose from {listed}.")
    value = known.get(metric, {}).get("value")
    passed = value is not None and _finite(value) and value >= least
    return Finding(task, passed, f"{name} is {_shown(value)}, at least {least:g} is asked for.")


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value:.3f}"


def _interval(difference: Mapping[str, float | None]) -> str:
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "unknown"
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
