"""Columns of what crawl writes, and the reasons a URL may end with. See docs/datasets.md."""

from __future__ import annotations

import pyarrow as pa

REASONS = (
    "ok",
    "redirected",
    "robots_disallowed",
    "noindex",
    "noai",
    "tdm_reserved",
    "license_refused",
    "http_error",
    "rate_limited",
    "redirect_loop",
    "too_many_redirects",
    "timeout",
    "connection_error",
    "dns_error",
    "private_address",
    "invalid_url",
    "out_of_scope",
    "wrong_content_type",
    "too_large",
    "empty",
    "limit_reached",
    "host_parked",
    "missing_file",
    "bad_record",
    "blocklisted",
    "taken_down",
)

# Asked for and answered, perhaps, and not taken: the site, the page or the licence says so.
WITHHELD = frozenset(["noai", "noindex", "tdm_reserved", "license_refused"])

_TIME = pa.timestamp("ms", tz="UTC")
_STRINGS = pa.list_(pa.string())

REFERENCES = pa.schema(
    [
        ("page_url", pa.string()),
        ("position", pa.int32()),
        ("image_url", pa.string()),
        ("element", pa.string()),
        ("alt", pa.string()),
        ("title", pa.string()),
        ("caption", pa.string()),
        ("context", pa.string()),
        ("heading", pa.string()),
        ("page_title", pa.string()),
        ("keywords", _STRINGS),
        ("comments", _STRINGS),
        ("lang", pa.string()),
        ("license", pa.string()),
        ("meta_robots", pa.string()),
        ("page_x_robots_tag", pa.string()),
        ("canonical_url", pa.string()),
        ("tdm_reserved", pa.bool_()),
        ("tdm_policy", pa.string()),
    ]
)

CRAWLED = pa.schema(
    [
        ("page_url", pa.string()),
        ("image_url", pa.string()),
        ("sha256", pa.string()),
        ("position", pa.int32()),
        ("element", pa.string()),
        ("alt", pa.string()),
        ("title", pa.string()),
        ("caption", pa.string()),
        ("context", pa.string()),
        ("heading", pa.string()),
        ("page_title", pa.string()),
        ("keywords", _STRINGS),
        ("comments", _STRINGS),
        ("lang", pa.string()),
        ("license", pa.string()),
        ("canonical_url", pa.string()),
        ("consent", pa.string()),
        ("annotation", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("state", pa.string()),
        ("fetched_at", _TIME),
    ]
)
CRAWLED_VOLATILE = ("fetched_at",)

OUTCOMES = pa.schema(
    [
        ("url", pa.string()),
        ("kind", pa.string()),
        ("reason", pa.string()),
        ("status", pa.int32()),
        ("bytes", pa.int64()),
        ("content_type", pa.string()),
        ("sha256", pa.string()),
        ("referrer", pa.string()),
        ("redirect", pa.string()),
        ("state", pa.string()),
        ("detail", pa.string()),
        ("attempts", pa.int32()),
        ("elapsed_ms", pa.float32()),
        ("fetched_at", _TIME),
    ]
)
OUTCOMES_VOLATILE = ("status", "detail", "attempts", "elapsed_ms", "fetched_at")

RAW = pa.schema(
    [
        ("sha256", pa.string()),
        ("image", pa.binary()),
        ("bytes", pa.int64()),
        ("content_type", pa.string()),
        ("url", pa.string()),
    ]
)

# What a unit of the crawl tells the driver about each stored image.
IMAGES = pa.schema(
    [
        ("url", pa.string()),
        ("sha256", pa.string()),
        ("robots", pa.string()),
        ("x_robots_tag", pa.string()),
        ("tdm_reserved", pa.bool_()),
        ("tdm_policy", pa.string()),
        ("state", pa.string()),
        ("fetched_at", _TIME),
    ]
)
