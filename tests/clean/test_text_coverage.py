"""The summary of what kept texts are about counts images and leaves function words out."""

from __future__ import annotations

import pyarrow as pa

from mmcore.clean import text_coverage


def _kept(rows: list[tuple[str, str, str, str]]) -> pa.Table:
    names = ("sha256", "page_url", "role", "text")
    return pa.table({n: [row[i] for row in rows] for i, n in enumerate(names)})


def test_images_are_counted_per_host_and_per_concept() -> None:
    kept = _kept(
        [
            ("a", "https://one.test/x", "alt", "A woman with a red Kite"),
            ("a", "https://one.test/x", "caption", "The kite of <EMAIL>"),
            ("b", "https://two.test/y", "alt", "Two kites over the hill"),
            ("b", "https://two.test/y", "context", "A paragraph about something else"),
            ("c", "file:///data/a.jsonl", "caption", "Ein Drachen über dem Hügel"),
        ]
    )
    counts = text_coverage.count(kept)
    assert counts["hosts"] == {"-": 1, "one.test": 1, "two.test": 1}
    assert counts["concepts"] == {
        "drachen": 1,
        "hill": 1,
        "hügel": 1,
        "kite": 1,
        "kites": 1,
        "woman": 1,
    }


def test_the_commonest_come_first_and_equal_ones_by_name() -> None:
    assert text_coverage.top({"b": 1, "a": 1, "c": 5}, 2) == {"c": 5, "a": 1}


def test_nothing_kept_is_nothing_covered() -> None:
    empty = _kept([]).cast(
        pa.schema([(n, pa.string()) for n in ("sha256", "page_url", "role", "text")])
    )
    assert text_coverage.count(empty) == {"hosts": {}, "concepts": {}}
