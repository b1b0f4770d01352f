"""Repair, attributes, rules and languages of texts."""

from __future__ import annotations

import pyarrow as pa
import pytest

from mmcore.clean import language, text
from mmcore.clean.language import LanguageRules
from mmcore.clean.rules import TextRules, first_reason, text_reasons


@pytest.mark.parametrize(
    ("raw", "repaired"),
    [
        ("plain", "plain"),
        ("  two \t\n lines  ", "two lines"),
        ("non\u00a0breaking\u3000space", "non breaking space"),
        ("sch\u00c3\u00b6n", "schön"),
        ("Schloss Neuschwanstein â€“ SÃ¼dseite", "Schloss Neuschwanstein – Südseite"),
        ("a\u0308pfel", "äpfel"),
        ("a &amp; b &quot;c&quot;", 'a & b "c"'),
        ("a &amp;amp; b", "a & b"),
        ("<p>A <b>red</b> kite<br/>in the sky</p>", "A red kite in the sky"),
        ("&lt;b&gt;bold&lt;/b&gt; kite", "bold kite"),
        ("before <script>alert(1 < 2)</script> after", "before after"),
        ("x < y and y > z", "x < y and y > z"),
        ("List<String> of <EMAIL>", "List<String> of <EMAIL>"),
        ("zero\u200bwidth soft\u00adhyphen\ufeff", "zerowidth softhyphen"),
        ("“quoted”", '"quoted"'),
        ("", ""),
        ("<br>", ""),
    ],
)
def test_texts_are_repaired(raw: str, repaired: str) -> None:
    assert text.repair(pa.array([raw])).to_pylist() == [repaired]


def _reasons(
    texts: list[str], role: str = "alt", site: tuple[int, float] = (0, 0.0), **thresholds: float
) -> list[str]:
    """Reasons of texts; `site`: under how many of its site's images, and which share."""
    n = len(texts)
    table = text.measure(pa.array(texts))
    table = table.append_column("role", pa.array([role] * n))
    table = table.append_column("site_images", pa.array([site[0]] * n, pa.int32()))
    table = table.append_column("site_share", pa.array([site[1]] * n, pa.float32()))
    return text_reasons(table, TextRules(**thresholds)).to_pylist()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reason", "texts"),
    [
        ("ok", ["A red kite", "猫", "Cat", "F-16", "Covid-19", "state-of-the-art", "sun"]),
        ("ok", ["How to convert an image to .png", "Image of a dog", "Bild einer alten Frau"]),
        ("ok", ["a red circle and a red square and a red triangle and a red star"]),
        ("empty", [""]),
        (
            "file_name",
            ["IMG_1234.JPG", "red circle.png", "DSC00042", "photo-2019-05-01_final.webp"],
        ),
        ("file_name", ["d41d8cd98f00b204e9800998ecf8427e", "800x600", "header_bg_small"]),
        ("file_name", ["https://example.org/a/b", "Screenshot 2023-11-05"]),
        (
            "boilerplate",
            ["image", "Photo 12", "Bild", "[logo]", "Click to enlarge", "picture 3 of 7"],
        ),
        ("not_text", ["+++ 12 +++", "05.11.2023", "<EMAIL>", "::: 4"]),
        ("too_short", ["ab", "x1"]),
        ("too_long", ["word " * 300, "y" * 1001]),
        ("repetitive", ["cheap shoes buy shoes red shoes blue shoes shoes shoes online shoes"]),
        ("repetitive", ["best hotel in town best hotel in town best hotel in town"]),
    ],
)
def test_every_caption_reason_has_its_cases(reason: str, texts: list[str]) -> None:
    assert _reasons(texts) == [reason] * len(texts)


def test_a_smiley_is_a_comment_and_a_paragraph_may_be_longer_than_a_caption() -> None:
    assert _reasons(["+1", ":-)"], role="comment") == ["ok", "ok"]
    assert _reasons(["gallery", "TV"], role="keyword") == ["ok", "ok"]
    paragraph = " ".join(f"word{i}" for i in range(400))
    assert _reasons([paragraph], role="context") == ["ok"]
    assert _reasons([paragraph], role="caption") == ["too_long"]


def test_what_a_site_repeats_describes_none_of_its_images() -> None:
    words = ["Handmade in our little shop"]
    assert _reasons(words, site=(300, 0.2)) == ["site_boilerplate"]
    assert _reasons(words, site=(300, 0.01)) == ["ok"]  # a common thing of a very large site
    assert _reasons(words, site=(20, 1.0)) == ["ok"]  # a small site
    assert _reasons(words, site=(300, 0.2), role="context") == ["ok"]
    assert _reasons(words, site=(300, 0.2), max_site_images=500) == ["ok"]


@pytest.mark.parametrize(
    ("words", "threshold", "reason"),
    [
        ("red kite", {"min_caption_words": 3}, "too_short"),
        ("- red - kite -", {"min_caption_words": 3}, "too_short"),
        ("a red circle and a blue circle", {"max_word_repetition": 0.2}, "repetitive"),
        ("Wooooooooooow", {}, "repetitive"),
        ("Wooooooooow", {}, "ok"),
        ("4711 0815 2023 51 piece", {}, "not_text"),
        ("4711 0815 2023 51 piece", {"max_digit_share": 0.9}, "ok"),
        ("BUY NOW CHEAP SHOES", {"max_capital_share": 0.8}, "not_text"),
        ("BUY NOW CHEAP SHOES", {}, "ok"),
    ],
)
def test_rules_of_published_sets_can_be_asked_for(
    words: str, threshold: dict[str, float], reason: str
) -> None:
    assert _reasons([words], **threshold) == [reason]


def test_thresholds_decide() -> None:
    assert _reasons(["abcd"], min_text_bytes=5) == ["too_short"]
    assert _reasons(["one two three"], max_caption_words=2) == ["too_long"]


def test_the_first_reason_wins_and_null_decides_nothing() -> None:
    masks = [("a", pa.array([None, True, False])), ("b", pa.array([True, True, None]))]
    assert first_reason(masks, 3).to_pylist() == ["b", "a", "ok"]


@pytest.mark.parametrize(
    ("words", "page", "lang"),
    [
        ("A red circle above a blue square", None, "en"),
        ("Ein roter Kreis über einem blauen Quadrat", None, "de"),
        ("Un perro corre por la playa con su pelota", None, "es"),
        ("Zwei Hunde spielen im Schnee", "en", "de"),  # the text outweighs a template's lang="en"
        ("red circle", "en", "en"),
        ("roter Kreis", "de", "de"),
        ("猫", "ja", "ja"),
        ("猫が好き", None, "ja"),
        ("Η γάτα", None, "el"),
        ("고양이", "en", "ko"),
    ],
)
def test_languages_are_named_where_there_is_evidence(
    words: str, page: str | None, lang: str
) -> None:
    found = _identify(words, page)
    assert found["lang"] == lang
    assert 0.6 <= float(str(found["lang_confidence"])) <= 1


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("red circle", None),  # too short, and nothing else to go by
        ("cat", None),
        ("Sehr schön!", "en"),  # page and text disagree
        ("собака", "en"),  # a script the page's language does not use
        ("12 34", "en"),
        ("", "en"),
    ],
)
def test_without_evidence_the_language_stays_unknown(words: str, page: str | None) -> None:
    assert _identify(words, page) == {"lang": None, "lang_confidence": None}


def test_a_language_threshold_asks_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    words = pa.array(["Zwei Hunde spielen im Schnee", "roter Kreis", "猫が好き"])
    pages = pa.array(["en", "de", None], pa.string())
    guessed = language.guess(words, pages, LanguageRules().languages)

    def _asked(*_: object) -> None:
        raise AssertionError("the classifier was asked")

    monkeypatch.setattr(language.classifier, "chances", _asked)
    assert language.decide(guessed, pages, LanguageRules())["lang"].to_pylist() == [
        "de",
        "de",
        "ja",
    ]
    strict = LanguageRules(min_language_letters=30)
    assert language.decide(guessed, pages, strict)["lang"].to_pylist() == [None, "de", "ja"]
    sure = LanguageRules(min_language_confidence=0.96)
    assert language.decide(guessed, pages, sure)["lang"].to_pylist()[2] is None


def test_a_page_language_the_classifier_was_not_given_counts_for_short_texts() -> None:
    rules = LanguageRules(languages=("en", "de"))
    found = language.identify(pa.array(["rauður hringur"]), pa.array(["is"]), rules)
    assert found.to_pylist() == [{"lang": "is", "lang_confidence": pytest.approx(0.6)}]


def _identify(words: str, page: str | None) -> dict[str, object]:
    pages = pa.array([page], pa.string())
    return language.identify(pa.array([words]), pages, LanguageRules()).to_pylist()[0]
