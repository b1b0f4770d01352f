"""Add the captions of further conventions to an independent count of a site.

    python benchmarks/crawl/captions_by_xpath.py TRUTH.jsonl OUT.jsonl

Needs lxml, in an environment of its own. TRUTH as for compare_with_truth.py, its site still served.
Written without a look at mmcore.crawl.captions: one XPath from an image to its caption for each
convention, so that the two can disagree.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

from lxml import html

HAS = "contains(concat(' ', normalize-space(@class), ' '), ' {} ')"
CONVENTIONS = {
    "MediaWiki thumbnail": f"ancestor::div[{HAS.format('thumbinner')}][1]"
    f"/div[{HAS.format('thumbcaption')}]",
    "MediaWiki gallery": f"ancestor::li[{HAS.format('gallerybox')}][1]"
    f"//div[{HAS.format('gallerytext')}]",
    "Texinfo float": f"ancestor::div[{HAS.format('float')}][1]"
    f"/div[{HAS.format('float-caption')} or {HAS.format('caption')}]",
    "DocBook viewport": "ancestor::table[contains(@summary, 'manufactured viewport')][1]"
    f"/following-sibling::div[{HAS.format('caption')}]",
    "DocBook figure around a viewport": "ancestor::table[contains(@summary, 'viewport')][1]"
    f"/ancestor::div[{HAS.format('figure')}][1]/p[{HAS.format('title')}]",
    # The cell below the picture's.
    "table of pictures": "ancestor::td[1]/parent::tr/following-sibling::tr[1]"
    f"/td[count(preceding-sibling::td) = $column]/p[{HAS.format('caption')}]",
}


@cache
def tree(url: str) -> Any:
    with urllib.request.urlopen(quote(url, safe="/:%?&=+,;@~()")) as answer:
        return html.document_fromstring(answer.read(), parser=html.HTMLParser(encoding="utf-8"))


def _words(node: Any) -> str:
    """Text without MediaWiki's link to a larger picture."""
    shown = node.xpath(f".//text()[not(ancestor::div[{HAS.format('magnify')}])]")
    return " ".join("".join(shown).split())


def captions(page: str) -> dict[str, list[str]]:
    """Image URL -> its captions on a page, in document order."""
    found: dict[str, list[str]] = {}
    for image in tree(page).iter("img"):
        cell = next(image.iterancestors("td"), None)
        column = (
            float(len(list(cell.itersiblings("td", preceding=True)))) if cell is not None else 0.0
        )
        texts = (
            _words(node)
            for path in CONVENTIONS.values()
            for node in image.xpath(path, column=column)
        )
        target = urljoin(page, (image.get("src") or "").strip())
        found.setdefault(target, []).append(next((text for text in texts if text), ""))
    return found


def main() -> int:
    source, target = map(Path, sys.argv[1:3])
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    seen: dict[str, dict[str, list[str]]] = {}
    added = 0
    for row in rows:
        if row["page"] not in seen:
            seen[row["page"]] = captions(row["page"])
        found = seen[row["page"]].get(row["image"]) or [""]
        text = found.pop(0)
        if text and not row["caption"]:
            row["caption"] = text
            added += 1
    target.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{added} captions added to {len(rows)} references")
    return 0


if __name__ == "__main__":
    sys.exit(main())
