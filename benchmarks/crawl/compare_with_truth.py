"""What a crawl found beside what an independent count of the same site says is there.

    python benchmarks/crawl/compare_with_truth.py ROOT DAY TRUTH.jsonl [PAGES.txt]

TRUTH: one JSON object per image reference on a page (`page`, `image`, `status`, `sha256`, `alt`,
`caption`, `title`); PAGES: one URL a line. Prints recall and precision per kind of thing; exit
code 1 if either is below 1 anywhere. Texts are compared without white space.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmcore.crawl.urls import resolve
from mmcore.lake import Lake

TEXTS = ("alt", "caption", "title")


def compare(name: str, truth: Iterable[Any], crawled: Iterable[Any]) -> bool:
    """Print one line of the table, and the first differences; True if nothing differs."""
    want, have = Counter(truth), Counter(crawled)
    both = (want & have).total()
    recall, precision = both / max(1, want.total()), both / max(1, have.total())
    print(f"{name:<28}{want.total():>7}{have.total():>9}{recall:>9.4f}{precision:>11.4f}")
    for missing in list(want - have)[:3]:
        print("    missing", missing)
    for extra in list(have - want)[:3]:
        print("    extra  ", extra)
    return want == have


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root")
    parser.add_argument("day")
    parser.add_argument("truth", type=Path)
    parser.add_argument("pages", type=Path, nargs="?")
    arguments = parser.parse_args()
    lake = Lake(arguments.root)
    records = map(json.loads, arguments.truth.read_text(encoding="utf-8").splitlines())
    truth = [row for row in records if row.get("status") == 200]
    rows = lake.dataset("crawled", arguments.day).read().to_pylist()
    # Links to image files and og:image are further than the count goes.
    inline = [row for row in rows if row["element"] not in ("link", "meta")]
    print(f"{'':<28}{'truth':>7}{'crawled':>9}{'recall':>9}{'precision':>11}")
    same = [
        compare("image URLs", {_where(r)[1] for r in truth}, {r["image_url"] for r in inline}),
        compare("distinct images", {r["sha256"] for r in truth}, {r["sha256"] for r in inline}),
        compare(
            "occurrences",
            [(*_where(r), r["sha256"]) for r in truth],
            [(r["page_url"], r["image_url"], r["sha256"]) for r in inline],
        ),
    ]
    for text in TEXTS:
        same.append(
            compare(
                f"{text} texts",
                [(*_where(r), _fold(r[text])) for r in truth if r[text]],
                [(r["page_url"], r["image_url"], _fold(r[text])) for r in inline if r[text]],
            )
        )
    if arguments.pages:
        outcomes = lake.dataset("outcomes", arguments.day).read(["url", "kind", "reason"])
        found = {
            row["url"]
            for row in outcomes.to_pylist()
            if row["kind"] == "page" and row["reason"] == "ok"
        }
        lines = arguments.pages.read_text(encoding="utf-8").splitlines()
        same.append(compare("pages", {resolve("", line.strip()) for line in lines}, found))
    return 0 if all(same) else 1


def _where(row: dict[str, Any]) -> tuple[str | None, str | None]:
    return resolve("", row["page"]), resolve("", row["image"])


def _fold(text: str | None) -> str:
    return "".join((text or "").split())


if __name__ == "__main__":
    sys.exit(main())
