"""Licence links: `rel=license`, Creative Commons, schema.org `license` in attributes or JSON-LD."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mmcore.crawl.dom import ancestors, attribute

Resolve = Callable[[str | None], str | None]

_ANYWHERE = 'a[rel~="license"],link[rel~="license"],[itemprop~="license"]'
_COMMONS = 'a[href*="creativecommons.org/licenses/"],a[href*="creativecommons.org/publicdomain/"]'
# The nearest of these around an image is what a licence inside it speaks for.
_WORKS = frozenset({"figure", "article", "li"})


class Licences:
    """The licences that a page names, and what each speaks for."""

    def __init__(self, tree: LexborHTMLParser, url_of: Resolve) -> None:
        links = (*tree.css(_ANYWHERE), *tree.css(_COMMONS))
        self._url_of = url_of
        self._of_work: dict[int, LexborNode] = {}
        outside: list[LexborNode] = []
        for link in links:
            around = list(ancestors(link))
            for node in around:
                if node.tag in _WORKS or "itemscope" in node.attributes:
                    self._of_work.setdefault(node.mem_id, link)
            if all(node.tag != "figure" for node in around):
                outside.append(link)
        self.of_page = _target(outside[0], url_of) if outside else _stated(tree, url_of)
        """The licence a page is under: one that stands outside of any single figure."""

    def of(self, around: list[LexborNode]) -> str | None:
        """The licence inside the figure or article around an image, else the page's.

        around: the image's ancestors, nearest first.
        """
        for node in around:
            link = self._of_work.get(node.mem_id)
            if link is not None:
                return _target(link, self._url_of) or self.of_page
            if node.tag == "figure":
                break
        return self.of_page


def _stated(tree: LexborHTMLParser, url_of: Resolve) -> str | None:
    """The licence that the page's JSON-LD names."""
    for document in _json_ld(tree):
        found = document.get("license")
        if isinstance(found, str):
            return url_of(found)
        if isinstance(found, dict) and isinstance(found.get("@id") or found.get("url"), str):
            return url_of(found.get("@id") or found.get("url"))
    return None


def _target(node: LexborNode, url_of: Resolve) -> str | None:
    written = attribute(node, "href") or attribute(node, "content") or attribute(node, "resource")
    return url_of(written)


def _json_ld(tree: LexborHTMLParser) -> Iterator[dict[str, Any]]:
    """Objects of the page's JSON-LD blocks; a block that is not JSON does not count."""
    for node in tree.css('script[type="application/ld+json"]'):
        try:
            data = json.loads(node.text(deep=True))
        except (ValueError, RecursionError):
            continue
        items = data if isinstance(data, list) else [data]
        graphs = [item.get("@graph") for item in items if isinstance(item, dict)]
        nested = [entry for graph in graphs if isinstance(graph, list) for entry in graph]
        yield from (item for item in (*items, *nested) if isinstance(item, dict))
