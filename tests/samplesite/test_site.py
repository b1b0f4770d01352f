"""The planned site: exact amounts of dirt, two editions, pages that say what truth says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, urljoin

import pyarrow as pa
import pytest
from selectolax.lexbor import LexborHTMLParser, LexborNode

from mmcore.samplesite import (
    SiteConfig,
    dirt_counts,
    occurrence_truth,
    page_truth,
    truth,
    write_gold,
)
from mmcore.samplesite.build import build
from mmcore.samplesite.content import picture_bytes
from mmcore.samplesite.dirt import ON_SCENES, PAGES, PICTURES, WITHHELD
from mmcore.samplesite.markup import page_html, robots_txt, sitemap_xml
from mmcore.samplesite.plan import Page, Site

BASE = "http://127.0.0.1:8123"
CONFIG = SiteConfig(seed=11, images=60)
_SILENT = ("missing_image", "image_loop", "never_ends")
_TEXTS = ("missing_alt", "boilerplate_alt", "wrong_caption", "personal_data")


def _answers(page: Page) -> bool:
    return page.kind != "outside" and page.status == 200


def site_digest(config: SiteConfig) -> str:
    """A digest of all pages and pictures of a site."""
    site, digest = build(config), sha256()
    for page in site.pages.values():
        if _answers(page):
            digest.update(page_html(site, page, BASE))
    for picture in site.pictures.values():
        if picture.kind not in _SILENT and picture.status == 200:
            digest.update(picture_bytes(site, picture)[0])
    digest.update(robots_txt(BASE) + sitemap_xml(site, BASE))
    digest.update(str(truth(config, BASE).to_pylist()).encode())
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_site_byte_for_byte_in_another_process() -> None:
    code = (
        "from mmcore.samplesite import SiteConfig;"
        "from tests.samplesite.test_site import site_digest;"
        "print(site_digest(SiteConfig(seed=11, images=60)))"
    )
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(root)}
    other = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == site_digest(CONFIG)


@pytest.mark.parametrize("images", [40, 60, 2000])
@pytest.mark.parametrize("edition", [1, 2])
def test_every_kind_of_dirt_comes_in_its_exact_amount(images: int, edition: int) -> None:
    config = SiteConfig(seed=11, images=images, edition=edition)
    counts = dirt_counts(config)
    assert set(counts) == {*ON_SCENES, *PICTURES, *PAGES, *WITHHELD}
    assert min(counts.values()) >= 1
    pictures = Counter(truth(config, BASE)["dirt"].to_pylist())
    pages = Counter(page_truth(config, BASE)["dirt"].to_pylist())
    figures = Counter(occurrence_truth(config, BASE)["dirt"].to_pylist())
    for kind, amount in counts.items():
        if kind in PAGES:
            assert pages[kind] == amount, kind
        elif kind in _TEXTS:
            assert figures[kind] == pictures[kind] == amount, kind
        else:
            assert pictures[kind] == amount, kind


def test_every_scene_can_be_kept_once_and_withheld_scenes_never() -> None:
    table = truth(CONFIG, BASE).to_pylist()
    kept = {row["cluster"] for row in table if row["fate"] == "kept"}
    assert len(kept) == CONFIG.images
    hidden = [row for row in table if row["dirt"] in WITHHELD]
    assert len(hidden) == CONFIG.withheld_images
    assert not kept & {row["cluster"] for row in hidden}
    assert all(row["fate"].startswith("crawl:") and "kept" not in row["also"] for row in hidden)


def test_every_fate_names_a_stage_and_a_reason_of_the_data_contract() -> None:
    contract = (Path(__file__).resolve().parents[2] / "docs" / "datasets.md").read_text("utf-8")
    fates = set()
    for row in truth(SiteConfig(seed=11, images=200), BASE).to_pylist():
        fates.update([row["fate"], *row["also"]])
    reasons = {fate.partition(":")[2] for fate in fates - {"kept", "absent"}}
    assert len(reasons) > 12
    for reason in {*reasons, *page_truth(CONFIG, BASE)["fate"].to_pylist()}:
        assert f"`{reason}`" in contract, reason


def _resolved(node: LexborNode, base: str) -> str:
    source = node.attributes.get("data-src") or node.attributes["src"] or ""
    return urljoin(base, quote(source, safe="/?=&~-._:%"))


def _images(site: Site, page: Page) -> list[tuple[str, str | None]]:
    """(URL, alt) of every <img> of a page, as a browser resolves them."""
    body = page_html(site, page, BASE)
    tree = LexborHTMLParser(body.decode("iso-8859-1" if page.latin1 else "utf-8"))
    tag = tree.css_first("base")
    base = tag.attributes["href"] if tag else BASE + quote(page.path, safe="/?=")
    return [(_resolved(i, base or ""), i.attributes.get("alt")) for i in tree.css("img")]


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_pages_hold_the_images_and_alt_texts_that_truth_promises(seed: int) -> None:
    config = SiteConfig(seed=seed, images=60)
    site = build(config)
    promised = {row["page_url"]: row["images"] for row in page_truth(config, BASE).to_pylist()}
    alts: dict[str, list[tuple[str, str | None]]] = {}
    for row in occurrence_truth(config, BASE).to_pylist():
        alts.setdefault(row["page_url"], []).append((row["image_url"], row["alt"]))
    for page in filter(_answers, site.pages.values()):
        url = BASE + quote(page.path, safe="/?=")
        found = _images(site, page)
        assert [image for image, _ in found] == promised[url]
        assert found[len(page.ornaments) :] == alts.get(url, [])


def test_every_page_is_reachable_from_the_index() -> None:
    site = build(CONFIG)
    paths = {BASE + quote(page.path, safe="/?="): page for page in site.pages.values()}
    seen, todo = set(), [BASE + "/"]
    while todo:
        url = todo.pop()
        page = paths.get(url)
        if url in seen or page is None:
            continue
        seen.add(url)
        if page.target:
            todo.append(BASE + quote(page.target, safe="/?="))
        elif _answers(page):
            tree = LexborHTMLParser(page_html(site, page, BASE).decode("utf-8", "replace"))
            tag = tree.css_first("base")
            base = (tag.attributes["href"] if tag else url) or url
            for link in tree.css("a[href]"):
                todo.append(urljoin(base, quote(link.attributes["href"] or "", safe="/?=&%:#")))
    missed = {p.path for p in site.pages.values() if p.kind != "outside"} - {
        paths[url].path for url in seen
    }
    assert not missed


def test_careless_markup_of_every_sort_is_there() -> None:
    site = build(SiteConfig(seed=11, images=400))
    html = {p.path: page_html(site, p, BASE) for p in site.pages.values() if _answers(p)}
    everything = b"".join(html.values())
    for sign in (
        b"<base href=", b"srcset=", b"data-src=", b"<picture>", b'rel="next"', b"My Pictures/",
        b"My%20Pictures/", "schöne formen".encode(), b"../", BASE.encode(), b"class=comment>",
        b"noindex", b"noai", b"?page=2", b"iso-8859-1", b"<html>",
    ):  # fmt: skip
        assert sign in everything, sign
    endings = {path.rpartition(".")[2] for path in site.pictures}
    assert {"JPG", "PNG", "jpg", "png", "webp"} <= endings


def test_languages_come_in_the_planned_shares() -> None:
    langs = Counter(occurrence_truth(SiteConfig(seed=11, images=2000), BASE)["lang"].to_pylist())
    assert 0.28 < langs["de"] / sum(langs.values()) < 0.38
    pages = page_truth(SiteConfig(seed=11, images=2000), BASE)["declares_lang"].to_pylist()
    assert 0.1 < 1 - sum(pages) / len(pages) < 0.35


def test_captions_stand_under_two_thirds_of_the_pictures() -> None:
    captions = occurrence_truth(SiteConfig(seed=11, images=2000), BASE)["caption"]
    assert 0.6 < 1 - captions.null_count / len(captions) < 0.72


def test_personal_data_stands_in_captions_where_truth_says() -> None:
    table = occurrence_truth(CONFIG, BASE)
    rows = [row for row in table.to_pylist() if row["personal_data"]]
    assert len(rows) == dirt_counts(CONFIG)["personal_data"]
    for row in rows:
        assert all(item in row["caption"] for item in row["personal_data"])


def _by_url(table: pa.Table) -> dict[str, dict[str, object]]:
    return {row["image_url"]: row for row in table.to_pylist()}


def test_the_second_edition_adds_removes_and_changes_as_planned() -> None:
    first, second = CONFIG, SiteConfig(seed=11, images=60, edition=2)
    old, new = _by_url(truth(first, BASE)), _by_url(truth(second, BASE))
    gone = {row["scene"] for row in old.values()} - {row["scene"] for row in new.values()}
    assert len(gone) == first.removed_images
    fresh = [row for url, row in new.items() if url not in old]
    assert all(row["first_edition"] == 2 for row in fresh)
    scenes_added = {row["scene"] for row in fresh if row["fate"] == "kept"}
    assert len(scenes_added) == first.new_images
    late = [row for row in fresh if row["fate"] != "kept"]
    assert {row["dirt"] for row in late} == {"near_copy"}
    assert len(late) == dirt_counts(second)["near_copy"] - dirt_counts(first)["near_copy"]


def test_what_both_editions_show_has_the_same_bytes() -> None:
    first = build(CONFIG)
    second = build(SiteConfig(seed=11, images=60, edition=2))
    shared = [p for p in first.pictures if p in second.pictures]
    assert len(shared) >= len(first.pictures) - 2
    for path in shared[::6]:
        picture = first.pictures[path]
        if picture.kind not in _SILENT and picture.status == 200:
            assert picture_bytes(first, picture) == picture_bytes(second, second.pictures[path])


def test_some_old_pages_change_in_the_second_edition_and_most_do_not() -> None:
    first = build(SiteConfig(seed=11, images=400))
    second = build(SiteConfig(seed=11, images=400, edition=2))
    shared = [p for path, p in first.pages.items() if _answers(p) and path in second.pages]
    changed = [
        page.path
        for page in shared
        if page.kind in ("gallery", "detail")
        and page_html(first, page, BASE) != page_html(second, second.pages[page.path], BASE)
    ]
    assert 1 <= len(changed) < 0.5 * len(shared)


def test_gold_labels_have_the_annotation_form(tmp_path: Path) -> None:
    count = write_gold(CONFIG, BASE, tmp_path / "gold.jsonl")
    lines = (tmp_path / "gold.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == count >= CONFIG.images
    for line in lines:
        record = json.loads(line)
        assert set(record) == {"image", "captions", "qa", "tags", "sentiment"}
        assert record["image"].startswith(BASE) and len(record["captions"]) == 2
        assert set(record["qa"][0]) == {"question", "answer"}
        assert record["sentiment"] in ("positive", "neutral", "negative")
