"""Ten thousand damaged texts: none breaks anything, and every rejection has a documented reason."""

from __future__ import annotations

import random
import re
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from mmcore.clean import occurrences, sites
from mmcore.clean.language import LanguageRules
from mmcore.clean.rules import TextRules
from mmcore.clean.sites import Counts, SiteRules

SEEDS = [
    "A red kite over a hill",
    "Zwei Hunde spielen im Schnee – Schloß Neuschwanstein",
    "猫が好き、とても好き",
    "سيارة حمراء في الشارع",
    "Write to jane.doe@example.org or call +49 30 901820, Hauptstraße 5, 10115 Berlin",
    "IBAN DE89 3704 0044 0532 0130 00, card 4111 1111 1111 1111, 192.168.10.24, 2001:db8::1",
    "<p>A <b>red</b> kite &amp; a <i>blue</i> one</p><script>alert(1)</script>",
    "IMG_1234.JPG",
    "sch\u00c3\u00b6n â€“ SÃ¼dseite",
    "best hotel in town best hotel in town best hotel in town",
    "PESEL 44051401359, SSN 536-90-4399, 12345678Z",
    "Shoe number 7 — red | ACME shop",
    "👩‍👩‍👧 family 🏳️‍🌈 \u202eabc\u202c",
    "<" * 50,
    "&" * 50,
    "(" * 40 + "1",
]
PIECES = [
    *("\x00", "\ufffe", "\U0010ffff", "\u202e", "\u0301" * 20, "<", ">", "</p", "<!--", "&#"),
    *("&#x110000;", "&amp;amp;", "@", "+", "::", "\\", "%", "\n", "\t", " " * 300, "a" * 3000),
    *("1" * 200, "1 " * 200, "@a." * 100, "(((", "İ", "ß", "Σ", "ﬁ", "\u2028", "| ", " | "),
    *("- - - ", "<EMAIL>", "٣٤٥", "½", "\xad", "12 Oak " * 50, "Am An " * 50 + "5"),
    *("Haupt-" * 800, "Rue de la " * 400, "O'Connor " * 300, "Via Roma, 1, " * 200),
]
NUMBER = 10_000


def _mutated(number: int) -> list[str]:
    """Pieces of the seeds shuffled, cut, doubled, with odd pieces put in."""
    draw, made = random.Random(0), []
    for _ in range(number):
        words = draw.choice(SEEDS)
        for _ in range(draw.randint(0, 4)):
            at, how = draw.randint(0, len(words)), draw.randrange(5)
            if how == 0:
                words = words[:at] + draw.choice(PIECES) + words[at:]
            elif how == 1:
                words = words[at:] + draw.choice(SEEDS)
            elif how == 2:
                words = words[:at]
            elif how == 3:
                words = words * draw.randint(1, 3)
            else:
                words = words[:at] + chr(draw.randrange(0xD7FF)) + words[at + 1 :]
        made.append(words)
    return made


def _cleaned(texts: list[str]) -> pa.Table:
    n = len(texts)
    roles = ["alt", "caption", "context", "comment", "keyword", "title"]
    unfolded = pa.table(
        {
            "sha256": [f"{i % 500:064x}" for i in range(n)],
            "page_url": [f"https://site{i % 7}.test/{i % 900}" for i in range(n)],
            "image_url": [f"https://site{i % 7}.test/{i % 500}.png" for i in range(n)],
            "position": pa.array([i % 5 for i in range(n)], pa.int32()),
            "page_lang": pa.array([[None, "en", "de", "xx", ""][i % 5] for i in range(n)]),
            "role": [roles[i % len(roles)] for i in range(n)],
            "raw": texts,
        }
    )
    languages = LanguageRules().languages
    rows = occurrences.prepare(unfolded, languages)
    counts = Counts.of_tables([sites.count([sites.pairs(rows)])])
    measured = occurrences.measure(rows, counts, SiteRules(), languages, True)
    return occurrences.decide(measured, TextRules(), LanguageRules())


@pytest.fixture(scope="module")
def cleaned() -> pa.Table:
    return _cleaned(_mutated(NUMBER))


def test_every_text_has_a_decision_with_a_documented_reason(cleaned: pa.Table) -> None:
    documented = (Path(__file__).parents[2] / "docs/datasets.md").read_text(encoding="utf-8")
    described = documented[documented.index("Text reasons:") :].split("The metadata")[0]
    reasons = set(cleaned["reason"].to_pylist())
    assert reasons <= set(re.findall(r"`(\w+)`", described))
    assert len(reasons) >= 6
    assert cleaned["kept"].to_pylist() == [r == "ok" for r in cleaned["reason"].to_pylist()]
    assert sum(cleaned["places"].to_pylist()) == NUMBER


def test_what_is_kept_is_repaired_and_masked(cleaned: pa.Table) -> None:
    assert not any(
        re.search(r"[\x00-\x1f\x7f\u200b\u202e\ufeff]|  |^ | $", text)
        for text in cleaned["text"].to_pylist()
    )
    whole = "\n".join(cleaned["text"].to_pylist())
    assert "jane.doe@example.org" not in whole
    assert whole.count("<EMAIL>") > 100


def test_memory_is_bounded_by_a_few_times_the_texts() -> None:
    texts = _mutated(NUMBER // 2)
    _cleaned(texts[:50])  # the classifier's tables are loaded before memory is counted
    tracemalloc.start()
    _cleaned(texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * sum(len(text.encode("utf-8")) for text in texts)
