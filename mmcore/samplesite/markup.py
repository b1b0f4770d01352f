"""HTML as a careless webmaster writes it, and the site's robots.txt and sitemap."""

from __future__ import annotations

import posixpath
import re
from html import escape
from random import Random
from urllib.parse import quote

from mmcore.samplesite.comments import AUTHORS
from mmcore.samplesite.config import rng
from mmcore.samplesite.plan import Figure, Page, Site, address
from mmcore.samplesite.texts import Texts, figure_texts, page_keywords, page_title

_SAFE = "/?=&~-._"
_PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
_MORE = {"en": "next page", "de": "nächste Seite"}


def _relative(path: str, directory: str) -> str:
    """A relative reference from a directory (ending in "/") to a path."""
    bare, mark, query = path.partition("?")
    text = posixpath.relpath(bare, directory)
    if bare.endswith("/"):
        text = "./" if text == "." else text + "/"
    return text + mark + query


class _Refs:
    """Writes references the ways webmasters do: relative, absolute, with raw blanks."""

    def __init__(self, page: Page, base_url: str, draw: Random) -> None:
        self.base_url, self.draw = base_url, draw
        self.directory = page.base or posixpath.dirname(page.path.partition("?")[0]) + "/"
        self.directory = self.directory.replace("//", "/")

    def __call__(self, path: str, *, raw: bool = True) -> str:
        if path.startswith("http://"):
            return escape(path)
        way = self.draw.random()
        if way < 0.15:
            return escape(address(self.base_url, path))
        text = path if way < 0.5 else _relative(path, self.directory)
        # blanks and umlauts as typed: parsers must encode them
        if raw and self.draw.random() < 0.5:
            return escape(text)
        return escape(quote(text, safe=_SAFE))


def _attributes(texts: Texts, figure: Figure) -> str:
    parts = []
    if texts.alt is not None:
        parts.append(f'alt="{escape(texts.alt)}"')
    if texts.title is not None:
        parts.append(f'title="{escape(texts.title)}"')
    parts.append(f'width="{figure.scene.width}" height="{figure.scene.height}"')
    return " ".join(parts)


def _image(figure: Figure, texts: Texts, refs: _Refs) -> str:
    """The <img> in one of its forms."""
    rest = _attributes(texts, figure)
    source = refs(figure.picture)
    if figure.dirt == "srcset":
        small, large = refs(figure.extra, raw=False), refs(figure.picture, raw=False)
        widths = f"{small} {figure.scene.width * 3 // 4}w, {large} {figure.scene.width}w"
        return f'<img src="{source}" srcset="{widths}" sizes="50vw" {rest}>'
    if figure.dirt == "picture_source":
        kind = "image/jpeg" if figure.scene.format == "webp" else "image/webp"
        extra = f'<source type="{kind}" srcset="{refs(figure.extra, raw=False)}">'
        return f'<picture>{extra}<img src="{source}" {rest}></picture>'
    way = refs.draw.random()
    if way < 0.1:
        return f'<img class="lazy" src="{_PIXEL}" data-src="{source}" {rest}>'
    if way < 0.2:
        return f'<IMG SRC="{source}" loading="lazy" {rest} />'
    return f'<img src="{source}" {rest}>'


def _comments(texts: Texts, draw: Random) -> str:
    if not texts.comments:
        return ""
    items = "\n".join(
        f'<li class="comment"><b class="author">{draw.choice(AUTHORS)}</b> '
        f'<span class="comment-text">{escape(text)}</span></li>'
        for text in texts.comments
    )
    return f'<ul class="comments">\n{items}\n</ul>'


def figure_html(figure: Figure, refs: _Refs) -> str:
    """One section: heading, figure, paragraph, comments."""
    texts, draw = figure_texts(figure), refs.draw
    image = _image(figure, texts, refs)
    if figure.detail:
        image = f'<a href="{refs(figure.detail)}">{image}</a>'
    caption = ""
    if texts.caption:
        caption = f"\n<figcaption>{escape(texts.caption)}</figcaption>"
    parts = [f"<h2>{escape(texts.heading)}</h2>"] if texts.heading else []
    parts.append(f"<figure>\n{image}{caption}\n</figure>")
    if texts.context:
        parts.append(f"<p>{escape(texts.context)}</p>")
    parts.append(_comments(texts, draw))
    return '<section class="entry">\n' + "\n".join(filter(None, parts)) + "\n</section>"


_ORNAMENT_ALTS = {"icon": "home", "banner": "banner", "blank": "canvas", "bomb": "panorama"}


def _ornaments(site: Site, page: Page, refs: _Refs) -> str:
    """Icons and the pictures that lead nowhere."""
    images = []
    for path in page.ornaments:
        picture = site.pictures[path]
        alt = _ORNAMENT_ALTS.get(picture.kind, "picture of the day")
        images.append(f'<div class="box"><img src="{refs(path)}" alt="{alt}"></div>')
    return "\n".join(images)


def _break(html: str, draw: Random) -> str:
    """Leave out end tags and quotes that parsers can do without."""
    html = html.replace("</li>", "").replace("</p>", "").replace("</section>", "", 1)
    html = html.replace("</body>", "</div></body>").replace("</html>", "")
    html = re.sub(r'class="([a-z-]+)"', r"class=\1", html)
    return html.replace("<h2>", "<h2><a name=x>") if draw.random() < 0.5 else html


def _head(page: Page, base_url: str, refs: _Refs) -> str:
    charset = "iso-8859-1" if page.latin1 else "utf-8"
    lines = [f'<meta charset="{charset}">', f"<title>{escape(page_title(page))}</title>"]
    if page.base:
        lines.append(f'<base href="{address(base_url, page.base)}">')
    lines.append(f'<meta name="keywords" content="{escape(", ".join(page_keywords(page)))}">')
    if page.meta_robots:
        lines.append(f'<meta name="robots" content="{page.meta_robots}">')
    if page.next_path:
        lines.append(f'<link rel="next" href="{refs(page.next_path, raw=False)}">')
    return "\n".join(lines)


def _footer(page: Page, refs: _Refs) -> str:
    links = [f'<a href="{refs(path)}">{escape(text)}</a>' for path, text in page.links]
    if page.next_path:
        text = _MORE[page.lang]
        links.append(f'<a rel="next" href="{refs(page.next_path)}">{text}</a>')
    links += ['<a href="#top">top</a>', '<a href="mailto:webmaster@example.org">mail</a>']
    return "<nav>\n" + "\n".join(links) + "\n</nav>"


def page_html(site: Site, page: Page, base_url: str) -> bytes:
    """The body of a page, encoded; a pure function of site, page and base URL."""
    draw = rng(site.config.seed, "markup", page.path)
    refs = _Refs(page, base_url, draw)
    lang = f' lang="{page.lang}"' if page.declares_lang else ""
    title = escape(page_title(page))
    body = [f"<h1>{title}</h1>", _ornaments(site, page, refs)]
    # each figure draws its own ways of writing, so one change on a page leaves the rest
    for figure in page.figures:
        refs.draw = rng(site.config.seed, "markup", page.path, figure.key)
        body.append(figure_html(figure, refs))
    refs.draw = draw
    body.append(_footer(page, refs))
    head = _head(page, base_url, refs)
    inner = "\n".join(filter(None, body))
    start = f"<!DOCTYPE html>\n<html{lang}>\n<head>\n{head}\n</head>\n"
    html = f"{start}<body>\n{inner}\n</body>\n</html>\n"
    if page.broken:
        html = _break(html, draw)
    return html.encode("iso-8859-1" if page.latin1 else "utf-8", "xmlcharrefreplace")


def robots_txt(base_url: str) -> bytes:
    """robots.txt: one forbidden folder with an exception, a tiny delay, and the sitemap."""
    lines = (
        "User-agent: *",
        "Disallow: /private/",
        "Allow: /private/press/",
        "Crawl-delay: 0.001",
        "",
        "User-agent: greedybot",
        "Disallow: /",
        "",
        f"Sitemap: {base_url}/sitemap.xml",
    )
    return ("\n".join(lines) + "\n").encode()


def sitemap_xml(site: Site, base_url: str) -> bytes:
    """sitemap.xml: the index, the galleries and one address that no longer exists."""
    listed = [p for p in site.pages.values() if p.kind in ("index", "about", "gallery", "copies")]
    listed += [p for p in site.pages.values() if p.dirt == "missing_page"][:1]
    urls = "\n".join(
        f"<url><loc>{escape(address(base_url, page.path))}</loc></url>" for page in listed
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}\n</urlset>\n'
    ).encode()
