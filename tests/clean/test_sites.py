"""What a site repeats: counted over the whole day, wherever the rows are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mmcore.clean import sites
from mmcore.clean.sites import Counts, SiteRules


def _rows(texts: list[tuple[str, str, str]]) -> pa.Table:
    """Rows of (host, role, text), each under an image of its own."""
    return pa.table(
        {
            "page_url": [f"https://{host}/page{i}" for i, (host, _, _) in enumerate(texts)],
            "sha256": [f"{i:064x}" for i in range(len(texts))],
            "role": [role for _, role, _ in texts],
            "text": [words for _, _, words in texts],
        }
    )


def _counts(*tables: pa.Table) -> Counts:
    """Counted in three ranges of keys, as the stage's tasks do."""
    pairs = [sites.pairs(table) for table in tables]
    ranges = []
    for i in range(3):
        shares = [t.filter(pa.array(t["key"].to_numpy() % 3 == i)) for t in pairs]
        ranges.append(sites.count(shares))
    return Counts.of_tables(ranges)


def test_a_text_under_many_images_of_one_site_is_counted_there_only() -> None:
    rows = _rows(
        [("shop.test", "alt", "Click to enlarge")] * 30
        + [("shop.test", "alt", f"Shoe {i}") for i in range(70)]
        + [("other.test", "alt", "Click to enlarge")] * 12
        + [("third.test", "title", "Click to enlarge")] * 5
    )
    images, share = sites.spread_of(rows, _counts(rows.slice(0, 20), rows.slice(20)))
    assert images.to_pylist() == [30] * 30 + [0] * 70 + [12] * 12 + [0] * 5
    np.testing.assert_allclose(share.to_numpy()[[0, 99, 110]], [0.3, 0, 1], rtol=1e-6)


def test_an_image_on_many_pages_is_one_image() -> None:
    rows = _rows([("shop.test", "alt", "Logo of the shop")] * 40)
    rows = rows.set_column(1, "sha256", pa.array(["ab" * 32] * 40))
    assert sites.spread_of(rows, _counts(rows))[0].to_pylist() == [0] * 40


def test_a_context_and_a_file_of_a_folder_are_not_counted() -> None:
    rows = _rows([("shop.test", "context", "Our newsletter")] * 30)
    folder = rows.set_column(0, "page_url", pa.array(["file:///data/a.jsonl"] * 30))
    folder = folder.set_column(2, "role", pa.array(["alt"] * 30))
    assert sites.pairs(rows).num_rows == 0
    assert sites.pairs(folder).num_rows == 0


def test_the_name_of_a_site_is_cut_off_its_texts() -> None:
    titles = [("shop.test", "page_title", f"Shoe {i} — red | ACME shop") for i in range(30)]
    heads = [("news.test", "caption", f"Photo: Reuters - Scene {i}") for i in range(30)]
    rare = [("shop.test", "alt", f"Shoe {i} | size {i % 12}") for i in range(60)]
    rows = _rows(titles + heads + rare)
    cut = sites.without_names(rows, _counts(rows), SiteRules()).to_pylist()
    assert cut[:2] == ["Shoe 0 — red", "Shoe 1 — red"]
    assert cut[30:32] == ["Scene 0", "Scene 1"]
    assert cut[60:] == [words for _, _, words in rare]


def test_a_page_with_many_images_does_not_make_its_title_a_name() -> None:
    rows = _rows([("shop.test", "page_title", "Birds of Kenya - gallery")] * 50)
    assert sites.without_names(rows, _counts(rows), SiteRules()).to_pylist() == (
        ["Birds of Kenya - gallery"] * 50
    )


def test_names_need_the_share_the_rules_ask_for() -> None:
    titles = [("shop.test", "alt", f"Shoe {i} | ACME") for i in range(30)]
    others = [("shop.test", "alt", f"Hat number {i}") for i in range(60)]
    rows = _rows(titles + others)
    counts = _counts(rows)
    assert sites.without_names(rows, counts, SiteRules())[0].as_py() == "Shoe 0"
    strict = SiteRules(min_site_name_share=0.5)
    assert sites.without_names(rows, counts, strict)[0].as_py() == "Shoe 0 | ACME"
    assert sites.without_names(rows, counts, SiteRules(min_site_name_texts=31))[0].as_py() == (
        "Shoe 0 | ACME"
    )
