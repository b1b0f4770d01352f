"""A training on the page of its asset: curves, validations, pictures of what the model says."""

from __future__ import annotations

import io
from typing import Any

DIALOG = 1100  # pixels that a dialog of Dagster shows without cutting off
_COLUMNS, _WIDTH, _ROW = 4, 10.0, 2.0  # inches
_LINE, _SCORE = "#5b8def", "#2f855a"


def training_curves(training: dict[str, Any]) -> bytes | None:
    """Small plots over the samples seen as PNG: the loss of each task as a share of a guess's, the
    norm of the gradient, samples a second and the validations' scores.

    training: `training.json` of a candidate; None where it was over before its first line.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(training)
    if not panels:
        return None
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(_WIDTH, 0.3 + _ROW * rows), dpi=110, layout="constrained")
    places = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    for axes, (title, points) in zip(places, panels.items(), strict=False):
        held_out = title.startswith("validation")
        colour = _SCORE if held_out else _LINE
        marker = "o" if held_out or len(points) < 3 else None
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4)
        axes.set_title(title, fontsize=9)
        axes.set_ylim(bottom=0, top=1 if held_out else None)
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_locator(_few_ticks())
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    figure.supxlabel("samples seen", fontsize=8)
    sink = io.BytesIO()
    FigureCanvasAgg(figure).print_png(sink, metadata={"Software": None})
    return sink.getvalue()


def fitted(png: bytes, width: int = DIALOG) -> bytes:
    """The picture, no wider than so many pixels."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        if picture.width <= width:
            return png
        height = round(picture.height * width / picture.width)
        small = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    small.save(sink, "PNG")
    return sink.getvalue()


def validation_table(training: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Scores of each validation by the samples seen, the finished model's last."""
    rows = {
        f"{validation['samples']:,} samples": dict(validation["scores"])
        for validation in training["validations"]
    }
    final = training["final_validation"]
    if final:
        rows["at the end"] = {name: round(value, 4) for name, value in final.items()}
    return rows


def _panels(training: dict[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Points (samples, value) of each plot."""
    panels: dict[str, list[tuple[int, float]]] = {}

    def add(title: str, samples: int, value: float | None) -> None:
        if value is not None:
            panels.setdefault(title, []).append((samples, value))

    history = training["history"]
    for record in history:
        for task, loss in record["losses"].items():
            add(f"loss: {task}", record["samples"], loss)
    for record in history:
        add("gradient norm", record["samples"], record.get("gradient_norm", {}).get("mean"))
        add("samples per second", record["samples"], record["samples_per_second"])
    final = {"samples": training["samples_seen"], "scores": training["final_validation"]}
    for validation in [*training["validations"], final]:
        for name, score in validation["scores"].items():
            add(f"validation: {name}", validation["samples"], score)
    return panels


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3, integer=True)
