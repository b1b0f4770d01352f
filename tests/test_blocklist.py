"""The list of what must never be stored: read strictly, asked by file and by look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmcore.blocklist import Blocklist, read_blocklist
from mmcore.errors import UserError

FILE, OTHER = "ab" * 32, "cd" * 32


def _list(tmp_path: Path, text: str) -> Blocklist:
    path = tmp_path / "blocked.txt"
    path.write_text(text, encoding="utf-8")
    return read_blocklist(str(path))


def test_both_kinds_of_hashes_and_comments_are_read(tmp_path: Path) -> None:
    blocked = _list(tmp_path, f"# a list\n{FILE.upper()}  # a file\n\n00000000000000ff\n")
    assert blocked.has(FILE) and not blocked.has(OTHER)
    assert blocked.has_each(pa.array([OTHER, FILE])).to_pylist() == [False, True]
    assert blocked.phashes == (255,)


def test_a_hash_within_the_radius_is_near(tmp_path: Path) -> None:
    blocked = _list(tmp_path, "00000000000000ff\nffffffffffffffff\n")
    hashes = np.array([0xFF, 0xFE, 0xF0, 0x0F00, 2**64 - 2], dtype=np.uint64)
    assert blocked.near(hashes, 0).tolist() == [True, False, False, False, False]
    assert blocked.near(hashes, 1).tolist() == [True, True, False, False, True]
    assert blocked.near(hashes, 4).tolist() == [True, True, True, False, True]


def test_a_long_list_gives_the_same_answers_in_steps() -> None:
    rng = np.random.default_rng(0)
    listed = rng.integers(0, 2**64, 50_000, dtype=np.uint64)
    asked = rng.integers(0, 2**64, 200, dtype=np.uint64)
    asked[7] = listed[31] ^ np.uint64(5)
    found = Blocklist(phashes=tuple(listed.tolist())).near(asked, 4)
    assert np.flatnonzero(found).tolist() == [7]


def test_no_list_blocks_nothing() -> None:
    blocked = read_blocklist(None)
    assert not blocked.has(FILE)
    assert not blocked.near(np.array([0], dtype=np.uint64), 16).any()


def test_the_digest_follows_the_content_not_the_form(tmp_path: Path) -> None:
    first = _list(tmp_path, f"{FILE}\n{OTHER}\n").digest
    assert _list(tmp_path, f"{OTHER}  # second\n{FILE}\n").digest == first
    assert _list(tmp_path, f"{OTHER}\n").digest != first


def test_a_wrong_line_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"blocked\.txt, line 2: .*64 hex digits"):
        _list(tmp_path, f"{FILE}\nabc\n")
    with pytest.raises(UserError, match="cannot be read"):
        read_blocklist(str(tmp_path / "none.txt"))
