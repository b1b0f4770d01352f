"""The report card: one self-contained HTML file a person can read, keep and send.

Every text in it may come from a stranger's web page. The template escapes everything, links
nothing, and its content policy allows neither scripts nor requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mmcore.evaluate.cards import task_cards
from mmcore.evaluate.pictures import thumbnail
from mmcore.evaluate.predictions import Predictions
from mmcore.evaluate.task_scores import TaskScores

_MAX_TEXT = 240
TITLES = {
    "retrieval": "Retrieval",
    "caption": "Captions",
    "vqa": "Questions and answers",
    "tags": "Tags",
    "sentiment": "Sentiment",
}
METRIC_NAMES = {
    "text_to_image.r@1": "text → image R@1",
    "text_to_image.r@5": "text → image R@5",
    "text_to_image.r@10": "text → image R@10",
    "text_to_image.mrr": "text → image reciprocal rank",
    "text_to_image.median_rank": "text → image median rank",
    "image_to_text.r@1": "image → text R@1",
    "image_to_text.r@5": "image → text R@5",
    "image_to_text.r@10": "image → text R@10",
    "image_to_text.mrr": "image → text reciprocal rank",
    "image_to_text.median_rank": "image → text median rank",
    "bleu4": "BLEU-4",
    "cider": "CIDEr-D",
    "rouge_l": "ROUGE-L",
    "token_f1": "word F1",
    "accuracy": "accuracy",
    "image_ap": "average precision per image",
    "micro_f1": "micro F1 at 0.5",
    "precision@5": "precision among the first 5",
    "map": "mean average precision over tags",
    "known_tags": "share of true tags the model knows",
    "macro_f1": "macro F1",
}
_OVERVIEW = {
    "retrieval": ("text_to_image.r@1", "image_to_text.r@1", "text_to_image.mrr"),
    "caption": ("cider", "bleu4"),
    "vqa": ("accuracy",),
    "tags": ("image_ap", "micro_f1"),
    "sentiment": ("macro_f1", "accuracy"),
}
BASELINE_NAMES = {
    "chance": "random order",
    "constant": "one constant caption",
    "shuffled": "its captions on other images",
    "majority": "the commonest answer",
    "question_prior": "the commonest answer to the question",
    "question_only": "the model without the image",
    "prior": "tags by frequency",
    "class_majority": "the commonest class",
    "class_prior": "a random guess by frequency",
    "image_only": "image without text",
    "text_only": "text without image",
}


@dataclass(frozen=True)
class Report:
    """What the report card shows. `picture(number)` gives the encoded image of an example."""

    scores: Mapping[str, Any]
    tasks: Mapping[str, TaskScores]
    predictions: Predictions
    picture: Callable[[int], bytes]
    pictures: int


def render(report: Report) -> str:
    """The report card as HTML. Deterministic; under 3 MB for up to 30 pictures a task."""
    template = _environment().get_template("report.html")

    @cache
    def source(number: int) -> str:
        return thumbnail(report.picture(number))

    sections = [_section(task, entry) for task, entry in report.scores["tasks"].items()]
    cards = {
        task: task_cards(scored, report.predictions, report.pictures)
        for task, scored in report.tasks.items()
    }
    return template.render(
        scores=report.scores, sections=sections, cards=cards, source=source, titles=TITLES
    )


def _section(task: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """One task as rows of a table: the overview's, and all of them."""
    rows = [_row(name, entry) for name in entry["metrics"]]
    wanted = _OVERVIEW[task]
    return {
        "task": task,
        "title": TITLES[task],
        "short": task.upper() if task == "vqa" else TITLES[task],
        "labels": entry["labels"],
        "images": entry["images"],
        "examples": entry["examples"],
        "overview": [row for name in wanted for row in rows if row["name"] == name],
        "rows": rows,
        "ablations": entry["ablations"],
        "groups": entry["groups"],
        "primary": entry["primary"],
        "champion": entry["champion"] is not None,
    }


def _row(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    blind, champion = entry["blind"], entry["champion"]
    values = entry["metrics"][name]
    others = [blind["metrics"].get(name)] + ([champion["metrics"].get(name)] if champion else [])
    known = [v for v in (values["value"], values.get("high"), *others) if v is not None]
    return {
        "name": name,
        "label": METRIC_NAMES.get(name, name),
        "judged": name == entry["primary"],
        "value": values,
        "blind": blind["metrics"].get(name),
        "blind_name": blind["names"].get(name),
        "difference": blind["difference"].get(name),
        "champion": champion["metrics"].get(name) if champion else None,
        "champion_difference": champion["difference"].get(name) if champion else None,
        # Scores out of 1 share one scale; CIDEr-D goes to 10 and gets its own.
        "scale": max(1.0, *known) if known else 1.0,
        "counts": name.endswith("median_rank"),
    }


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clip=clip,
        number=number,
        signed=signed,
        count=count,
        verdict=verdict,
        percent=percent,
        plain=plain,
    )
    environment.globals.update(
        baseline_name=lambda name: BASELINE_NAMES.get(name, name),
        metric_name=lambda name: METRIC_NAMES.get(name, name),
    )
    return environment


def clip(text: object, most: int = _MAX_TEXT) -> str:
    """Text fit to show: one line, no control or direction characters, at most `most` long."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return shown if len(shown) <= most else shown[: most - 1].rstrip() + "…"


def number(value: float | None) -> str:
    """A score: three decimals under 10, one above; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def signed(value: float | None) -> str:
    """A difference, with its sign."""
    if value is None:
        return "–"
    # Adding zero turns a rounded -0.0 into 0.0.
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")


def plain(value: float) -> str:
    """A number with as many decimals as it needs."""
    return f"{value:g}"


def count(value: int) -> str:
    """A count with thousands separators."""
    return f"{value:,}"


def percent(value: float | None, scale: float = 1.0) -> str:
    """Position on a bar: 0 to 100, two decimals."""
    share = 0.0 if value is None else 100 * value / scale
    return f"{min(max(share, 0.0), 100.0):.2f}"


def verdict(difference: Mapping[str, float | None] | None) -> str:
    """What a paired difference proves: `above`, `below`, `unclear` or `none`."""
    low, high = (difference or {}).get("low"), (difference or {}).get("high")
    if low is None or high is None:
        return "none"
    if low > 0:
        return "above"
    return "below" if high < 0 else "unclear"
