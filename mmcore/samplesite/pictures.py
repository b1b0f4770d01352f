"""Plan the site's pictures: the scenes' own, their copies, and everything broken."""

from __future__ import annotations

from dataclasses import replace

from mmcore.samplesite.config import SiteConfig, rng
from mmcore.samplesite.dirt import PICTURES, WITHHELD, deal, dirt_counts
from mmcore.samplesite.plan import ABSENT, KEPT, Picture
from mmcore.samplesite.scenes import Scene, scenes, withheld

_FOLDERS = ("/img", "/media/2024", "/bilder/schöne formen", "/photos/My Pictures")
_STEMS = ("IMG_{}", "dsc{}", "bild-{}", "photo_{}")
_ENDINGS = {
    "jpeg": (".jpg", ".jpg", ".jpeg", ".JPG"),
    "png": (".png", ".png", ".PNG"),
    "webp": (".webp", ".webp", ".WEBP"),
}
_DUPLICATE = ("dedup:near_duplicate", "dedup:exact_duplicate")

# what each picture that shows no scene must end as, and what is right as well
FATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "icon": ("clean:too_small", ("clean:too_few_bytes", "clean:blank")),
    "truncated": ("clean:truncated", ("clean:decode_error",)),
    "bomb": ("clean:too_many_pixels", ()),
    "html_for_image": ("crawl:wrong_content_type", ()),
    "html_as_png": ("clean:not_an_image", ("crawl:wrong_content_type",)),
    "missing_image": ("crawl:http_error", ()),
    "image_loop": ("crawl:redirect_loop", ("crawl:too_many_redirects",)),
    "empty_image": ("crawl:empty", ("clean:not_an_image",)),
    "blank": ("clean:blank", ("clean:too_few_bytes",)),
    "banner": ("clean:bad_aspect", ("clean:too_small",)),
    "never_ends": ("crawl:timeout", ()),
}


def picture_path(scene: Scene) -> str:
    """Where a scene's own picture lives; never changes between editions."""
    draw = rng(scene.seed, "url", scene.index)
    folder = draw.choices(_FOLDERS, (55, 20, 12, 13))[0]
    stem = draw.choice(_STEMS).format(1000 + 7 * scene.index)
    return f"{folder}/{stem}{draw.choice(_ENDINGS[scene.format])}"


def _copy(scene: Scene, original: Picture, kind: str, late: bool = False) -> Picture:
    """A second URL of a scene; its bytes differ as the kind says."""
    draw = rng(scene.seed, kind, late, scene.index)
    number = 500_000 + 7 * scene.index + int(late)
    fate = _DUPLICATE[0]
    also: tuple[str, ...] = (KEPT,)
    image_format, scale, quality = scene.format, 1.0, 86
    if kind == "exact_copy":
        fate, also = KEPT, ()
    elif kind == "lossless_copy":
        image_format, fate, also = "png", _DUPLICATE[1], (KEPT, _DUPLICATE[0])
    elif kind == "picture_source":
        image_format, also = "webp", (KEPT, ABSENT)
        if scene.format == "webp":
            image_format = "jpeg"
    elif kind == "srcset":
        scale, also = 0.75, (KEPT, ABSENT)
    else:
        image_format = draw.choice([f for f in ("jpeg", "webp") if f != scene.format])
        small = min(scene.width, scene.height) < 210
        scale = draw.choice((1.15, 1.3) if small else (0.75, 0.85, 1.2))
        quality = draw.randint(80, 92)
    folder = {"exact_copy": "/mirror", "srcset": "/img/small"}.get(kind, "/share")
    return Picture(
        f"{folder}/{number}{_ENDINGS[image_format][0]}",
        kind,
        scene,
        fate,
        also,
        image_format,
        scale,
        quality,
        target=original.path,
        first_edition=2 if late else 1,
    )


def _own(config: SiteConfig, scene: Scene, kind: str, order: int) -> list[Picture]:
    """The picture(s) that show a scene at its first place, dirty as its kind asks."""
    first = 1 if scene.index < config.images else 2
    plain = Picture(picture_path(scene), "", scene, KEPT, format=scene.format, first_edition=first)
    if kind in ("near_copy", "exact_copy", "lossless_copy", "srcset", "picture_source"):
        copy = _copy(scene, plain, kind)
        also = {"exact_copy": (), "picture_source": (*_DUPLICATE, ABSENT)}.get(kind, _DUPLICATE)
        return [replace(plain, also=also), copy]
    if kind == "octet_stream":
        return [replace(plain, kind=kind, content_type="application/octet-stream")]
    if kind == "throttled_image":
        return [replace(plain, kind=kind, refusals=1 + order % 2)]
    if kind == "redirected_image":
        path = f"/go/{1000 + 7 * scene.index}"
        also = (*plain.also, ABSENT)
        jump = Picture(
            path, kind, scene, KEPT, format=scene.format, status=302, target=plain.path,
            first_edition=first,
        )  # fmt: skip
        return [jump, replace(plain, also=also, kind="redirect_target")]
    if kind == "late_copy" and config.edition == 2:
        return [replace(plain, also=_DUPLICATE), _copy(scene, plain, "near_copy", late=True)]
    return [plain]


def kinds_of_scenes(config: SiteConfig) -> dict[int, tuple[str, int]]:
    """Scene index -> (kind of dirt dealt to it, its order within the kind)."""
    return {
        index: (kind, order)
        for kind, hand in deal(config).items()
        for order, index in enumerate(hand)
    }


def scene_pictures(config: SiteConfig) -> dict[int, list[Picture]]:
    """Scene index -> its pictures, the one to show first in front."""
    kinds = kinds_of_scenes(config)
    return {
        scene.index: _own(config, scene, *kinds.get(scene.index, ("", 0)))
        for scene in scenes(config)
    }


def withheld_pictures(config: SiteConfig) -> list[Picture]:
    """Pictures that must never be taken, each with the kind of its ban."""
    pictures = []
    for i, scene in enumerate(withheld(config)):
        kind = WITHHELD[i % len(WITHHELD)]
        path, robots = picture_path(scene), ""
        also: tuple[str, ...] = (ABSENT,)
        reason = kind.partition("_")[0]
        fate = "crawl:robots_disallowed" if reason == "robots" else f"crawl:{reason}"
        if kind == "robots_image":
            path, also = f"/private{path}", ()
        elif kind in ("noindex_image", "noai_image"):
            robots, also = reason, ()
        pictures.append(Picture(path, kind, scene, fate, also, format=scene.format, robots=robots))
    return pictures


_BROKEN_PATHS = {
    "icon": "/icons/icon-{}.png",
    "truncated": "/img/upload-{}.jpg",
    "bomb": "/img/panorama-{}.png",
    "html_for_image": "/img/moved-{}.jpg",
    "html_as_png": "/img/chart-{}.png",
    "missing_image": "/img/lost-{}.jpg",
    "image_loop": "/go/round-{}.jpg",
    "empty_image": "/img/zero-{}.jpg",
    "blank": "/img/canvas-{}.png",
    "banner": "/img/banner-{}.jpg",
    "never_ends": "/img/endless-{}.jpg",
}


def broken_pictures(config: SiteConfig) -> list[Picture]:
    """Every picture that no one should keep, in the planned amounts."""
    shown = scenes(SiteConfig(seed=config.seed, images=config.images))
    counts = dirt_counts(config)
    pictures = []
    for kind in PICTURES:
        fate, also = FATES[kind]
        picked = rng(config.seed, "broken", kind).sample(shown, counts[kind])
        for i, scene in enumerate(picked):
            path = _BROKEN_PATHS[kind].format(i + 1)
            shows = scene if kind == "truncated" else None
            pictures.append(Picture(path, kind, shows, fate, also, "jpeg", variant=i))
    return pictures
