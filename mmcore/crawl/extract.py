"""A page's images with the texts around them, its links, and what it says about itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mmcore.crawl.captions import Captions
from mmcore.crawl.comments import assign_comments, find_comments
from mmcore.crawl.consent import meta_directives
from mmcore.crawl.context import Paragraphs
from mmcore.crawl.dom import Texts, ancestors, attribute, fold
from mmcore.crawl.licences import Licences
from mmcore.crawl.shown import ELEMENTS, Shown
from mmcore.crawl.tdm import UNSAID, Reservation, from_metas
from mmcore.crawl.urls import InvalidUrl, is_image_file, resolve, resolve_or_none

_LINK_RELATIONS = frozenset(
    [
        "next",
        "prev",
        "previous",
        "up",
        "home",
        "contents",
        "index",
        "start",
        "chapter",
        "section",
        "appendix",
    ]
)
_HEADING = re.compile(r"h[1-6]\Z")
_REFRESH = re.compile(r"""\A\s*[\d.]*\s*[;,]?\s*(?:url\s*=)?\s*["']?([^"']+)""", re.I)


@dataclass(frozen=True, slots=True)
class Reference:
    """One image as a page shows it. Texts are folded; None where the page has none."""

    image_url: str
    element: str
    """`img`, `source`, `object`, `input`, `embed`, `iframe`, `link` (a link to an image file) or
    `meta` (og:image)."""
    alt: str | None = None
    title: str | None = None
    caption: str | None = None
    context: str | None = None
    heading: str | None = None
    comments: tuple[str, ...] = ()
    lang: str | None = None
    license: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """What a page holds. `references` in document order; `links` each once, in document order."""

    title: str | None
    keywords: tuple[str, ...]
    meta_robots: str | None
    directives: frozenset[str]
    links: tuple[str, ...]
    references: tuple[Reference, ...]
    invalid: tuple[tuple[str, str], ...]
    """(`page` or `image`, as written) of what is http(s) but no usable URL."""
    canonical: str | None = None
    """Where the page says it really lives (`<link rel=canonical>`, RFC 6596)."""
    tdm: Reservation = UNSAID


@dataclass
class _Reader:
    """State while one page is read."""

    base: str
    encoding: str
    invalid: list[tuple[str, str]] = field(default_factory=list)

    def url(self, reference: str | None, kind: str = "image") -> str | None:
        if not reference or not reference.strip():
            return None
        try:
            return resolve(self.base, reference, self.encoding)
        except InvalidUrl:
            self.invalid.append((kind, fold(reference)[:2000]))
            return None

    def quietly(self, reference: str | None) -> str | None:
        """The URL of what is neither a page nor an image to fetch."""
        return resolve_or_none(self.base, reference)


def extract_page(
    html: str, url: str, encoding: str = "utf-8", language: str | None = None, agent: str = ""
) -> Page:
    """Read a page.

    html: decoded text, however broken. url: of the page, for relative references (`<base>` is
    honoured). language: Content-Language header. agent: product token for scoped meta directives.
    """
    tree = LexborHTMLParser(html)
    reader = _Reader(_base(tree, url, encoding), encoding)
    metas = [m.attributes for m in tree.css("meta")]
    named = [(m.get("name") or "", m.get("content") or "") for m in metas]
    robots = [content for name, content in named if name.strip().lower() in ("robots", agent)]
    references = _references(tree, reader, _page_language(tree, metas, language))
    references += _open_graph(metas, reader, references)
    return Page(
        title=_title(tree),
        keywords=_keywords(named),
        meta_robots=", ".join(fold(c) for c in robots) or None,
        directives=meta_directives(named, agent),
        links=tuple(_links(tree, reader, metas)),
        references=tuple(references),
        invalid=tuple(dict.fromkeys(reader.invalid)),
        canonical=_canonical(tree, reader),
        tdm=from_metas(named, url),
    )


def _base(tree: LexborHTMLParser, url: str, encoding: str) -> str:
    node = tree.css_first("base[href]")
    if node is None:
        return url
    try:
        return resolve(url, attribute(node, "href") or "", encoding) or url
    except InvalidUrl:
        return url


def _canonical(tree: LexborHTMLParser, reader: _Reader) -> str | None:
    written = (attribute(node, "href") for node in tree.css('link[rel~="canonical" i]'))
    return next((url for url in map(reader.quietly, written) if url), None)


def _title(tree: LexborHTMLParser) -> str | None:
    node = tree.css_first("head > title") or tree.css_first("title")
    return (fold(node.text(deep=True)) or None) if node is not None else None


def _keywords(named: list[tuple[str, str]]) -> tuple[str, ...]:
    values = (content for name, content in named if name.strip().lower() == "keywords")
    words = (fold(word) for value in values for word in re.split(r"[,;]", value))
    return tuple(dict.fromkeys(word for word in words if word))


def _page_language(
    tree: LexborHTMLParser, metas: list[dict[str, str | None]], header: str | None
) -> str | None:
    """Language of what stands under no lang attribute: meta http-equiv, else the HTTP header."""
    root = tree.css_first("html")
    stated = _primary(root.attributes.get("lang")) if root is not None else None
    if stated:
        return stated
    for meta in metas:
        if (meta.get("http-equiv") or "").lower() == "content-language" and meta.get("content"):
            return _primary(meta["content"])
    return _primary(header)


def _primary(tag: str | None) -> str | None:
    """`de` of `de-AT, en`; None for what is no language tag."""
    first = re.split(r"[,\s]", (tag or "").strip())[0].replace("_", "-").split("-")[0].lower()
    return first if re.fullmatch(r"[a-z]{2,3}", first) else None


def _language(around: list[LexborNode], fallback: str | None) -> str | None:
    for node in around:
        attributes = node.attributes
        tag = _primary(attributes.get("lang") or attributes.get("xml:lang"))
        if tag:
            return tag
    return fallback


def _links(
    tree: LexborHTMLParser, reader: _Reader, metas: list[dict[str, str | None]]
) -> Iterator[str]:
    """URLs of pages the page leads to; links to image files are references, not links."""
    seen: set[str] = set()
    for written in dict.fromkeys(_written_links(tree, metas)):
        url = reader.url(written, "page")
        if url and url not in seen and not is_image_file(url):
            seen.add(url)
            yield url


def _written_links(tree: LexborHTMLParser, metas: list[dict[str, str | None]]) -> Iterator[str]:
    for node in tree.css("a[href],area[href],link[rel][href],frame[src],iframe[src]"):
        attributes = node.attributes
        if node.tag == "link":
            relations = set((attributes.get("rel") or "").lower().split())
            if relations.isdisjoint(_LINK_RELATIONS):
                continue
        written = (attributes.get("href") or attributes.get("src") or "").strip()
        if written and not written.startswith("#"):
            yield written
    for meta in metas:
        if (meta.get("http-equiv") or "").lower() == "refresh":
            match = _REFRESH.match(meta.get("content") or "")
            if match:
                yield match.group(1).strip()


def _references(
    tree: LexborHTMLParser, reader: _Reader, page_language: str | None
) -> list[Reference]:
    """Every image of the page's body in document order, with its texts."""
    nodes = tree.css(f"h1,h2,h3,h4,h5,h6,{ELEMENTS}")
    shown = Shown(tree, [n for n in nodes if not _HEADING.match(n.tag or "")], reader.url)
    texts = Texts()
    comments = find_comments(tree, texts) if shown.images else []
    order = _document_order(tree, shown.images, comments)
    about = assign_comments(shown.images, comments, order)
    captions = Captions(tree, texts, shown.images)
    paragraphs = Paragraphs(texts, frozenset(node.mem_id for node, _ in comments))
    licences = Licences(tree, reader.quietly)
    outline: list[tuple[int, str]] = []
    found: list[Reference] = []
    for node in nodes:
        if _HEADING.match(node.tag or ""):
            _enter_heading(outline, node, texts)
            continue
        urls, element, subject = shown.event(node)
        if not urls:
            continue
        around = list(ancestors(subject))
        caption = captions.of(subject, around)
        shared = Reference(
            "",
            element,
            alt=_alt(subject),
            title=_title_attribute(subject, around),
            caption=caption or None,
            context=paragraphs.nearest(subject, around, caption) or None,
            heading=" > ".join(text for _, text in outline) or None,
            comments=tuple(about.get(subject.mem_id, ())),
            lang=_language([subject, *around], page_language),
            license=licences.of(around),
        )
        found += [replace(shared, image_url=url) for url in urls]
    return found


def _enter_heading(outline: list[tuple[int, str]], node: LexborNode, texts: Texts) -> None:
    level, text = int((node.tag or "h1")[1]), texts.of(node)
    while outline and outline[-1][0] >= level:
        outline.pop()
    if text:
        outline.append((level, text))


def _alt(node: LexborNode) -> str | None:
    """The alt text; "" is a statement too (decoration), None is no statement."""
    value = attribute(node, "alt")
    return fold(value) if value is not None else None


def _title_attribute(node: LexborNode, around: list[LexborNode]) -> str | None:
    """The element's title, or the one of the link or figure directly around it."""
    own = fold(attribute(node, "title"))
    if own or not around or around[0].tag not in ("a", "figure", "picture"):
        return own or None
    return fold(attribute(around[0], "title")) or None


def _document_order(
    tree: LexborHTMLParser, images: list[LexborNode], comments: list[tuple[LexborNode, str]]
) -> dict[int, int]:
    """`mem_id` -> place in the document, of images and comments."""
    if not comments:
        return {}
    wanted = {node.mem_id for node in images} | {node.mem_id for node, _ in comments}
    tags = sorted({node.tag or "*" for node in images} | {node.tag or "*" for node, _ in comments})
    ordered = (n.mem_id for n in tree.css(",".join(tags)) if n.mem_id in wanted)
    return {identity: place for place, identity in enumerate(ordered)}


def _open_graph(
    metas: list[dict[str, str | None]], reader: _Reader, shown: list[Reference]
) -> list[Reference]:
    """og:image references that the page does not show anyway, with og:image:alt."""
    known = {reference.image_url for reference in shown}
    found: list[Reference] = []
    for meta in metas:
        name = (meta.get("property") or meta.get("name") or "").strip().lower()
        content = meta.get("content") or ""
        if name in ("og:image", "og:image:url", "twitter:image"):
            url = reader.url(content)
            if url and url not in known:
                known.add(url)
                found.append(Reference(url, "meta"))
        elif name in ("og:image:alt", "twitter:image:alt") and found and found[-1].alt is None:
            found[-1] = Reference(found[-1].image_url, "meta", alt=fold(content) or None)
    return found
