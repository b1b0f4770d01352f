"""Weak labels against the sample site's truth, which they never see."""

from __future__ import annotations

import ast
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

import mmcore.weak
from mmcore.lake import Lake
from mmcore.samplesite import SiteConfig, occurrence_truth, truth
from mmcore.tokenize.stage import Config as TokenizeConfig
from mmcore.tokenize.stage import run as tokenize
from mmcore.tokenize.stage import run_tokenizer
from mmcore.weak.stage import Config, run
from tests.weak.helpers import DAY, Page, sha256, write_pages
from tests.weak.judge import judge

BASE = "http://site"
SITE = SiteConfig(seed=11, images=240)


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> dict[str, float]:
    known = {row["scene"]: row for row in truth(SITE, BASE).to_pylist() if row["scene"]}
    pages: OrderedDict[str, Page] = OrderedDict()
    for row in occurrence_truth(SITE, BASE).to_pylist():
        if row["scene"] in known:
            page = pages.setdefault(row["scene"], Page())
            page.texts.extend(_texts(row))
            page.url, page.image_url = row["page_url"], row["image_url"]
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    write_pages(lake, list(pages.values()))
    run_tokenizer(lake, DAY, TokenizeConfig())
    tokenize(lake, DAY, TokenizeConfig())
    pairs = run(lake, DAY, Config()).read().to_pylist()
    return judge(pairs, {sha256(i): known[scene] for i, scene in enumerate(pages)})


def _texts(row: dict[str, Any]) -> list[tuple[str, str]]:
    roles = ("alt", "title", "caption", "context", "heading")
    texts = [(role, row[role]) for role in roles if row[role]]
    texts += [("comment", comment) for comment in row["comments"] or []]
    return [(role, text) for role, text in texts if not _boilerplate(text)]


def _boilerplate(text: str) -> bool:
    """What the clean stage takes out."""
    name = text.split(".")[0].rstrip("0123456789_").lower()
    return name in ("image", "photo", "picture", "img", "dsc", "bild", "foto")


def test_answers_are_right(scores: dict[str, float]) -> None:
    assert scores["qa"] >= 0.95
    kinds = ("colour", "count", "exists", "is", "mood", "shape", "size", "texture", "what", "where")
    assert {kind: scores[f"qa_{kind}"] for kind in kinds if scores[f"qa_{kind}"] < 0.9} == {}
    assert scores["qa_number"] > 10 * SITE.images


def test_captions_tags_and_feelings_are_right(scores: dict[str, float]) -> None:
    assert scores["caption"] >= 0.93
    assert scores["sentiment"] >= 0.9
    assert scores["tags_precision"] >= 0.95
    assert scores["tags_recall"] >= 0.75


def test_nearly_every_image_gets_labels(scores: dict[str, float]) -> None:
    for task in ("caption", "qa", "tags"):
        assert scores[f"{task}_coverage"] >= 0.9
    assert scores["sentiment_coverage"] >= 0.7


def test_weak_labels_cannot_see_the_truth() -> None:
    folder = Path(mmcore.weak.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if "samplesite" in name], path
