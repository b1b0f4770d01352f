"""The truth about a site: what every picture shows, and what must happen to every URL.

For tests and evaluation only; no stage of the pipeline may read it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pyarrow as pa

from mmcore.samplesite import english, german
from mmcore.samplesite.build import build
from mmcore.samplesite.config import SiteConfig
from mmcore.samplesite.pictures import FATES
from mmcore.samplesite.plan import Picture, address
from mmcore.samplesite.questions import questions, tags
from mmcore.samplesite.scenes import Scene
from mmcore.samplesite.texts import figure_texts

_STRINGS = pa.list_(pa.string())
TRUTH_SCHEMA = pa.schema(
    [
        ("image_url", pa.string()),
        ("scene", pa.string()),
        ("cluster", pa.string()),
        ("shows", pa.string()),
        ("captions", _STRINGS),
        ("captions_de", _STRINGS),
        ("qa", pa.list_(pa.struct([("question", pa.string()), ("answer", pa.string())]))),
        ("tags", _STRINGS),
        ("sentiment", pa.string()),
        ("fate", pa.string()),
        ("also", _STRINGS),
        ("dirt", pa.string()),
        ("copy_of", pa.string()),
        ("leads_to", pa.string()),
        ("page_urls", _STRINGS),
        ("first_edition", pa.int32()),
    ]
)
PAGE_SCHEMA = pa.schema(
    [
        ("page_url", pa.string()),
        ("kind", pa.string()),
        ("fate", pa.string()),
        ("also", _STRINGS),
        ("dirt", pa.string()),
        ("lang", pa.string()),
        ("declares_lang", pa.bool_()),
        ("images", _STRINGS),
        ("leads_to", pa.string()),
        ("first_edition", pa.int32()),
    ]
)
OCCURRENCE_SCHEMA = pa.schema(
    [
        ("page_url", pa.string()),
        ("image_url", pa.string()),
        ("scene", pa.string()),
        ("lang", pa.string()),
        ("alt", pa.string()),
        ("title", pa.string()),
        ("caption", pa.string()),
        ("context", pa.string()),
        ("heading", pa.string()),
        ("comments", _STRINGS),
        ("personal_data", _STRINGS),
        ("dirt", pa.string()),
    ]
)


def _meaning(scene: Scene | None) -> dict[str, object]:
    """What a picture shows and what may be asked; empty for a picture without a scene."""
    if scene is None:
        return {key: [] for key in ("captions", "captions_de", "qa", "tags")}
    return {
        "scene": scene.id,
        "cluster": scene.id,
        "shows": json.dumps(scene.describe(), sort_keys=True),
        "captions": [english.canonical(scene), english.paraphrase(scene)],
        "captions_de": [german.canonical(scene), german.paraphrase(scene)],
        "qa": [{"question": q, "answer": a} for q, a in questions(scene)],
        "tags": tags(scene),
        "sentiment": scene.sentiment,
    }


def _whole(picture: Picture) -> Scene | None:
    """The scene that the bytes still show; a broken file shows none."""
    return None if picture.kind in FATES else picture.scene


def truth(config: SiteConfig, base_url: str) -> pa.Table:
    """One row per image URL of the site, sorted by URL; the schema is ``TRUTH_SCHEMA``.

    fate: "kept", or "stage:reason" with the reasons of docs/datasets.md. Of the URLs of one
        cluster exactly one distinct file is kept; which one is the pipeline's choice, so
        ``also`` lists the other outcomes that are right for this URL. "absent" there means
        that the crawl need not report the URL at all.
    dirt: "" or the kind of dirt; ``copy_of`` is the URL of the picture this one copies.
    leads_to: where a redirecting URL ends. The target has a row of its own, without
        page_urls: no page refers to it, so it is no occurrence of its own.
    page_urls: where the picture stands; first_edition: 1 or 2.
    """
    site = build(config)
    places: dict[str, list[str]] = defaultdict(list)
    text_dirt: dict[str, str] = {}
    for page in site.pages.values():
        for figure in page.figures:
            places[figure.picture].append(address(base_url, page.path))
            if figure.extra:
                places[figure.extra].append(address(base_url, page.path))
            if figure.dirt and not figure.extra:
                text_dirt[figure.picture] = figure.dirt
        for path in page.ornaments:
            places[path].append(address(base_url, page.path))
    rows = []
    for picture in site.pictures.values():
        copied = picture.target if picture.status == 200 else ""
        jumps = picture.target if picture.status != 200 else ""
        rows.append(
            {
                "image_url": address(base_url, picture.path),
                **_meaning(_whole(picture)),
                "fate": picture.fate,
                "also": list(picture.also),
                "dirt": picture.kind or text_dirt.get(picture.path, ""),
                "copy_of": address(base_url, copied) if copied else None,
                "leads_to": address(base_url, jumps) if jumps else None,
                "page_urls": places[picture.path],
                "first_edition": picture.first_edition,
            }
        )
    rows.sort(key=lambda row: str(row["image_url"]))
    return pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA)


def page_truth(config: SiteConfig, base_url: str) -> pa.Table:
    """One row per page URL, sorted; ``fate`` is "ok" or the crawl reason it must end with,
    ``also`` lists what is right as well ("absent": need not be reported).

    images: the image URLs that a crawler must extract from an "ok" page, in page order.
    """
    rows = []
    for page in build(config).pages.values():
        url = page.path if page.kind == "outside" else address(base_url, page.path)
        images = [*page.ornaments, *(figure.picture for figure in page.figures)]
        rows.append(
            {
                "page_url": url,
                "kind": page.kind,
                "fate": page.fate,
                "also": list(page.also),
                "dirt": page.dirt,
                "lang": page.lang,
                "declares_lang": page.declares_lang,
                "images": [address(base_url, path) for path in images],
                "leads_to": address(base_url, page.target) if page.target else None,
                "first_edition": page.first_edition,
            }
        )
    rows.sort(key=lambda row: str(row["page_url"]))
    return pa.Table.from_pylist(rows, schema=PAGE_SCHEMA)


def occurrence_truth(config: SiteConfig, base_url: str) -> pa.Table:
    """One row per figure on a page, in page order, with the texts as written there.

    dirt: "", or what is wrong with this figure's texts (missing_alt, boilerplate_alt,
    wrong_caption, personal_data); ``personal_data`` lists what must be masked.
    """
    rows = []
    for page in build(config).pages.values():
        for figure in page.figures:
            texts = figure_texts(figure)
            rows.append(
                {
                    "page_url": address(base_url, page.path),
                    "image_url": address(base_url, figure.picture),
                    "scene": figure.scene.id,
                    "lang": figure.lang,
                    "alt": texts.alt,
                    "title": texts.title,
                    "caption": texts.caption,
                    "context": texts.context,
                    "heading": texts.heading,
                    "comments": list(texts.comments),
                    "personal_data": list(texts.personal),
                    "dirt": figure.dirt,
                }
            )
    return pa.Table.from_pylist(rows, schema=OCCURRENCE_SCHEMA)


def write_gold(config: SiteConfig, base_url: str, path: str | Path) -> int:
    """Write gold labels as JSON lines (`image`, `captions`, `qa`, `tags`, `sentiment`).

    One line per image URL that may be the kept one of its cluster; copies carry the labels
    of their scene, because which file stands for a cluster is the pipeline's choice.
    Returns the number of lines.
    """
    lines = []
    for row in truth(config, base_url).to_pylist():
        if row["fate"] == "kept" or "kept" in row["also"]:
            record = {key: row[key] for key in ("captions", "qa", "tags", "sentiment")}
            lines.append(json.dumps({"image": row["image_url"], **record}, ensure_ascii=False))
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)
