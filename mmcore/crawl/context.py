"""The paragraph nearest to an image."""

from __future__ import annotations

from collections.abc import Iterator

from selectolax.lexbor import LexborNode

from mmcore.crawl.dom import Texts, classes, first_below

MAX_CHARACTERS = 1000
_MIN_CHARACTERS = 20
_SIBLINGS = 4
_LEVELS = 5
_PARAGRAPHS = frozenset({"p", "li", "dd", "blockquote", "td"})
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
# Text of the site, not of the page: never the context of a picture.
_FURNITURE = frozenset({"nav", "header", "footer", "aside", "form"})
_FURNITURE_ROLES = frozenset({"navigation", "banner", "contentinfo", "search"})
_FURNITURE_CLASSES = frozenset({"navbar", "nav", "sidebar", "footer", "menu", "breadcrumb"})
_OUTERMOST = frozenset({"body", "main", "article", "section"})


class Paragraphs:
    """The prose of one page, each paragraph read once."""

    def __init__(self, texts: Texts, excluded: frozenset[int]) -> None:
        """excluded: `mem_id` of elements that are not prose (comments)."""
        self._texts = texts
        self._excluded = excluded
        self._read: dict[int, str] = {}
        self._inside: dict[int, LexborNode | None] = {}

    def nearest(self, image: LexborNode, around: list[LexborNode], caption: str) -> str:
        """Text of the paragraph around, before or after an image, in this order, or "".

        What an `object` shows where it cannot be drawn comes first of all. around: ancestors,
        nearest first. The image's own caption does not count. At most MAX_CHARACTERS.
        """
        if any(_is_furniture(node) for node in around):
            return ""
        fallback = self._texts.of(image) if image.tag == "object" else ""
        return fallback[:MAX_CHARACTERS] or self._around(image, around, caption)

    def _around(self, image: LexborNode, around: list[LexborNode], caption: str) -> str:
        inner = image
        for node in around[:_LEVELS]:
            if node.tag in _PARAGRAPHS:
                text = self._prose(node, caption)
                if text:
                    return text
            for sibling in (*_before(inner), *_after(inner)):
                text = self._paragraph_in(sibling, caption)
                if text:
                    return text
            if node.tag in _OUTERMOST:
                return ""
            inner = node
        return ""

    def _paragraph_in(self, node: LexborNode, caption: str) -> str:
        """Prose of a paragraph, or of the paragraph that a plain wrapper holds."""
        if node.tag == "figure" or node.mem_id in self._excluded or _is_furniture(node):
            return ""
        if node.tag in _PARAGRAPHS:
            return self._prose(node, caption)
        if node.tag == "div":
            if node.mem_id not in self._inside:
                self._inside[node.mem_id] = first_below(node, "p")
            inside = self._inside[node.mem_id]
            if inside is not None and inside.mem_id not in self._excluded:
                return self._prose(inside, caption)
        return ""

    def _prose(self, node: LexborNode, caption: str) -> str:
        if node.mem_id not in self._read:
            self._read[node.mem_id] = self._texts.of(node, self._is_no_prose)
        text = self._read[node.mem_id]
        if len(text) < _MIN_CHARACTERS or (caption and text == caption):
            return ""
        return text[:MAX_CHARACTERS]

    def _is_no_prose(self, node: LexborNode) -> bool:
        return node.tag in ("figcaption", "pre", "table") or node.mem_id in self._excluded


def _before(node: LexborNode) -> Iterator[LexborNode]:
    """Elements before a node, nearest first, up to the heading that begins its section."""
    sibling, seen = node.prev, 0
    while sibling is not None and seen < _SIBLINGS:
        if sibling.is_element_node:
            if sibling.tag in _HEADINGS:
                return
            seen += 1
            yield sibling
        sibling = sibling.prev


def _after(node: LexborNode) -> Iterator[LexborNode]:
    """Elements after a node, nearest first, up to the next heading."""
    sibling, seen = node.next, 0
    while sibling is not None and seen < _SIBLINGS:
        if sibling.is_element_node:
            if sibling.tag in _HEADINGS:
                return
            seen += 1
            yield sibling
        sibling = sibling.next


def _is_furniture(node: LexborNode) -> bool:
    if node.tag in _FURNITURE or node.attributes.get("role") in _FURNITURE_ROLES:
        return True
    return not classes(node).isdisjoint(_FURNITURE_CLASSES)
