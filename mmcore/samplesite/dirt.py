"""The dirt of the site: how much of each kind, and which scenes it falls on."""

from __future__ import annotations

from functools import lru_cache

from mmcore.samplesite.config import SiteConfig, rng

# kinds that fall on a scene's own picture or figure: (share of the images, least amount)
ON_SCENES: dict[str, tuple[float, int]] = {
    "near_copy": (0.05, 2),  # resized and re-encoded, captioned in the other language
    "exact_copy": (0.03, 2),  # the same bytes under another URL
    "lossless_copy": (0.01, 1),  # other bytes, the same pixels
    "srcset": (0.04, 1),  # a smaller candidate beside the picture
    "picture_source": (0.02, 1),  # a second format in a <picture>
    "missing_alt": (0.06, 2),
    "boilerplate_alt": (0.06, 2),
    "wrong_caption": (0.04, 2),
    "personal_data": (0.02, 2),  # an e-mail address or a phone number in the caption
    "octet_stream": (0.005, 1),  # a real picture with a meaningless content type
    "redirected_image": (0.01, 2),  # a redirect that leads to the picture
    "throttled_image": (0.005, 2),  # 429 with Retry-After on the first request
}
# kinds that are pictures of their own
PICTURES: dict[str, tuple[float, int]] = {
    "icon": (0.004, 2),
    "truncated": (0.01, 2),
    "bomb": (0.0005, 1),
    "html_for_image": (0.003, 1),  # an image URL that answers text/html
    "html_as_png": (0.003, 1),  # HTML that claims to be image/png
    "missing_image": (0.01, 2),
    "image_loop": (0.001, 1),
    "empty_image": (0.002, 1),
    "blank": (0.002, 1),
    "banner": (0.002, 1),
    "never_ends": (0.0, 1),
}
# kinds that are pages, or fall on pages
PAGES: dict[str, tuple[float, int]] = {
    "missing_page": (0.005, 2),
    "page_loop": (0.001, 1),
    "moved_page": (0.003, 2),
    "throttled_page": (0.001, 1),
    "slow_page": (0.001, 1),
    "out_of_scope": (0.004, 2),
}
# kinds that carry scenes shown nowhere else; the amount is that of withheld scenes
WITHHELD = (
    "robots_page",
    "noindex_page",
    "noai_page",
    "noai_header_page",
    "robots_image",
    "noindex_image",
    "noai_image",
)


def _amount(config: SiteConfig, rule: tuple[float, int]) -> int:
    return max(rule[1], round(config.images * rule[0]))


def dirt_counts(config: SiteConfig) -> dict[str, int]:
    """How many figures, pictures or pages of each kind of dirt the site has, exactly.

    Withheld kinds count pictures; ``near_copy`` grows in edition 2 by ``late_copies``.
    """
    rules = {**ON_SCENES, **PICTURES, **PAGES}
    counts = {kind: _amount(config, rule) for kind, rule in rules.items()}
    for i, kind in enumerate(WITHHELD):
        counts[kind] = len(range(i, config.withheld_images, len(WITHHELD)))
    if config.edition == 2:
        counts["near_copy"] += late_copies(config)
    return counts


def late_copies(config: SiteConfig) -> int:
    """How many re-encoded copies of old pictures edition 2 adds."""
    return _amount(config, (0.02, 2))


@lru_cache(maxsize=8)
def deal(config: SiteConfig) -> dict[str, tuple[int, ...]]:
    """Which scene each kind of dirt falls on: no scene is dealt two kinds.

    Also deals ``removed`` (scenes edition 2 drops) and ``late_copy`` (scenes of which
    edition 2 shows a new copy). The same for both editions. Empty hands are possible only
    for kinds whose amount is 0.
    """
    order = list(range(config.images))
    rng(config.seed, "deal").shuffle(order)
    amounts = {kind: _amount(config, rule) for kind, rule in ON_SCENES.items()}
    amounts["removed"] = config.removed_images
    amounts["late_copy"] = late_copies(config)
    hands, start = {}, 0
    for kind, amount in amounts.items():
        hands[kind] = tuple(order[start : start + amount])
        start += amount
    return hands
