"""Which text is the caption of an image: the conventions of the generators that write the web.

HTML `figure`; Sphinx and Pandoc `.figure`; sphinx-gallery thumbnails; DocBook `mediaobject` and
`.figure .title`; Doxygen `.image .caption` and its graphs; AsciiDoc `.imageblock .title`; Texinfo
`.float`; MediaWiki thumbnails and galleries; WordPress `.wp-caption`, galleries and Jetpack's
attributes; Blogger, LaTeX2HTML and other tables that frame pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
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
_FRAME_NODES = 500


class Captions:
    """The captions of one page, each with the figure it stands in."""

    def __init__(self, tree: LexborHTMLParser, texts: Texts, images: list[LexborNode]) -> None:
        """images: the elements that captions may be asked for."""
        self._texts = texts
        self._in: dict[int, list[LexborNode]] = {}
        self._captions: set[int] = set()
        self._frames: dict[int, tuple[list[int], list[LexborNode]] | None] = {}
        # A container without a picture (a wrapper around a text) speaks for the next one out.
        pictured = {n.mem_id for image in images for n in _near(image) if _is_container(n)}
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
        if any(node.mem_id in self._captions for node in around[:_MAX_LEVELS]):
            return ""
        for node in around[:_MAX_LEVELS]:
            text = self._first_text(self._in.get(node.mem_id, []))
            if text:
                return text
            if node.tag == "table":
                frame = self._frame(node)
                text = self._in_frame(frame, image)
                # A table that holds nothing but the picture is layout: look further out.
                if text or frame is None:
                    return text or _attribute_caption(image)
            if node.tag == "body":
                break
        return _attribute_caption(image)

    def _first_text(self, nodes: list[LexborNode]) -> str:
        return next((text for text in map(self._texts.of, nodes) if text), "")

    def _frame(self, table: LexborNode) -> tuple[list[int], list[LexborNode]] | None:
        if table.mem_id not in self._frames:
            self._frames[table.mem_id] = _read_frame(table)
        return self._frames[table.mem_id]

    def _in_frame(self, frame: tuple[list[int], list[LexborNode]] | None, image: LexborNode) -> str:
        """The caption of an image in a frame that has one for each of its images."""
        images, captions = frame or ([], [])
        if len(images) != len(captions) or image.mem_id not in images:
            return ""
        return self._texts.of(captions[images.index(image.mem_id)])


def _near(image: LexborNode) -> Iterator[LexborNode]:
    return islice(ancestors(image), _MAX_LEVELS)


def _outer(caption: LexborNode) -> Iterator[LexborNode]:
    return islice(ancestors(caption), _CAPTION_LEVELS)


def _is_container(node: LexborNode) -> bool:
    return node.tag == "figure" or not classes(node).isdisjoint(_CONTAINERS)


def _read_frame(table: LexborNode) -> tuple[list[int], list[LexborNode]] | None:
    """(`mem_id` of its images, its captions) of a table that is a frame around pictures.

    None for a table of data: one with words outside of captions, or with tables in it.
    """
    images: list[int] = []
    captions: list[LexborNode] = []
    stack = [table]
    for _ in range(_FRAME_NODES):
        if not stack:
            return images, captions
        node = stack.pop()
        if node.is_text_node:
            if (node.text(deep=False) or "").strip():
                return None
        elif node.tag == "table" and node.mem_id != table.mem_id:
            return None
        elif node.tag == "img":
            images.append(node.mem_id)
        elif node.tag == "caption" or _is_marked(node):
            captions.append(node)
        else:
            stack.extend(reversed(list(islice(node.iter(include_text=True), _FRAME_NODES))))
    return None


def _is_marked(node: LexborNode) -> bool:
    """Whether an element's class says that it is a caption."""
    named = node.tag in _CAPTION_TAGS or node.tag == "td"
    return named and not classes(node).isdisjoint(_CAPTIONS)


def _attribute_caption(image: LexborNode) -> str:
    """What WordPress's gallery scripts keep in an attribute, as HTML (Jetpack Carousel)."""
    written = attribute(image, "data-image-caption")
    body = LexborHTMLParser(written).body if written else None
    return Texts().of(body) if body is not None else ""
