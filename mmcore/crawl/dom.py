"""Reading an HTML tree: text as a person sees it, ancestors, classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
    """The elements around a node, nearest first."""
    parent = node.parent
    while parent is not None and parent.tag not in ("-document", None):
        yield parent
        parent = parent.parent


def visible_text(node: LexborNode, skip: Skip | None = None) -> str:
    """Folded text below a node, without scripts, permalink signs and what `skip` names."""
    pieces: list[str] = []
    _collect(node, pieces, skip)
    return fold("".join(pieces))


def _collect(node: LexborNode, pieces: list[str], skip: Skip | None) -> None:
    stack: list[LexborNode | str] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            pieces.append(item)
            continue
        if item.is_text_node:
            pieces.append(item.text(deep=False) or "")
            continue
        if item is not node and _is_silent(item, skip):
            continue
        edge = " " if item.tag in _BREAKING else ""
        pieces.append(edge)
        stack.append(edge)
        stack.extend(reversed(list(item.iter(include_text=True))))


def _is_silent(node: LexborNode, skip: Skip | None) -> bool:
    if node.tag in _SILENT or (skip is not None and skip(node)):
        return True
    names = node.attributes.get("class")
    return names is not None and not _DROPPED_CLASSES.isdisjoint(names.split())
