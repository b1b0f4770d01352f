"""Licence links: `rel=license`, Creative Commons, schema.org `license` in attributes or JSON-LD."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mmcore.crawl.dom import attribute

Resolve = Callable[[str | None], str | None]

_ANYWHERE = 'a[rel~="license"],link[rel~="license"],[itemprop~="license"]'
_COMMONS = 'a[href*="creativecommons.org/licenses/"],a[href*="creativecommons.org/publicdomain/"]'
# The nearest of these around an image is what a licence inside it speaks for.
_WORKS = frozenset({"figure", "article", "li"})


def page_license(tree: LexborHTMLParser, url_of: Resolve) -> str | None:
    """The licence a page is under: one that stands outside of any single figure."""
    for node in (*tree.css(_ANYWHERE), *tree.css(_COMMONS)):
        if not _inside_figure(node):
            return _target(node, url_of)
    for document in _json_ld(tree):
        found = document.get("license")
        if isinstance(found, str):
            return url_of(found)
        if isinstance(found, dict) and isinstance(found.get("@id") or found.get("url"), str):
            return url_of(found.get("@id") or found.get("url"))
    return None


def element_license(image: LexborNode, around: list[LexborNode], url_of: Resolve) -> str | None:
    """The licence named inside the figure or article around an image."""
    for node in around:
        if node.tag in _WORKS or "itemscope" in node.attributes:
            found = node.css_first(_ANYWHERE) or node.css_first(_COMMONS)
            if found is not None:
                return _target(found, url_of)
        if node.tag == "figure":
            return None
    return None


def _inside_figure(node: LexborNode) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.tag == "figure":
            return True
        parent = parent.parent
    return False


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
