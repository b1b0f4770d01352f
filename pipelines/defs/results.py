"""From a committed dataset to what a person wants to see of it in the Dagster UI."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import dagster as dg
from PIL import Image

from mmcore.cluster.usage import Usage, measured
from mmcore.errors import UserError
from mmcore.graph import Job
from mmcore.lake import Dataset

Metadata = dict[str, Any]


def materialize(
    stage: Callable[[Job], Dataset],
    job: Job,
    picture: Callable[[Job], bytes | None] | None = None,
    more: Callable[[Job], Metadata] | None = None,
) -> dg.MaterializeResult:
    """Run a stage and report its dataset: version, counts, funnel, cost, a picture, and more that
    this asset alone has to show."""
    try:
        with measured() as usage:
            dataset = stage(job)
    except UserError as error:
        # A user's mistake does not go away by trying again.
        raise dg.Failure(description=str(error), allow_retries=False) from error
    metadata = {**dataset_metadata(dataset), **usage_metadata(usage)}
    png = picture(job) if picture else None
    if png:
        metadata["sample"] = inline_picture("sample", png)
    if more:
        metadata |= more(job)
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(dataset.digest))


def inline_picture(name: str, picture: bytes, kind: str = "png") -> dg.MarkdownMetadataValue:
    """A PNG, or a picture of another kind (webp), as metadata that the UI shows."""
    encoded = base64.b64encode(picture).decode()
    return dg.MetadataValue.md(f"![{name}](data:image/{kind};base64,{encoded})")


def dataset_metadata(dataset: Dataset) -> Metadata:
    """Counts, digest, place, parents and the funnel of a dataset."""
    manifest = dataset.manifest
    paths = dataset.paths()
    metadata: Metadata = {
        "dagster/row_count": manifest.rows,
        "bytes": manifest.bytes,
        "parts": len(manifest.parts),
        "digest": manifest.digest,
        "uri": dg.MetadataValue.path(paths[0].rsplit("/", 1)[0] if paths else manifest.folder),
        "parents": dg.MetadataValue.json({p.label: p.digest for p in manifest.parents}),
    }
    if manifest.columns:
        columns = [dg.TableColumn(name, kind) for name, kind in manifest.columns.items()]
        metadata["dagster/column_schema"] = dg.MetadataValue.table_schema(dg.TableSchema(columns))
    for key, value in manifest.metadata.items():
        metadata[key] = dg.MetadataValue.md(markdown(value))
    return metadata


def usage_metadata(usage: Usage) -> Metadata:
    return {
        "wall_seconds": round(usage.wall_seconds, 2),
        "cpu_seconds": round(usage.cpu_seconds, 2),
        "peak_memory_mb": round(usage.peak_memory_mb),
    }


def markdown(value: Any) -> str:
    """A mapping as a table, anything else as text.

    Rows of equal keys become columns; of other mappings each entry is a row, nested ones as paths.
    """
    if not isinstance(value, dict):
        return _cell(value)
    columns = _columns(value)
    if columns:
        cells = [[_cell(name), *(_cell(row[c]) for c in columns)] for name, row in value.items()]
        lines = [["", *map(_cell, columns)], ["---"] * (len(columns) + 1), *cells]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    rows = "\n".join(f"| {_cell(key)} | {_cell(cell)} |" for key, cell in _flatten(value))
    return f"| | |\n|---|---|\n{rows}"


def _columns(value: dict[str, Any]) -> list[str]:
    """The keys that all values share, if these are flat mappings with several keys; else none."""
    rows = [row for row in value.values() if isinstance(row, dict)]
    if len(rows) < 2 or len(rows) < len(value) or any(list(row) != list(rows[0]) for row in rows):
        return []
    nested = any(isinstance(cell, dict) for row in rows for cell in row.values())
    return [] if nested or len(rows[0]) < 2 else list(rows[0])


def _flatten(value: dict[str, Any], path: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, cell in value.items():
        name = f"{path} › {key}" if path else str(key)
        rows += _flatten(cell, name) if isinstance(cell, dict) else [(name, cell)]
    return rows


def _cell(value: Any) -> str:
    text = f"{value:,.4g}" if isinstance(value, float) else "" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def contact_sheet(images: list[bytes], columns: int = 8, side: int = 96) -> bytes | None:
    """Encoded images as one PNG of thumbnails; None for no images."""
    if not images:
        return None
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side), "white")
    for index, data in enumerate(images):
        with Image.open(io.BytesIO(data)) as image:
            thumbnail = image.convert("RGB")
            thumbnail.thumbnail((side - 4, side - 4))
        sheet.paste(thumbnail, (index % columns * side + 2, index // columns * side + 2))
    sink = io.BytesIO()
    sheet.quantize(64).save(sink, "PNG", optimize=True)
    return sink.getvalue()
