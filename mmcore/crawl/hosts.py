"""Which hosts were slow, and which gave the least: counted by host from the outcomes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.crawl.outcomes import Outcome

HOSTS = pa.schema(
    [
        ("host", pa.string()),
        ("urls", pa.int64()),
        ("requests", pa.int64()),
        ("failed", pa.int64()),
        ("bytes", pa.int64()),
        ("seconds", pa.float64()),
        ("answered", pa.int64()),
    ]
)
_FAILURES = frozenset(
    [
        "http_error",
        "rate_limited",
        "timeout",
        "connection_error",
        "dns_error",
        "private_address",
        "host_parked",
        "redirect_loop",
        "too_many_redirects",
        "too_large",
        "empty",
    ]
)
_SHOWN = 10


def host_table(outcomes: Iterable[Outcome]) -> pa.Table:
    """One row per host (schema HOSTS): `seconds` is the sum over the `answered` URLs."""
    totals: dict[str, list[float]] = {}
    for outcome in outcomes:
        if outcome.attempts == 0 and outcome.reason not in _FAILURES:
            continue  # never asked for
        row = totals.setdefault(_host(outcome.url), [0, 0, 0, 0, 0.0, 0])
        row[0] += 1
        row[1] += outcome.attempts
        row[2] += outcome.reason in _FAILURES and outcome.kind in ("page", "image")
        row[3] += outcome.bytes
        row[4] += (outcome.elapsed_ms or 0.0) / 1000
        row[5] += outcome.elapsed_ms is not None
    columns: list[list[Any]] = [
        list(totals),
        *([row[i] for row in totals.values()] for i in range(6)),
    ]
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, HOSTS, strict=True)],
        schema=HOSTS,
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:  # as written on a page, and no URL
        return ""


def merge_hosts(tables: Iterable[pa.Table]) -> pa.Table:
    """Rows of the same host added up."""
    table = pa.concat_tables([HOSTS.empty_table(), *tables])
    sums = [(name, "sum") for name in HOSTS.names[1:]]
    merged = table.group_by("host", use_threads=False).aggregate(sums)
    return pa.table(
        [merged["host"], *(merged[f"{name}_sum"] for name in HOSTS.names[1:])], schema=HOSTS
    )


def host_summary(tables: Iterable[pa.Table]) -> dict[str, Any]:
    """The slowest hosts (mean seconds an answer) and the worst (most URLs failed), for people."""
    table = merge_hosts(tables)
    mean = pc.divide(table["seconds"], pc.cast(pc.max_element_wise(table["answered"], 1), "double"))
    table = table.append_column("mean_seconds", mean)
    failing = table.filter(pc.greater(table["failed"], 0))
    return {
        "hosts": table.num_rows,
        "slowest": _shown(table.sort_by([("mean_seconds", "descending"), ("host", "ascending")])),
        "worst": _shown(failing.sort_by([("failed", "descending"), ("host", "ascending")])),
    }


def _shown(table: pa.Table) -> dict[str, str]:
    return {
        row[
            "host"
        ]: f"{row['urls']:,} URLs, {row['requests']:,} requests, {row['failed']:,} failed, "
        f"{row['bytes'] / 1e6:,.1f} MB, {row['mean_seconds'] * 1000:,.0f} ms an answer"
        for row in table.slice(0, _SHOWN).to_pylist()
    }
