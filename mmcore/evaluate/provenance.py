"""Where the evaluated images come from: licences and consent, counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

_NOT_STATED = "not stated"
_MOST = 12


def summarize_sources(sources: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Images per `licenses`, `consent` (robots verdict and directives seen) and `hosts`."""
    licenses: Counter[str] = Counter()
    consent: Counter[str] = Counter()
    hosts: Counter[str] = Counter()
    for source in sources:
        licenses[str(source.get("license") or _NOT_STATED)] += 1
        consent[_verdict(source.get("consent"))] += 1
        hosts[_host(source.get("page_url"))] += 1
    return {
        "licenses": _counted(licenses),
        "consent": _counted(consent),
        "hosts": _counted(hosts),
    }


def _verdict(consent: Any) -> str:
    """The evidence of one sample as one line: `robots: allowed, meta_robots: noai`."""
    if isinstance(consent, str):
        try:
            consent = json.loads(consent)
        except ValueError:
            return consent
    if not isinstance(consent, dict):
        return _NOT_STATED
    # Times and texts differ from page to page; verdicts and directives are what can be counted.
    said = {
        key: value
        for key, value in sorted(consent.items())
        if isinstance(value, str | bool | int) and value not in ("", False) and "time" not in key
    }
    return ", ".join(f"{key}: {value}" for key, value in said.items()) or _NOT_STATED


def _host(url: Any) -> str:
    if not isinstance(url, str) or not url:
        return "unknown"
    parts = urlsplit(url)
    return parts.hostname or parts.scheme or "unknown"


def _counted(counts: Counter[str]) -> dict[str, int]:
    """The commonest first, the rest as one number."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = dict(ranked[:_MOST])
    rest = sum(count for _, count in ranked[_MOST:])
    return kept | ({"others": rest} if rest else {})
