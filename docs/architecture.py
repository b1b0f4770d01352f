"""Draws docs/architecture.svg: `python docs/architecture.py` after a change to the layout."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 1380, 730
INK, SOFT, LINE = "#1f2933", "#52606d", "#9aa5b1"
WHITE, FRAME, PACKAGE = "#ffffff", "#fafbfc", "#f1f4f7"
DAGSTER, MODEL, RAY, LAKE = "#e6e9fb", "#fff4e0", "#e0f3ee", "#e5effa"


@dataclass(frozen=True)
class Stage:
    """A folder of mmcore that is a step of the graph, and the datasets it commits."""

    folder: str
    lines: tuple[str, ...]
    datasets: tuple[str, ...]


STAGES = (
    Stage(
        "crawl",
        ("robots, consent,", "guarded fetch,", "extraction"),
        ("crawled", "outcomes", "raw", "references", "answers"),
    ),
    Stage(
        "clean",
        ("attributes, rules,", "language,", "personal data"),
        ("cleaned", "measured", "normalized", "measured_texts", "texts"),
    ),
    Stage(
        "dedup",
        ("near-duplicates,", "clusters across", "nights"),
        ("deduplicated", "image_index", "text_index"),
    ),
    Stage("tokenize", ("the tokenizer,", "token ids"), ("tokenizer", "tokenized")),
    Stage(
        "weak",
        ("pseudo-pairs", "for five tasks,", "weak labels"),
        ("page_labels", "generated", "pairs"),
    ),
    Stage("shards", ("leak-free splits,", "tars, the order", "of samples"), ("shards",)),
    Stage("train", ("losses, the loop,", "its Ray Train", "wrapper"), ("candidate",)),
    Stage("evaluate", ("scores, blind", "baselines, the", "report card"), ("evaluation",)),
    Stage("registry", ("versions, gate,", "promotion", "(MLflow)"), ()),
)
BOX, GAP, LEFT = 112, 14, 204
RIGHT = LEFT + len(STAGES) * (BOX + GAP) - GAP
# Tops of the bands, from above.
PIPELINES, TITLE, ROW, MODELS, CLUSTER, CHIPS = 58, 204, 222, 346, 424, 506


def column(index: int) -> int:
    """Left edge of a stage."""
    return LEFT + index * (BOX + GAP)


def text(
    x: float,
    y: float,
    words: str,
    size: int = 12,
    color: str = SOFT,
    anchor: str = "start",
    name: bool = False,
) -> str:
    """One line of text; `name` is how folders and datasets are written."""
    family = "ui-monospace,Menlo,Consolas,monospace" if name else "Helvetica,Arial,sans-serif"
    weight = "bold" if name and size > 12 else "normal"
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{INK if name else color}" '
        f'text-anchor="{anchor}" font-weight="{weight}" font-family="{family}">'
        f"{escape(words)}</text>"
    )


def box(x: float, y: float, w: float, h: float, fill: str, line: str = LINE, dash: str = "") -> str:
    """A rounded rectangle."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" fill="{fill}" '
        f'stroke="{line}"{dashes}/>'
    )


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """A straight arrow."""
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{SOFT}" stroke-width="1.4" '
        'marker-end="url(#tip)"/>'
    )


def frames() -> list[str]:
    """infra around everything, mmcore around the stages."""
    return [
        box(16, 14, WIDTH - 32, HEIGHT - 28, FRAME, LINE, "7 5"),
        text(36, 41, "infra/", 15, name=True),
        text(98, 41, "where: images, compose, KubeRay manifests, Dagster in production"),
        box(36, 176, WIDTH - 72, 482, PACKAGE),
        text(52, TITLE, "mmcore/", 15, name=True),
        text(
            124,
            TITLE,
            "what: a stage's folder has a stage.py with run(lake, day, config); graph.py puts them "
            "in order, recipe.py is the file a user writes; the command line is in",
        ),
        text(920, TITLE, "commands", 12, name=True),
    ]


def dagster() -> list[str]:
    """The band that says when."""
    groups = (
        ("defs/data", "assets of a day: crawled ... shards", 0, 5),
        ("defs/training", "candidate, evaluation, check, champion", 6, 8),
    )
    parts = [
        box(36, PIPELINES, WIDTH - 72, 92, DAGSTER),
        text(52, PIPELINES + 24, "pipelines/", 15, name=True),
        text(52, PIPELINES + 44, "when: Dagster,"),
        text(52, PIPELINES + 60, "one run, one Ray"),
    ]
    for name, words, first, last in groups:
        x, w = column(first), column(last) + BOX - column(first)
        parts.append(box(x, PIPELINES + 12, w, 46, WHITE))
        parts.append(text(x + 12, PIPELINES + 31, name, 13, name=True))
        parts.append(text(x + 12, PIPELINES + 49, words))
        parts.append(arrow(x + w / 2, PIPELINES + 92, x + w / 2, 174))
    parts.append(text(LEFT, PIPELINES + 80, "defs/operations", 13, name=True))
    parts.append(
        text(LEFT + 132, PIPELINES + 80, "the schedule nightly_retraining: every day's partition")
    )
    return parts


def sources() -> list[str]:
    """What is crawled."""
    middle = ROW + 50
    return [
        box(52, ROW, 126, 100, WHITE, LINE, "5 4"),
        text(64, ROW + 24, "the web"),
        text(64, ROW + 42, "a folder of images"),
        text(64, ROW + 66, "samplesite", 13, name=True),
        text(64, ROW + 84, "demo and tests"),
        arrow(178, middle, LEFT - 2, middle),
    ]


def stages() -> list[str]:
    """The row of stages, each with an arrow to what it commits to the lake."""
    parts = []
    for index, stage in enumerate(STAGES):
        x, middle = column(index), column(index) + BOX / 2
        parts.append(box(x, ROW, BOX, 100, WHITE, INK))
        parts.append(text(middle, ROW + 25, stage.folder, 14, anchor="middle", name=True))
        for row, words in enumerate(stage.lines):
            parts.append(text(middle, ROW + 48 + 17 * row, words, anchor="middle"))
        if index:
            parts.append(arrow(x - GAP, ROW + 50, x - 2, ROW + 50))
        parts += commits(index, stage)
    return parts


def commits(index: int, stage: Stage) -> list[str]:
    """The datasets of a stage."""
    x, middle = column(index), column(index) + BOX / 2
    start = MODELS + 54 if stage.folder in ("train", "evaluate") else ROW + 100
    parts = [arrow(middle, start, middle, CLUSTER - 2)] if stage.datasets else []
    for row, name in enumerate(stage.datasets):
        y = CHIPS + 27 * row
        parts.append(box(x, y, BOX, 22, WHITE))
        parts.append(text(middle, y + 15, name, 12, anchor="middle", name=True))
    if stage.datasets:
        parts.append(arrow(middle, CLUSTER + 50, middle, CHIPS - 2))
    return parts


def models() -> list[str]:
    """The network that train and evaluate use; the champion that comes out."""
    x, w, champion = column(6), 2 * BOX + GAP, column(8)
    return [
        *(arrow(column(i) + BOX / 2, ROW + 100, column(i) + BOX / 2, MODELS - 2) for i in (6, 7)),
        box(x, MODELS, w, 54, MODEL),
        text(x + 12, MODELS + 23, "models", 14, name=True),
        text(x + 74, MODELS + 23, "encoders, alignment, fusion,"),
        text(x + 12, MODELS + 42, "five heads, presets/*.json"),
        arrow(champion + BOX / 2, ROW + 100, champion + BOX / 2, MODELS - 2),
        box(champion, MODELS, BOX, 54, MODEL, INK),
        text(champion + BOX / 2, MODELS + 23, "champion", 14, anchor="middle", name=True),
        text(champion + BOX / 2, MODELS + 42, "self-contained", anchor="middle"),
    ]


def foundations() -> list[str]:
    """Ray and the lake, which every stage uses."""
    return [
        box(52, CLUSTER, WIDTH - 104, 50, RAY),
        text(64, CLUSTER + 30, "cluster", 14, name=True),
        text(
            LEFT,
            CLUSTER + 20,
            "Ray: one item, one task, results in order; workers write parts through the lake.",
        ),
        text(
            LEFT,
            CLUSTER + 38,
            "Embedded in the run's process, or a Ray Job on a cluster with the same entry point.",
        ),
        box(52, CHIPS - 20, WIDTH - 104, 160, LAKE),
        text(64, CHIPS + 16, "lake", 14, name=True),
        text(64, CHIPS + 36, "immutable, named"),
        text(64, CHIPS + 52, "by content"),
        text(
            LEFT + 5 * (BOX + GAP),
            CHIPS + 70,
            "NAME@DAY: the parts, then the manifest, then the pointer, atomically.",
        ),
        text(
            LEFT + 5 * (BOX + GAP),
            CHIPS + 88,
            "A local folder or s3://. Only references pass between stages.",
        ),
    ]


def draw() -> str:
    """The whole picture."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="Architecture of mmcore">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="{SOFT}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *frames(),
        *dagster(),
        *foundations(),
        *sources(),
        *stages(),
        *models(),
        text(52, 682, "Beside them:"),
        text(130, 682, "tests/ mirrors mmcore/, benchmarks/, docs/, recipes/"),
        text(
            52,
            702,
            "Dependencies run one way: pipelines, then a stage's stage.py, then the stage's plain "
            "functions. Every stage may use lake and cluster; no stage imports another's stage.py.",
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(draw(), encoding="utf-8")
