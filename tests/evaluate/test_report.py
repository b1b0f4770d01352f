"""The report card is one safe file: nothing from a page can act in it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mmcore.evaluate.examples import ExampleSet
from mmcore.evaluate.predictions import predict
from mmcore.evaluate.records import Labels, Question
from mmcore.evaluate.report import Report, clip, render, verdict
from mmcore.evaluate.results import ScoredModel, collect_scores
from mmcore.evaluate.tasks import score_tasks
from tests.evaluate.colours import ColourModel, Square
from tests.evaluate.test_tasks import _examples

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% include 'x' %}",
    "javascript:alert(1)",
    "</style><style>body{display:none}",
    "evil \u202e txt \x00\x1b[31m",
)


class _Tags(HTMLParser):
    """Collects every tag and its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs


def _report(hostile: bool = False, champion: bool = False, pictures: int = 6) -> str:
    examples = _examples(30)
    if hostile:
        examples = [
            replace(
                example,
                text=HOSTILE[n % len(HOSTILE)],
                labels=Labels(
                    HOSTILE, tuple(Question(t, (t,), t) for t in HOSTILE), HOSTILE, "positive"
                ),
            )
            for n, example in enumerate(examples)
        ]
    kinds = dict.fromkeys(("captions", "questions", "tags", "sentiment"), "weak")
    page = HOSTILE[1] if hostile else "http://site.example/"
    source = {"license": page, "consent": '{"robots": "allowed"}', "page_url": page}
    chosen = ExampleSet("test", tuple(examples), kinds, (source,) * len(examples))
    images = [Square(example.number).image for example in examples]

    def scored(model: ColourModel, label: str) -> ScoredModel:
        predictions = predict(model, examples, images)
        if hostile:
            predictions = replace(
                predictions,
                captions=[HOSTILE[0]] * len(predictions.captions),
                answers=[(HOSTILE[1], 0.5)] * len(predictions.answers),
                tag_names=tuple(f"{HOSTILE[0]}{n}" for n in range(len(predictions.tag_names))),
            )
        return ScoredModel(label, "0" * 64, predictions, score_tasks(examples, predictions))

    model = scored(ColourModel((1, 5)), "candidate@2026-01-01")
    rival = scored(ColourModel((1,)), "champion") if champion else None
    scores = collect_scores(chosen, model, rival, 200, 0)
    scores |= {
        "inputs": {"gold": {"read": 3, "bad": {"unknown_image": 1}}},
        "parents": [{"label": "candidate@2026-01-01", "digest": "0" * 64}],
    }
    return render(
        Report(
            scores,
            model.tasks,
            model.predictions,
            lambda number: Square(number).image,
            pictures,
        )
    )


def test_hostile_texts_stay_texts():
    page = _report(hostile=True)
    parsed = _Tags()
    parsed.feed(page)
    assert "script" not in parsed.tags
    assert parsed.tags.count("style") == 1
    assert not {"a", "iframe", "object", "form", "link", "base"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    sources = [value for name, value in parsed.attributes if name in ("src", "href")]
    assert sources and all(value.startswith("data:image/jpeg;base64,") for value in sources)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page
    assert not re.search("[\u202e\x00\x1b]", page)


def test_page_may_neither_run_nor_fetch_anything():
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in _report()


def test_report_shows_every_task_with_its_blind_baseline_and_pictures():
    page = _report(champion=True)
    for title in ("Retrieval", "Captions", "Questions and answers", "Tags", "Sentiment"):
        assert f"<h2>{title}</h2>" in page
    assert "the commonest answer to the question" in page
    assert "Against the champion" in page
    assert page.count("<img") >= 30
    assert "unknown_image" in page


def test_report_is_the_same_every_time_and_small_with_the_most_pictures():
    page = _report(pictures=30)
    assert page == _report(pictures=30)
    assert len(page.encode()) < 3_000_000


def test_long_texts_are_cut_and_broken_ones_made_one_line():
    assert clip("a\nb\t c") == "a b c"
    assert clip("x" * 500) == "x" * 239 + "…"


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.1, 0.2, "above"), (-0.2, -0.1, "below"), (-0.1, 0.1, "unclear"), (None, None, "none")],
)
def test_verdict_is_read_from_the_interval(low, high, word):
    assert verdict({"low": low, "high": high}) == word
