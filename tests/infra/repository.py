"""Where the repository's files are, and how a test breaks a copy of one."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"


def read(path: str) -> str:
    """Text of a file, given relative to the repository's root."""
    return (ROOT / path).read_text(encoding="utf-8")


def tool(name: str) -> str:
    """A program that pip installed beside this Python."""
    return str(Path(sys.executable).parent / name)


def broken(text: str, old: str, new: str) -> str:
    """The text with one thing changed; the thing must be there, or the test would prove nothing."""
    assert old in text, f"{old!r} is not in the file: the test's mutation is out of date"
    return text.replace(old, new)
