"""A training on the page of its asset: curves, validations, pictures of what the model says."""

from __future__ import annotations

import io
from itertools import cycle
from typing import Any

DIALOG = 1100  # pixels that a dialog of Dagster shows without cutting off
_COLUMNS, _WIDTH, _ROW = 4, 10.0, 2.0  # inches
_LINES, _SCORE = ("#5b8def", "#dd6b20", "#805ad5"), "#2f855a"
_QUALITY = 80  # of a WebP: small letters are still sharp

Points = list[tuple[int, float]]  # (samples, value)


def training_curves(training: dict[str, Any]) -> bytes | None:
    """Small plots over the samples seen as PNG: the loss of each task as a share of a guess's, the
    norm of the gradient, speed, learning rate, memory, what the time went into and the validations'
    scores.

    training: `training.json` of a candidate; None where it was over before its first line.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plots = panels(training)
    if not plots:
        return None
    rows = -(-len(plots) // _COLUMNS)
    figure = Figure(figsize=(_WIDTH, 0.3 + _ROW * rows), dpi=110, layout="constrained")
    places = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    for axes, (title, lines) in zip(places, plots.items(), strict=False):
        _draw(axes, title, lines)
    for axes in places[len(plots) :]:
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


def compressed(png: bytes) -> bytes:
    """The picture as a WebP that fits into a dialog: with photographs a fifth of the PNG, so that
    an event which carries it stays small."""
    from PIL import Image

    sink = io.BytesIO()
    with Image.open(io.BytesIO(fitted(png))) as picture:
        picture.convert("RGB").save(sink, "WEBP", quality=_QUALITY)
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


def panels(training: dict[str, Any]) -> dict[str, dict[str, Points]]:
    """The lines of each plot by their names; a line that is alone has none."""
    found: dict[str, dict[str, Points]] = {}

    def add(title: str, samples: int, value: float | None, line: str = "") -> None:
        if value is not None:
            found.setdefault(title, {}).setdefault(line, []).append((samples, value))

    history = training["history"]
    for record in history:
        for task, loss in record["losses"].items():
            add(f"loss: {task}", record["samples"], loss)
    for record in history:
        samples = record["samples"]
        add("gradient norm", samples, record.get("gradient_norm", {}).get("mean"))
        add("samples per second", samples, record["samples_per_second"])
        add("tokens per second", samples, record.get("tokens_per_second"))
        add("learning rate", samples, record.get("lr"))
        add("share of the time", samples, record.get("utilisation"), "busy")
        for what, share in record.get("waiting", {}).items():
            add("share of the time", samples, share, f"waiting for {what}")
        add("peak memory, MB", samples, record.get("peak_memory_mb"))
    final = {"samples": training["samples_seen"], "scores": training["final_validation"]}
    for validation in [*training["validations"], final]:
        for name, score in validation["scores"].items():
            add(f"validation: {name}", validation["samples"], score)
    return found


def _draw(axes: Any, title: str, lines: dict[str, Points]) -> None:
    held_out = title.startswith("validation")
    for (name, points), colour in zip(lines.items(), cycle(_LINES), strict=False):
        axes.plot(
            *zip(*points, strict=True),
            color=_SCORE if held_out else colour,
            marker="o" if held_out or len(points) < 3 else None,
            markersize=4,
            label=name,
        )
    if len(lines) > 1:
        axes.legend(fontsize=6, frameon=False)
    axes.set_title(title, fontsize=9)
    axes.set_ylim(bottom=0, top=1 if held_out else None)
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_locator(_few_ticks())
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3, integer=True)
