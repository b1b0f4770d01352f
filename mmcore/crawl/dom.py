"""Reading an HTML tree: text as a person sees it, ancestors, classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from selectolax.lexbor import LexborNode

_BREAKING = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "br",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "option",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
_SILENT = frozenset(
    ["script", "style", "noscript", "template", "head", "textarea", "select", "button", "svg"]
)
# Permalink signs beside a heading or caption (Sphinx, MkDocs, AsciiDoc).
_DROPPED_CLASSES = frozenset({"headerlink", "anchorjs-link", "mw-editsection", "magnify"})

_MAX_DEPTH = 64
"""Elements around a node that are looked at; browsers themselves nest no deeper than 512."""
_MAX_NODES = 2_000
_MAX_PAGE_NODES = 1_000_000

Skip = Callable[[LexborNode], bool]


def fold(text: str | None) -> str:
    """White space folded to single blanks, none at the ends."""
    return " ".join(text.split()) if text else ""


def attribute(node: LexborNode, name: str) -> str | None:
    """An attribute's value; "" for one without a value, None where it is absent."""
    attributes = node.attributes
    return (attributes[name] or "") if name in attributes else None


def classes(node: LexborNode) -> frozenset[str]:
    """The class names of an element."""
    return frozenset((node.attributes.get("class") or "").split())


def ancestors(node: LexborNode) -> Iterator[LexborNode]:
    """The elements around a node, nearest first; at most _MAX_DEPTH."""
    parent = node.parent
    for _ in range(_MAX_DEPTH):
        if parent is None or parent.tag in ("-document", None):
            return
        yield parent
        parent = parent.parent


def first_below(node: LexborNode, tag: str, most: int = 200) -> LexborNode | None:
    """The first element with this tag below a node, looked for among its first `most` nodes."""
    stack = [node]
    for _ in range(most):
        if not stack:
            return None
        item = stack.pop()
        if item.tag == tag and item.mem_id != node.mem_id:
            return item
        stack.extend(reversed(list(islice(item.iter(), most))))
    return None


class Texts:
    """Reads the texts of one page's elements, as a person sees them.

    A text is cut after _MAX_NODES nodes and a page's texts end after _MAX_PAGE_NODES, so that a
    page made to be slow (headings in headings in headings) costs seconds, not hours.
    """

    def __init__(self) -> None:
        self._left = _MAX_PAGE_NODES

    def of(self, node: LexborNode, skip: Skip | None = None) -> str:
        """Folded text below a node, without scripts, permalink signs and what `skip` names."""
        pieces: list[str] = []
        self._left -= _collect(node, pieces, skip, min(self._left, _MAX_NODES))
        return fold("".join(pieces))


def _collect(node: LexborNode, pieces: list[str], skip: Skip | None, most: int) -> int:
    """Append the pieces of a text; the number of nodes that were looked at."""
    stack: list[LexborNode | str] = [node]
    seen = 0
    while stack and seen < most:
        item = stack.pop()
        if isinstance(item, str):
            pieces.append(item)
            continue
        seen += 1
        if item.is_text_node:
            pieces.append(item.text(deep=False) or "")
            continue
        if item is not node and _is_silent(item, skip):
            continue
        edge = " " if item.tag in _BREAKING else ""
        pieces.append(edge)
        stack.append(edge)
        stack.extend(reversed(list(islice(item.iter(include_text=True), most))))
    return seen


def _is_silent(node: LexborNode, skip: Skip | None) -> bool:
    if node.tag in _SILENT or (skip is not None and skip(node)):
        return True
    names = node.attributes.get("class")
    return names is not None and not _DROPPED_CLASSES.isdisjoint(names.split())
