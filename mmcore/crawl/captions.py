"""Which text is the caption of an image: the conventions of the generators that write the web.

HTML `figure`; Sphinx and Pandoc `.figure`; sphinx-gallery thumbnails; DocBook `mediaobject` and
`.figure .title`; Doxygen `.image .caption`; AsciiDoc `.imageblock .title`; MediaWiki thumbnails and
galleries; WordPress `.wp-caption`, galleries; Blogger and LaTeX2HTML captions in tables.
"""

from __future__ import annotations

from collections.abc import Iterable

from selectolax.lexbor import LexborNode

from mmcore.crawl.dom import classes, visible_text

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
        "image-caption",
        "img-caption",
        "photo-caption",
    ]
)
_CAPTION_TAGS = frozenset({"p", "div", "span", "dd", "figcaption", "em", "small"})
_SELECTOR = ",".join(f".{name}" for name in sorted(_CAPTIONS))


def caption_of(image: LexborNode, around: list[LexborNode]) -> str:
    """The caption of an image, "" where there is none.

    around: the image's ancestors, nearest first (`dom.ancestors`).
    """
    for node in around[:_MAX_LEVELS]:
        text = _caption_in(node)
        if text:
            return text
        if node.tag == "table":
            return _table_caption(node)
        if node.tag == "body":
            break
    return ""


def _caption_in(node: LexborNode) -> str:
    """The caption that a container holds, "" for anything else."""
    if node.tag == "figure":
        text = _first_text(node.css("figcaption"))
        if text:
            return text
    if classes(node).isdisjoint(_CONTAINERS):
        return ""
    candidates = (n for n in node.css(_SELECTOR) if n.tag in _CAPTION_TAGS)
    return _first_text(n for n in candidates if n.mem_id != node.mem_id)


def _table_caption(table: LexborNode) -> str:
    """The caption of a table that is a frame around one picture, not a table of data."""
    if len(table.css("img")) != 1:
        return ""
    named = _first_text(table.css("td.tr-caption"))
    return named or _first_text(table.css("caption"))


def _first_text(nodes: Iterable[LexborNode]) -> str:
    return next((text for text in (visible_text(node) for node in nodes) if text), "")
