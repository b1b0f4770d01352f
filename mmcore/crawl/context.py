"""The paragraph nearest to an image."""

from __future__ import annotations

from collections.abc import Iterator

from selectolax.lexbor import LexborNode

from mmcore.crawl.dom import classes, visible_text

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


def nearest_paragraph(
    image: LexborNode, around: list[LexborNode], caption: str, excluded: frozenset[int]
) -> str:
    """Text of the paragraph around, before or after the image, in this order; "" if there is none.

    around: ancestors, nearest first. excluded: `mem_id` of elements that are not prose (comments).
    The image's own caption does not count. At most MAX_CHARACTERS.
    """
    if any(_is_furniture(node) for node in around):
        return ""
    inner = image
    for node in around[:_LEVELS]:
        if node.tag in _PARAGRAPHS:
            text = _prose(node, caption, excluded)
            if text:
                return text
        for sibling in (*_before(inner), *_after(inner)):
            text = _paragraph_in(sibling, caption, excluded)
            if text:
                return text
        if node.tag in _OUTERMOST:
            return ""
        inner = node
    return ""


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


def _paragraph_in(node: LexborNode, caption: str, excluded: frozenset[int]) -> str:
    """Prose of an element that is a paragraph, or of the paragraph that a plain wrapper holds."""
    if node.tag == "figure" or node.mem_id in excluded or _is_furniture(node):
        return ""
    if node.tag in _PARAGRAPHS:
        return _prose(node, caption, excluded)
    if node.tag == "div":
        inside = node.css_first("p")
        if inside is not None and inside.mem_id not in excluded:
            return _prose(inside, caption, excluded)
    return ""


def _is_furniture(node: LexborNode) -> bool:
    if node.tag in _FURNITURE or node.attributes.get("role") in _FURNITURE_ROLES:
        return True
    return not classes(node).isdisjoint(_FURNITURE_CLASSES)


def _prose(node: LexborNode, caption: str, excluded: frozenset[int]) -> str:
    text = visible_text(node, skip=lambda child: _is_no_prose(child, excluded))
    if len(text) < _MIN_CHARACTERS or (caption and text == caption):
        return ""
    return text[:MAX_CHARACTERS]


def _is_no_prose(node: LexborNode, excluded: frozenset[int]) -> bool:
    return node.tag in ("figcaption", "pre", "table") or node.mem_id in excluded
