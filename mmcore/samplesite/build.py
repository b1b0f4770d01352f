"""Plan a whole site: galleries, detail pages, traps, and the links between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import cycle

from mmcore.samplesite.config import SiteConfig, rng
from mmcore.samplesite.dirt import dirt_counts
from mmcore.samplesite.pictures import (
    broken_pictures,
    kinds_of_scenes,
    scene_pictures,
    withheld_pictures,
)
from mmcore.samplesite.plan import ABSENT, Figure, Page, Picture, Site
from mmcore.samplesite.scenes import Scene, all_scenes, scenes

_LATE = 1000  # galleries of edition 2 are numbered from here
_DETAILS = 0.2  # share of the scenes with a page of their own
_SLUGS = {
    "en": ("harbour", "Market Day", "garden", "winter", "old town", "workshop", "meadow"),
    "de": ("hafen", "Frühling am See", "garten", "winter", "altstadt", "werkstatt", "wiese"),
}
_FOLDER = {"en": "gallery", "de": "galerie"}
_TEXT_DIRT = ("missing_alt", "boilerplate_alt", "wrong_caption", "personal_data")
_MARKUP_DIRT = ("srcset", "picture_source")
_OTHER = {"en": "de", "de": "en"}


def _page_size(config: SiteConfig) -> int:
    return 16 if config.images >= 200 else 6


def _gallery_language(number: int) -> str:
    return "de" if number % 3 == 1 else "en"


def _shelf(config: SiteConfig, scene: Scene) -> tuple[int, int]:
    """Gallery and page of a scene; cut by index, so a scene never moves between editions."""
    size = _page_size(config)
    late = scene.index >= config.images
    number, rest = divmod(scene.index - late * config.images, 3 * size)
    return number + late * _LATE, rest // size


def scene_language(config: SiteConfig, scene: Scene) -> str:
    """The language of the gallery that shows the scene first."""
    return _gallery_language(_shelf(config, scene)[0])


def _figure(config: SiteConfig, scene: Scene, pictures: list[Picture], kind: str) -> Figure:
    """A scene at its first place."""
    told = scene
    if kind == "wrong_caption":
        every = all_scenes(config.seed, config.images)[: config.images]
        others = [s for s in every if s.main.shape != scene.main.shape]
        told = rng(config.seed, "wrong", scene.index).choice(others)
    return Figure(
        key=f"first/{scene.index}",
        picture=pictures[0].path,
        scene=scene,
        told=told,
        lang=scene_language(config, scene),
        dirt=kind if kind in _TEXT_DIRT + _MARKUP_DIRT else "",
        extra=pictures[1].path if kind in _MARKUP_DIRT else "",
    )


def _gallery_paths(number: int, lang: str, pages: int) -> list[str]:
    slug = _SLUGS[lang][number % len(_SLUGS[lang])]
    folder = f"/{_FOLDER[lang]}/{slug}-{number}"
    if number % 4 == 3:  # pagination by query
        word = {"en": "page", "de": "seite"}[lang]
        return [f"{folder}/"] + [f"{folder}/?{word}={i + 1}" for i in range(1, pages)]
    word = {"en": "page", "de": "seite"}[lang]
    return [f"{folder}/index.html"] + [f"{folder}/{word}{i + 1}.html" for i in range(1, pages)]


def _manners(config: SiteConfig, path: str, lang: str) -> dict[str, object]:
    """What is careless about one page; depends on its path only."""
    draw = rng(config.seed, "manners", path)
    manners: dict[str, object] = {"declares_lang": draw.random() >= 0.25}
    manners["broken"] = draw.random() < 0.2
    if draw.random() < 0.12:
        manners["base"] = draw.choice(("/media/", "/img/"))
    manners["latin1"] = lang == "de" and draw.random() < 0.12
    return manners


def _gallery(
    config: SiteConfig, number: int, lang: str, chunks: list[list[Figure]], kind: str = "gallery"
) -> list[Page]:
    paths = _gallery_paths(number, lang, len(chunks))
    slug = _SLUGS[lang][number % len(_SLUGS[lang])]
    title = f"{'Galerie' if lang == 'de' else 'Gallery'} {slug.title()} {number}"
    pages = []
    for path, following, chunk in zip(paths, [*paths[1:], ""], chunks, strict=True):
        page = Page(path, kind, lang, title, figures=tuple(chunk), next_path=following)
        manners = _manners(config, path, lang)
        pages.append(replace(page, first_edition=1 + (number % 2000 >= _LATE), **manners))  # type: ignore[arg-type]
    return pages


def _revised(config: SiteConfig, page: Page, first: str) -> Page:
    """In edition 2 a tenth of the old galleries' pages get new texts."""
    stays = rng(config.seed, "revised", page.path).random() >= 0.1
    # the first page always changes, so that a small site has a change as well
    if config.edition == 1 or page.first_edition == 2 or (stays and page.path != first):
        return page
    figures = tuple(replace(figure, revision=1) for figure in page.figures)
    return replace(page, figures=figures)


def _details(config: SiteConfig, pages: list[Page]) -> Iterator[Page]:
    """Give some figures a page of their own and link them to it; yields all pages."""
    for page in pages:
        figures = list(page.figures)
        own = []
        for i, figure in enumerate(figures):
            chance = rng(config.seed, "detail", figure.key).random()
            if figure.dirt or not figure.key.startswith("first/") or chance >= _DETAILS:
                continue
            folder = {"en": "photo", "de": "foto"}[figure.lang]
            path = f"/{folder}/{1000 + 7 * figure.scene.index}.html"
            figures[i] = replace(figure, detail=path)
            again = replace(figure, key=f"detail/{figure.scene.index}")
            detail = Page(path, "detail", figure.lang, "", figures=(again,))
            back = ((page.path, page.title),)
            own.append(replace(detail, links=back, **_manners(config, path, figure.lang)))  # type: ignore[arg-type]
        yield replace(page, figures=tuple(figures))
        yield from own


def _galleries(config: SiteConfig, pictures: dict[int, list[Picture]]) -> list[Page]:
    """Every scene at its first place."""
    kinds = kinds_of_scenes(config)
    galleries: dict[int, dict[int, list[Figure]]] = {}
    for scene in scenes(config):
        kind, _ = kinds.get(scene.index, ("", 0))
        figure = _figure(config, scene, pictures[scene.index], kind)
        number, page = _shelf(config, scene)
        galleries.setdefault(number, {}).setdefault(page, []).append(figure)
    pages = [
        page
        for number, chunks in galleries.items()
        for page in _gallery(config, number, _gallery_language(number), list(chunks.values()))
    ]
    return [_revised(config, page, pages[0].path) for page in pages]


def _chunks(config: SiteConfig, figures: list[Figure]) -> list[list[Figure]]:
    size = _page_size(config)
    return [figures[i : i + size] for i in range(0, len(figures), size)]


def _old_galleries(pages: list[Page]) -> list[int]:
    """Rows of the gallery pages that both editions have; what hangs there never moves."""
    return [i for i, page in enumerate(pages) if page.kind == "gallery" and page.first_edition == 1]


def _copies(config: SiteConfig, pictures: dict[int, list[Picture]]) -> list[Page]:
    """Galleries of copies: re-encoded ones in the other language, exact ones in the same."""
    groups: dict[tuple[int, str], list[Figure]] = {}
    for scene in scenes(config):
        for copy in pictures[scene.index][1:]:
            lang = scene_language(config, scene)
            if copy.kind == "near_copy":
                number, lang = 2000, _OTHER[lang]
            elif copy.kind in ("exact_copy", "lossless_copy"):
                number = 2100
            else:
                continue
            number += (copy.first_edition - 1) * _LATE + (lang == "de")
            figure = Figure(f"copy/{copy.path}", copy.path, scene, scene, lang)
            groups.setdefault((number, lang), []).append(figure)
    return [
        page
        for (number, lang), figures in sorted(groups.items())
        for page in _gallery(config, number, lang, _chunks(config, figures), "copies")
    ]


def _ban_pages(config: SiteConfig, banned: list[Picture]) -> list[Page]:
    """Pages under robots.txt, noindex or noai, with scenes that stand nowhere else."""
    rules: dict[str, dict[str, str]] = {
        "robots_page": {"path": "/private/album-{}.html", "fate": "robots_disallowed"},
        "noindex_page": {"path": "/drafts/draft-{}.html", "meta_robots": "noindex"},
        "noai_page": {"path": "/artists/artist-{}.html", "meta_robots": "noai, noimageai"},
        "noai_header_page": {"path": "/artists/studio-{}.html", "header_robots": "noai"},
    }
    pages = []
    for kind, rule in rules.items():
        found = [picture for picture in banned if picture.kind == kind]
        extra = {k: v for k, v in rule.items() if k not in ("path", "fate")}
        fate = rule.get("fate", kind.partition("_")[0])
        for i in range(0, len(found), 4):
            path = rule["path"].format(i // 4 + 1)
            figures = tuple(_plain_figure(picture) for picture in found[i : i + 4])
            page = Page(path, "banned", "en", f"Album {i // 4 + 1}", fate, kind, figures=figures)
            pages.append(replace(page, **extra))  # type: ignore[arg-type]
    return pages


def _plain_figure(picture: Picture) -> Figure:
    assert picture.scene is not None
    return Figure(f"only/{picture.path}", picture.path, picture.scene, picture.scene, "en")


def _trap(path: str, dirt: str, fate: str, **more: object) -> Page:
    return Page(path, "trap", "en", "", fate, dirt, **more)  # type: ignore[arg-type]


def _trap_pages(config: SiteConfig, pages: list[Page]) -> list[Page]:
    """Dead links, loops, old addresses and pages of other people."""
    counts = dirt_counts(config)
    galleries = [pages[i].path for i in _old_galleries(pages)]
    traps = [
        _trap(f"/gone/visit-{i + 1}.html", "missing_page", "http_error", status=404)
        for i in range(counts["missing_page"])
    ]
    for i in range(counts["moved_page"]):
        target = galleries[i * 3 % len(galleries)]
        path = f"/old/gallery-{i + 1}.html"
        traps.append(_trap(path, "moved_page", "redirected", status=301, target=target))
    for i in range(counts["page_loop"]):
        here, there = f"/loop/{i + 1}/a.html", f"/loop/{i + 1}/b.html"
        also = ("too_many_redirects", "redirected")
        loop = {"status": 302, "also": also}
        traps.append(_trap(here, "page_loop", "redirect_loop", target=there, **loop))
        # only a crawler that lists every hop reports the other half
        loop["also"] = (*also, ABSENT)
        traps.append(_trap(there, "", "redirect_loop", target=here, **loop))
    for i in range(counts["out_of_scope"]):
        url = f"http://elsewhere.example/friends/{i + 1}.html"
        traps.append(Page(url, "outside", "en", "", "out_of_scope", "out_of_scope"))
    return traps


def _slow_and_throttled(config: SiteConfig, pages: list[Page]) -> list[Page]:
    """Pick gallery pages that answer late, and others that first refuse."""
    counts = dirt_counts(config)
    rows = _old_galleries(pages)
    rng(config.seed, "slow").shuffle(rows)
    for i in rows[: counts["slow_page"]]:
        pages[i] = replace(pages[i], slow=True, dirt="slow_page")
    rest = rows[counts["slow_page"] :][: counts["throttled_page"]]
    for order, i in enumerate(rest):
        pages[i] = replace(pages[i], refusals=1 + order % 2, dirt="throttled_page")
    return pages


def _scatter(pages: list[Page], links: Iterable[tuple[str, str]]) -> list[Page]:
    """Spread links over the gallery pages, one after the other."""
    rows = _old_galleries(pages)
    for i, link in zip(cycle(rows), links, strict=False):
        pages[i] = replace(pages[i], links=(*pages[i].links, link))
    return pages


def _hang(config: SiteConfig, pages: list[Page], broken: list[Picture]) -> list[Page]:
    """Hang every broken picture on one gallery page, and an icon on every page."""
    rows = _old_galleries(pages)
    icons = [picture.path for picture in broken if picture.kind == "icon"]
    for order, i in enumerate(rows):
        pages[i] = replace(pages[i], ornaments=(icons[order % len(icons)],))
    others = [picture.path for picture in broken if picture.kind != "icon"]
    # with fewer gallery pages than icons, the rest of the icons hang like the others
    for i, path in zip(cycle(rows), icons[len(rows) :] + others, strict=False):
        pages[i] = replace(pages[i], ornaments=(*pages[i].ornaments, path))
    return pages


def _guest_figures(pages: list[Page], banned: list[Picture]) -> list[Page]:
    """Pictures banned one by one stand on ordinary pages."""
    rows = _old_galleries(pages)
    guests = [p for p in banned if p.kind in ("robots_image", "noindex_image", "noai_image")]
    for i, picture in zip(cycle(rows), guests, strict=False):
        figure = replace(_plain_figure(picture), lang=pages[i].lang)
        pages[i] = replace(pages[i], figures=(*pages[i].figures, figure))
    return pages


def _front(pages: list[Page]) -> list[Page]:
    """The index with a link to every gallery, and a page about the site."""
    starts, seen = [], set()
    for page in pages:
        if page.kind in ("gallery", "copies") and page.title not in seen:
            seen.add(page.title)
            starts.append((page.path, page.title))
    index = Page(
        "/", "index", "en", "Pictures of shapes", links=(*starts, ("/about.html", "About"))
    )
    about = Page("/about.html", "about", "en", "About these pictures", links=(("/", "Home"),))
    return [index, about]


@lru_cache(maxsize=4)
def build(config: SiteConfig) -> Site:
    """Plan the site of a config; a pure function, cheap enough to call at server start."""
    own = scene_pictures(config)
    banned, broken = withheld_pictures(config), broken_pictures(config)
    pages = _galleries(config, own)
    pages = _slow_and_throttled(config, pages)
    pages = _hang(config, pages, broken)
    pages = list(_details(config, pages)) + _copies(config, own)
    pages = _guest_figures(pages, banned)
    albums, traps = _ban_pages(config, banned), _trap_pages(config, pages)
    linked = [page for page in traps if not page.path.endswith("/b.html")]
    pages = _scatter(pages, [(page.path, "more pictures") for page in [*albums, *linked]])
    pages = [*_front(pages), *pages, *albums, *traps]
    pictures = [*(p for found in own.values() for p in found), *banned, *broken]
    return Site(config, {p.path: p for p in pictures}, {p.path: p for p in pages})
