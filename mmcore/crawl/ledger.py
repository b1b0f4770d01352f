"""The driver's books of a crawl: parts, small tables, what is still to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from mmcore.crawl.hosts import host_summary, merge_hosts
from mmcore.crawl.outcomes import Outcome, count_reasons
from mmcore.crawl.redirects import follow
from mmcore.crawl.robots import RobotsFile
from mmcore.crawl.rows import with_redirects
from mmcore.crawl.schemas import IMAGES, WITHHELD
from mmcore.crawl.unit import PART_STRIDE, Unit, UnitResult
from mmcore.crawl.urls import host_of
from mmcore.crawl.work import HostJob, ImageLead, PageLead, Scope
from mmcore.lake import Part

_ADVICE = {
    "private_address": "its address is private: set allow_private: true if the site is yours",
    "robots_disallowed": "its robots.txt keeps crawlers out, or could not be read",
    "dns_error": "the host name does not resolve: check its spelling",
    "connection_error": "the host does not answer: check the address and the port",
    "timeout": "the host is too slow: raise crawl.timeout_seconds",
    "wrong_content_type": "it is not an HTML page",
    "redirect_loop": "it only redirects in a circle",
    "taken_down": "it is on the takedown list: leave it out of the recipe's sources",
}


@dataclass
class Ledger:
    """Everything the driver keeps of a crawl; never bytes."""

    references: list[Part] = field(default_factory=list)
    raw: dict[int, Part] = field(default_factory=dict)
    """By part index."""
    outcomes: list[Part] = field(default_factory=list)
    crawled: list[Part] = field(default_factory=list)
    images: list[pa.Table] = field(default_factory=list)
    redirects: dict[str, dict[str, str]] = field(default_factory=lambda: {"page": {}, "image": {}})
    """By kind: redirecting URL -> target."""
    open: list[Outcome] = field(default_factory=list)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    page_reasons: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    known_pages: set[str] = field(default_factory=set)
    known_images: set[str] = field(default_factory=set)
    requested: dict[str, dict[int, int]] = field(default_factory=dict)
    robots: dict[str, dict[str, RobotsFile]] = field(default_factory=dict)
    """By host, then origin."""
    joins: list[Part] = field(default_factory=list)
    """Parts of references that are to be joined with stored images."""
    answers: list[Part] = field(default_factory=list)
    states: Counter[tuple[str, str]] = field(default_factory=Counter)
    hosts: list[pa.Table] = field(default_factory=list)
    units: int = 0

    def deal(
        self, pages: list[PageLead], images: list[ImageLead], hosts_per_task: int
    ) -> list[Unit]:
        """Hosts in name order, `hosts_per_task` to a unit: the same hosts, the same units."""
        self.known_images |= {image.url for image in images}
        page_leads: dict[str, list[PageLead]] = {}
        image_leads: dict[str, list[ImageLead]] = {}
        for page in pages:
            page_leads.setdefault(host_of(page.url), []).append(page)
        for image in images:
            image_leads.setdefault(host_of(image.url), []).append(image)
        known: dict[str, set[str]] = {}
        for url in self.known_pages:
            known.setdefault(host_of(url), set()).add(url)
        jobs = [
            HostJob(
                host,
                tuple(page_leads.get(host, ())),
                tuple(image_leads.get(host, ())),
                frozenset(known.get(host, ())),
                robots=self.robots.get(host, {}),
                requested=self.requested.get(host, {}),
            )
            for host in sorted(page_leads.keys() | image_leads.keys())
        ]
        starts = range(0, len(jobs), hosts_per_task)
        groups = [tuple(jobs[start : start + hosts_per_task]) for start in starts]
        units = [Unit(self.units + number, group) for number, group in enumerate(groups)]
        self.units += len(units)
        return units

    def enter(self, result: UnitResult) -> None:
        """Add a unit's result to the books."""
        self.enter_raw(result.index, result.raw)
        self.references += result.references
        self.joins += result.joins
        self.outcomes += result.outcomes
        self.answers += result.answers
        self.states += result.states
        self.hosts = [merge_hosts([*self.hosts, result.hosts])]
        self.images.append(result.images)
        for (kind, url), target in result.redirects.items():
            self.redirects[kind][url] = target
        self.open += result.open
        self.reasons += result.reasons
        self.page_reasons |= result.page_reasons
        self.known_pages |= result.visited
        self.known_images |= result.asked_images
        self.requested |= result.requested
        for origin, file in result.robots.items():
            self.robots.setdefault(host_of(origin), {})[origin] = file

    def enter_raw(self, unit: int, parts: list[Part]) -> None:
        """Note the parts of raw that a unit wrote."""
        self.raw |= {unit * PART_STRIDE + number: part for number, part in enumerate(parts)}

    def new_pages(self, results: list[UnitResult], scopes: list[Scope]) -> list[PageLead]:
        """Pages that units handed over and nobody visited. A start that moved widens its scope."""
        leads = [lead for result in results for lead in result.foreign_pages]
        leads.sort(key=lambda p: (p.depth, p.hops, p.scope, p.url, p.referrer or ""))
        new: dict[str, PageLead] = {}
        for lead in leads:
            scope = scopes[lead.scope]
            if host_of(lead.url) not in scope.hosts:
                scopes[lead.scope] = replace(scope, hosts=scope.hosts | {host_of(lead.url)})
            if lead.url in self.known_pages or lead.url in new:
                continue
            if scopes[lead.scope].covers(lead.url):
                new[lead.url] = lead
            else:
                self.open.append(Outcome(lead.url, "page", "out_of_scope", referrer=lead.referrer))
        return list(new.values())

    def new_images(self, results: list[UnitResult]) -> list[ImageLead]:
        """Images that units handed over and nobody asked for, each with its first referrer."""
        leads = [lead for result in results for lead in result.foreign_images]
        new: dict[str, ImageLead] = {}
        for lead in sorted(leads, key=lambda i: (i.url, i.referrer or "")):
            if lead.url not in self.known_images:
                known = new.get(lead.url, lead)
                new[lead.url] = replace(known, hops=min(known.hops, lead.hops))
        return list(new.values())

    def start_problem(self, url: str) -> str | None:
        """Why a start page, followed through its redirects, could not be read; None if it was."""
        pages = self.redirects["page"]
        reason, detail = self.page_reasons.get(url, ("redirected", None))
        if reason == "redirected" and url in pages:
            end = follow(url, pages, len(pages)).end
            reason, detail = self.page_reasons.get(end, (reason, detail))
        if reason == "ok" or reason in WITHHELD:
            return None
        advice = _ADVICE.get(reason) or detail or "check the address"
        return f"{url} gave {reason} ({advice})"

    def settle_open(self, max_redirects: int) -> list[Outcome]:
        """Decide the outcomes that took more than one unit to know, and count them."""
        settled: dict[tuple[str, str], Outcome] = {}
        for outcome in self.open:
            if outcome.reason == "redirected":
                chain = follow(outcome.url, self.redirects[outcome.kind], max_redirects)
                outcome = replace(outcome, reason=chain.reason)
            elif outcome.kind == "image" and outcome.url in self.known_images:
                # Another page gave freely what this one withheld: it has an outcome already.
                if outcome.reason in WITHHELD and outcome.status is None:
                    continue
            elif outcome.reason == "out_of_scope" and outcome.url in self.known_pages:
                continue
            settled[(outcome.kind, outcome.url)] = outcome
        self.reasons += count_reasons(settled.values())
        return list(settled.values())

    def stored_images(self) -> pa.Table:
        """Stored images by every URL that leads to them, through redirects too (IMAGES)."""
        table = pa.concat_tables([IMAGES.empty_table(), *self.images])
        targets = self.redirects["image"]
        ends = {url: follow(url, targets, len(targets)).end for url in targets}
        return with_redirects(table.combine_chunks(), ends).combine_chunks()

    def funnel(self) -> dict[str, int]:
        """What became of the URLs, in the order of the work."""
        return {
            "urls": sum(self.reasons.values()),
            "pages": self.reasons[("page", "ok")],
            "images_asked": sum(n for (kind, _), n in self.reasons.items() if kind == "image"),
            "images_stored": self.reasons[("image", "ok")],
            "distinct_images": sum(part.rows for part in self.raw.values()),
            "occurrences": sum(part.rows for part in self.crawled),
        }

    def metadata(self) -> dict[str, Any]:
        """What people look at: the funnel, reasons, changes since the last crawl, hosts."""
        metadata = {"funnel": self.funnel(), "reasons": _by_kind(self.reasons)}
        if self.states:
            metadata["since_last_crawl"] = _by_kind(self.states)
        return metadata | host_summary(self.hosts)


def _by_kind(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """kind -> reason or state -> how many URLs."""
    kinds = sorted({kind for kind, _ in counts})
    return {
        kind: {name: n for (k, name), n in sorted(counts.items()) if k == kind} for kind in kinds
    }
