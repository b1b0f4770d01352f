"""Pictures of what a stage measured, for the page of its asset."""

from __future__ import annotations

import io
from typing import Any

_COVERAGE, _OVERLAP, _CONFLICT, _ACCURACY = "#6b7785", "#5b8def", "#d9534f", "#2f855a"
_INSIDE = 0.75  # a longer bar has its number in it
_ROW, _WIDTH = 0.34, 8.0  # inches


def labeling_functions(table: dict[str, dict[str, Any]]) -> bytes | None:
    """Bars of coverage, overlap, conflict and accuracy per labeling function as PNG.

    table: `labeling_functions` of the metadata of `pairs`; None where it is empty. An accuracy that
    could not be checked has no bar.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not table:
        return None
    measures = {
        "coverage": _COVERAGE,
        "overlap": _OVERLAP,
        "conflict": _CONFLICT,
        "accuracy": _ACCURACY,
    }
    names = list(table)
    figure = Figure(figsize=(_WIDTH, 0.9 + _ROW * len(names)), dpi=90, layout="constrained")
    places = figure.subplots(1, len(measures), sharey=True)
    for axes, (measure, colour) in zip(places, measures.items(), strict=True):
        values = [table[name].get(measure) for name in names]
        known = [(y, value) for y, value in enumerate(values) if value is not None]
        axes.barh([y for y, _ in known], [value for _, value in known], color=colour)
        for y, value in known:
            inside = value > _INSIDE
            axes.text(
                value - 0.03 if inside else value + 0.03,
                y,
                f"{value:.2f}",
                va="center",
                ha="right" if inside else "left",
                color="white" if inside else "black",
                fontsize=7,
            )
        if not known:
            axes.text(0.5, len(names) / 2, "nothing\nto check against", ha="center", fontsize=8)
        axes.set(xlim=(0, 1), title=measure, xticks=(0, 0.5, 1))
        axes.spines[["top", "right"]].set_visible(False)
    places[0].set_yticks(range(len(names)), names)
    places[0].invert_yaxis()
    sink = io.BytesIO()
    FigureCanvasAgg(figure).print_png(sink, metadata={"Software": None})
    return sink.getvalue()
