"""Which image URLs an element shows or leads to, and whose texts speak for it."""

from __future__ import annotations

from collections.abc import Callable

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mmcore.crawl.dom import ancestors, attribute, first_below
from mmcore.crawl.urls import best_candidate, is_image_file

UrlOf = Callable[[str | None, str], str | None]
"""The URL of a reference as written, for a `page` or an `image`; None where it is none to fetch."""

ELEMENTS = "img,amp-img,source,object,input,embed,iframe,a,area"
_LAZY = ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-image-src", "data-cfsrc")
# WordPress keeps the address of the upload that a thumbnail was made from.
_FULL_SIZE = ("data-orig-file", "data-full-url")
_LAZY_SETS = ("srcset", "data-srcset", "data-lazy-srcset")
_LINKS = frozenset({"a", "area"})


class Shown:
    """The images of one page: what each element shows, and which links lead to further ones."""

    def __init__(self, tree: LexborHTMLParser, nodes: list[LexborNode], url_of: UrlOf) -> None:
        """nodes: the elements of ELEMENTS, in document order."""
        self._url_of = url_of
        self._of_picture: dict[int, LexborNode] = {}
        for image in tree.css("picture img"):
            for outer in ancestors(image):
                if outer.tag == "picture":
                    self._of_picture.setdefault(outer.mem_id, image)
        found = ((node, self._shown(node)) for node in nodes if node.tag not in _LINKS)
        self._urls = {node.mem_id: urls for node, urls in found if urls}
        self._on_page = {url for urls in self._urls.values() for url in urls}
        self.images = [n for n in nodes if n.mem_id in self._urls and n.tag != "source"]
        """The elements that show an image, without the sources of a `picture`."""

    def event(self, node: LexborNode) -> tuple[list[str], str, LexborNode]:
        """(URLs, kind of element, the element whose texts count) of an image or a link to one."""
        if node.tag in _LINKS:
            return self._linked(node)
        kind = "img" if node.tag == "amp-img" else node.tag or ""
        return self._urls.get(node.mem_id, []), kind, self._speaker(node)

    def _linked(self, node: LexborNode) -> tuple[list[str], str, LexborNode]:
        written = attribute(node, "href")
        local = written is None or written.lstrip().startswith("#")
        url = None if local else self._url_of(written, "page")
        if not url or url in self._on_page or not is_image_file(url):
            return [], "link", node
        # A thumbnail that links to its full size lends it the texts.
        return [url], "link", first_below(node, "img") or node

    def _speaker(self, node: LexborNode) -> LexborNode:
        """The element itself, or the `img` of the `picture` around a `source`."""
        if node.tag != "source" or node.parent is None:
            return node
        return self._of_picture.get(node.parent.mem_id, node)

    def _shown(self, node: LexborNode) -> list[str]:
        # `#` is a placeholder: it names the page itself.
        written = (value for value in _written(node) if value and not value.startswith("#"))
        urls = (self._url_of(value, "image") for value in written)
        return list(dict.fromkeys(url for url in urls if url and self._is_image(node, url)))

    def _is_image(self, node: LexborNode, url: str) -> bool:
        """Frames show anything; an image is in one whose address ends like an image file."""
        return node.tag not in ("iframe", "embed") or is_image_file(url)


def _written(node: LexborNode) -> list[str | None]:
    """`src`, lazy-load attributes, the best of `srcset`, as the page writes them."""
    attributes = node.attributes
    if node.tag in ("img", "amp-img"):
        plain = [attributes.get(name) for name in ("src", *_LAZY, *_FULL_SIZE)]
        return plain + [best_candidate(attributes.get(name) or "") for name in _LAZY_SETS]
    if node.tag == "source":
        return [best_candidate(attributes.get(name) or "") for name in _LAZY_SETS]
    kind = (attributes.get("type") or "").strip().lower()
    if node.tag == "object":
        return [attributes.get("data")] if kind.startswith("image") else []
    if node.tag == "input":
        return [attributes.get("src")] if kind == "image" else []
    return [attributes.get("src")]
