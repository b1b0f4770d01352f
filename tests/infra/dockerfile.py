"""Checks of a Dockerfile: hadolint's rules, and this project's own."""

from __future__ import annotations

import io
import json
import re
import subprocess
from dataclasses import dataclass, field

from docker.utils.build import PatternMatcher
from dockerfile_parse import DockerfileParser

from tests.infra.repository import ROOT, read, tool

_PINNED = re.compile(r"^[\w./-]+(:\d+\.\d+\.\d+[\w.-]*)(@sha256:[0-9a-f]{64})?$")


@dataclass
class Stage:
    """One FROM and what follows it; `parent` is an image or an earlier stage's name."""

    name: str
    parent: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str | None:
        """Value of the last step of this kind."""
        values = [value for kind, value in self.steps if kind == instruction]
        return values[-1] if values else None


def stages(text: str) -> dict[str, Stage]:
    """Stages by name, in order."""
    # dockerfile-parse writes into the file object it is given.
    parser = DockerfileParser(fileobj=io.BytesIO(text.encode()))
    found: dict[str, Stage] = {}
    current: Stage | None = None
    for step in parser.structure:
        if step["instruction"] == "COMMENT":
            continue
        if step["instruction"] == "FROM":
            parent, _, name = (part.strip() for part in re.split(r"(\s+AS\s+)", step["value"]))
            current = found[name] = Stage(name, parent)
        elif current is not None:
            current.steps.append((step["instruction"], step["value"]))
    return found


def inherited(name: str, instruction: str, known: dict[str, Stage]) -> str | None:
    """What a stage's image has for an instruction, its own or its nearest ancestor's."""
    stage = known.get(name)
    if stage is None:
        return None
    return stage.last(instruction) or inherited(stage.parent, instruction, known)


def lint(text: str) -> list[str]:
    """What hadolint says of the Dockerfile."""
    answer = subprocess.run(
        [tool("hadolint"), "--no-color", "--format", "json", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.stderr:
        return [answer.stderr]
    return [f"line {e['line']}: {e['code']} {e['message']}" for e in json.loads(answer.stdout)]


def policy(text: str, targets: set[str]) -> list[str]:
    """This project's rules; `targets` are the stages that images are made of."""
    known = stages(text)
    problems = [f"{target}: no such stage" for target in sorted(targets - set(known))]
    for stage in known.values():
        if stage.parent not in known and not _PINNED.match(stage.parent):
            problems.append(f"{stage.name}: FROM {stage.parent} is not pinned to a patch version")
        problems += _copies(stage) + _pip(stage)
    for target in sorted(targets & set(known)):
        user = inherited(target, "USER", known)
        if user is None or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", user):
            problems.append(f"{target}: runs as {user or 'root'}, not as a numeric non-root user")
        if inherited(target, "HEALTHCHECK", known) is None:
            problems.append(f"{target}: has no HEALTHCHECK")
        if not (inherited(target, "CMD", known) or "").startswith("["):
            problems.append(f"{target}: CMD is not in the exec form")
    return problems


def _copies(stage: Stage) -> list[str]:
    """COPY sources that the repository lacks or .dockerignore keeps out."""
    context = PatternMatcher(ignore_patterns(read(".dockerignore")))
    problems = []
    for kind, value in stage.steps:
        if kind not in {"COPY", "ADD"} or value.startswith("--from="):
            continue
        for source in value.split()[:-1]:
            if not (ROOT / source).exists():
                problems.append(f"{stage.name}: {kind} {source}: there is no such file")
            elif context.matches(source):
                problems.append(f"{stage.name}: {kind} {source}: .dockerignore keeps it out")
    return problems


def _pip(stage: Stage) -> list[str]:
    """pip installs that constraints.txt does not decide."""
    return [
        f"{stage.name}: pip install without constraints.txt"
        for kind, value in stage.steps
        if kind == "RUN"
        for command in value.split("&&")
        if "pip install" in command
        and "--constraint constraints.txt" not in command
        and "--no-deps" not in command
    ]


def ignore_patterns(text: str) -> list[str]:
    """Patterns of a .dockerignore, comments left out."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
