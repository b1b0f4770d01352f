"""Which text is the caption of an image: the conventions of the generators that write the web.

HTML `figure`; Sphinx and Pandoc `.figure`; sphinx-gallery thumbnails; DocBook `mediaobject` and
`.figure .title`; Doxygen `.image .caption` and its graphs; AsciiDoc `.imageblock .title`; Texinfo
`.float`; MediaWiki thumbnails and galleries; WordPress `.wp-caption`, galleries and Jetpack's
attributes; Blogger, LaTeX2HTML and other tables that frame pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mmcore.crawl.dom import Texts, ancestors, attribute, classes

_MAX_LEVELS = 7
_CONTAINERS = frozenset(
    [
        "figure",
        "informalfigure",
        "mediaobject",
        "image",
        "imageblock",
        "thumb",
        "thumbinner",
        "thumbcaption",
        "gallerybox",
        "sphx-glr-thumbcontainer",
        "wp-caption",
        "gallery-item",
        "wp-block-image",
        "blocks-gallery-item",
        "figcenter",
        "figleft",
        "figright",
        "image-container",
        "float",
        "image-caption-wrapper",
        "tsingle",
        "tiled-gallery-item",
        "dotgraph",
        "mscgraph",
        "diagraph",
        "plantumlgraph",
    ]
)
_CAPTIONS = frozenset(
    [
        "caption",
        "caption-text",
        "figcaption",
        "thumbcaption",
        "gallerytext",
        "title",
        "wp-caption-text",
        "wp-caption-dd",
        "gallery-caption",
        "blocks-gallery-caption",
        "wp-element-caption",
        "tr-caption",
        "float-caption",
        "tiled-gallery-caption",
        "sphx-glr-thumbnail-title",
        "image-caption",
        "img-caption",
        "photo-caption",
    ]
)
_CAPTION_TAGS = frozenset({"p", "div", "span", "dd", "figcaption", "em", "small"})
_SELECTOR = ",".join(f".{name}" for name in sorted(_CAPTIONS))
_CAPTION_LEVELS = 12
_TABLE_NODES = 500
_TABLE_PARTS = frozenset({"td", "th", "tr", "tbody", "thead", "tfoot"})


class Captions:
    """The captions of one page, each with the figure it stands in."""

    def __init__(self, tree: LexborHTMLParser, texts: Texts, images: list[LexborNode]) -> None:
        """images: the elements that captions may be asked for."""
        self._texts = texts
        self._in: dict[int, list[LexborNode]] = {}
        self._captions: set[int] = set()
        self._tables: dict[int, _Table | None] = {}
        # A container without a picture (a wrapper around a text) speaks for the next one out.
        pictured = {
            n.mem_id for image in images for n in _near(ancestors(image)) if _is_container(n)
        }
        for caption in (*tree.css("figcaption"), *tree.css(_SELECTOR)):
            if caption.tag in _CAPTION_TAGS:
                home = next((n for n in _outer(caption) if n.mem_id in pictured), None)
                if home is not None:
                    self._in.setdefault(home.mem_id, []).append(caption)
                    self._captions.add(caption.mem_id)

    def of(self, image: LexborNode, around: list[LexborNode]) -> str:
        """The caption of an image, "" where there is none.

        around: the image's ancestors, nearest first (`dom.ancestors`).
        """
        # A flag or a magnifying glass inside a caption is not what the caption is about.
        near = _near(around)
        if any(node.mem_id in self._captions for node in near):
            return ""
        for node in near:
            text = self._first_text(self._in.get(node.mem_id, []))
            if text:
                return text
            if node.tag == "table":
                table = self._table(node)
                text = self._in_table(table, image)
                # A table that holds nothing but pictures is layout: look further out.
                if text or table is None or table.words:
                    return text or _attribute_caption(image)
            if node.tag == "body":
                break
        return _attribute_caption(image)

    def _first_text(self, nodes: list[LexborNode]) -> str:
        return next((text for text in map(self._texts.of, nodes) if text), "")

    def _table(self, node: LexborNode) -> _Table | None:
        if node.mem_id not in self._tables:
            self._tables[node.mem_id] = _read_table(node)
        return self._tables[node.mem_id]

    def _in_table(self, table: _Table | None, image: LexborNode) -> str:
        """The caption that a table has for an image of it, "" for a table of data."""
        if table is None or image.mem_id not in table.images:
            return ""
        if len(table.marked) == len(table.images):
            return self._texts.of(table.marked[table.images.index(image.mem_id)])
        if table.whole is not None and len(table.images) == 1 and not table.words:
            return self._texts.of(table.whole)
        return ""


@dataclass
class _Table:
    """What a small table holds: images, captions, and whether words besides."""

    images: list[int]
    marked: list[LexborNode]
    """Elements whose class says that they are captions; one for each image, as a rule."""
    whole: LexborNode | None = None
    """The table's own `caption`: a picture's where there is nothing else."""
    words: bool = False


def _near(around: Iterable[LexborNode]) -> list[LexborNode]:
    """The nearest _MAX_LEVELS ancestors; the parts of a table are one level with it."""
    near: list[LexborNode] = []
    levels = 0
    for node in around:
        levels += node.tag not in _TABLE_PARTS
        if levels > _MAX_LEVELS:
            break
        near.append(node)
    return near


def _outer(caption: LexborNode) -> Iterator[LexborNode]:
    return islice(ancestors(caption), _CAPTION_LEVELS)


def _is_container(node: LexborNode) -> bool:
    return node.tag == "figure" or not classes(node).isdisjoint(_CONTAINERS)


def _read_table(table: LexborNode) -> _Table | None:
    """What a table holds; None where it is large or has tables in it."""
    found = _Table([], [])
    stack = [table]
    for _ in range(_TABLE_NODES):
        if not stack:
            return found
        node = stack.pop()
        if node.is_text_node:
            found.words = found.words or bool((node.text(deep=False) or "").strip())
        elif node.tag == "table" and node.mem_id != table.mem_id:
            return None
        elif node.tag == "img":
            found.images.append(node.mem_id)
        elif node.tag == "caption":
            found.whole = node
        elif _is_marked(node):
            found.marked.append(node)
        else:
            stack.extend(reversed(list(islice(node.iter(include_text=True), _TABLE_NODES))))
    return None


def _is_marked(node: LexborNode) -> bool:
    """Whether an element's class says that it is a caption; a title may be that of a note."""
    named = node.tag in _CAPTION_TAGS or node.tag == "td"
    return named and not classes(node).isdisjoint(_CAPTIONS - {"title"})


def _attribute_caption(image: LexborNode) -> str:
    """What WordPress's gallery scripts keep in an attribute, as HTML (Jetpack Carousel)."""
    written = attribute(image, "data-image-caption")
    body = LexborHTMLParser(written).body if written else None
    return Texts().of(body) if body is not None else ""
