"""Crawl one host: discover its pages wave by wave, fetch its images beside.

A wave is all pages that the wave before led to, so depth, limits and what is found are the same
however fast each page answers. Images are fetched whenever no page waits. Robots, rate, connections
and pauses of the host are kept here and nowhere else.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from mmcore.crawl.asking import Asker
from mmcore.crawl.charset import decode_page
from mmcore.crawl.consent import header_directives
from mmcore.crawl.extract import Page, extract_page
from mmcore.crawl.fetch import Answer
from mmcore.crawl.findings import Findings, Stored
from mmcore.crawl.limits import HostLimits
from mmcore.crawl.memory import Memory
from mmcore.crawl.outcomes import Outcome, outcome_of
from mmcore.crawl.robots_cache import RobotsCache, follow_small
from mmcore.crawl.sitemaps import MAX_BYTES as SITEMAP_BYTES
from mmcore.crawl.sitemaps import read_sitemaps
from mmcore.crawl.sniff import image_type, looks_like_html
from mmcore.crawl.spill import Spill
from mmcore.crawl.tdm import Reservation, combined, from_headers
from mmcore.crawl.tdm_cache import TdmCache
from mmcore.crawl.urls import host_of, resolve_or_none
from mmcore.crawl.work import HostJob, ImageLead, PageLead, Scope

_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_PAGE_ACCEPT = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1"
_IMAGE_ACCEPT = "image/*,*/*;q=0.1"
_PAGE, _IMAGE = 0, 1
_MOST_LISTED = 1_000_000


@dataclass(slots=True)
class _Job:
    lead: PageLead | ImageLead
    rank: int
    attempts: int = 0


class HostCrawl:
    """The crawl of one host. `run` returns when nothing is left to do."""

    def __init__(
        self,
        job: HostJob,
        scopes: Sequence[Scope],
        asker: Asker,
        limits: HostLimits,
        memory: Memory,
        findings: Findings,
        spill: Spill,
    ) -> None:
        self._job, self._scopes, self._limits = job, scopes, limits
        self._asker, self._found, self._spill, self._memory = asker, findings, spill, memory
        self._robots = RobotsCache(asker, limits.agent, findings.note, job.robots)
        self._tdm = TdmCache(asker, findings.note, job.tdm)
        self._queue: asyncio.PriorityQueue[tuple[int, int, _Job]] = asyncio.PriorityQueue()
        self._pages_seen = set(job.known)
        self._images_seen: set[str] = set()
        self._requested = dict(job.requested)
        self._wave: dict[int, list[PageLead]] = {}
        self._open_pages = self._open = self._rank = 0
        self._done = asyncio.Event()

    async def run(self) -> None:
        """Do the job; every URL of it has an outcome in the findings afterwards."""
        self._plan([*self._job.pages, *await self._listed_pages()])
        for image in self._job.images:
            self._want_image(image)
        if self._open:
            count = self._limits.connections if self._job.pages else self._open
            workers = [
                asyncio.ensure_future(self._work())
                for _ in range(min(count, self._limits.connections))
            ]
            finished = asyncio.ensure_future(self._done.wait())
            try:
                await asyncio.wait([finished, *workers], return_when=asyncio.FIRST_COMPLETED)
                for worker in workers:
                    if worker.done():
                        worker.result()  # a worker only ends by an error: let it be seen
            finally:
                for task in (finished, *workers):
                    task.cancel()
                await asyncio.gather(finished, *workers, return_exceptions=True)
        self._found.visited |= self._pages_seen
        self._found.requested[self._job.host] = self._requested
        self._found.robots |= self._robots.files
        self._found.tdm |= self._tdm.files

    async def _listed_pages(self) -> list[PageLead]:
        """Pages that the site's sitemaps list, for sources that start on this host."""
        leads: list[PageLead] = []
        for start in self._job.pages:
            scope = self._scopes[start.scope]
            if start.depth or not scope.sitemaps or any(x.scope == start.scope for x in leads):
                continue
            robots = await self._robots.of(start.url)
            if robots.failure or robots.verdict == "unavailable":
                continue
            found = await read_sitemaps(
                start.url, robots.sitemaps, self._sitemap, scope.max_pages or _MOST_LISTED
            )
            leads += [
                PageLead(url, start.scope, depth=1, referrer=listing)
                for url, listing in found
                if scope.covers(url) and host_of(url) == self._job.host
            ]
        return leads

    async def _sitemap(self, url: str) -> Answer:
        if not await self._permitted(url, "sitemap"):
            return Answer(url, "robots_disallowed")
        answer, attempts = await follow_small(self._asker, "sitemap", url, SITEMAP_BYTES)
        self._found.note(replace(outcome_of(answer, "sitemap", answer.reason, attempts), url=url))
        return answer

    async def _work(self) -> None:
        while True:
            kind, _, job = await self._queue.get()
            self._found.queued -= 1
            again = await (self._page(job) if kind == _PAGE else self._image(job))
            if again is None:
                self._finish(kind)
            else:
                asyncio.get_running_loop().call_later(again, self._put, kind, job)

    def _put(self, kind: int, job: _Job) -> None:
        self._found.queued += 1
        self._queue.put_nowait((kind, job.rank, job))

    def _finish(self, kind: int) -> None:
        if kind == _PAGE:
            self._open_pages -= 1
            if self._open_pages == 0:
                leads = [lead for rank in sorted(self._wave) for lead in self._wave[rank]]
                self._wave = {}
                self._plan(leads)
        self._open -= 1
        if self._open == 0:
            self._done.set()

    # -- planning: runs between waves, in the order in which links stand on the pages --

    def _plan(self, leads: list[PageLead]) -> None:
        for lead in leads:
            if lead.url in self._pages_seen:
                continue
            self._pages_seen.add(lead.url)
            if lead.url in self._images_seen:  # shown as an image somewhere: one GET is enough
                continue
            if self._beyond_limits(lead):
                self._found.note(Outcome(lead.url, "page", "limit_reached"))
                continue
            self._requested[lead.scope] = self._requested.get(lead.scope, 0) + 1
            self._open_pages += 1
            self._enqueue(_PAGE, lead)

    def _beyond_limits(self, lead: PageLead) -> bool:
        scope = self._scopes[lead.scope]
        if scope.max_depth is not None and lead.depth > scope.max_depth:
            return True
        requested = self._requested.get(lead.scope, 0)
        return scope.max_pages is not None and requested >= scope.max_pages

    def _want_image(self, lead: ImageLead) -> None:
        self._found.refer("image", lead.url, lead.referrer)
        if lead.url not in self._images_seen:
            self._images_seen.add(lead.url)
            self._enqueue(_IMAGE, lead)

    def _enqueue(self, kind: int, lead: PageLead | ImageLead) -> None:
        self._open += 1
        self._rank += 1
        self._put(kind, _Job(lead, self._rank))

    # -- one request --

    async def _permitted(self, url: str, kind: str) -> bool:
        """Whether the URL may be requested; if not, its outcome is noted."""
        if self._limits.withdrawn.has_url(url):
            self._found.note(Outcome(url, kind, "taken_down"))
            return False
        robots = await self._robots.of(url)
        if robots.failure:
            self._found.note(Outcome(url, kind, robots.failure))
        elif not robots.allows(url, self._limits.agent):
            self._found.note(Outcome(url, kind, "robots_disallowed"))
        elif self._asker.gate.parked:
            self._found.note(Outcome(url, kind, "host_parked"))
        else:
            await self._tdm.load(url)
            return True
        return False

    async def _get(self, job: _Job, kind: str, accept: str, most: int) -> Answer | float:
        """The final answer, or the seconds to wait before the next attempt."""
        recalled = self._asker.recall(kind, job.lead.url)
        if recalled is not None:
            answer, job.attempts = recalled
            return answer
        wanted = _page_wanted if kind == "page" else _image_wanted
        job.attempts += 1
        url = job.lead.url
        return await self._asker.once(kind, url, accept, most, wanted, job.attempts)

    def _note(
        self, answer: Answer, kind: str, reason: str, attempts: int, redirect: str | None = None
    ) -> Outcome:
        """Put the outcome of an answer on record, with how it stands against the last crawl."""
        kept = self._found.answers.get((kind, answer.url))
        sha = kept.sha256 if kept is not None and reason == "ok" else None
        size = kept.size if kept is not None else 0
        outcome = replace(
            outcome_of(answer, kind, reason, attempts, redirect=redirect),
            state=self._memory.state((kind, answer.url), sha, answer.status),
            sha256=sha if kind == "image" else None,
        )
        if answer.reason == "ok":
            outcome = replace(outcome, bytes=size or len(answer.body))
        self._found.note(outcome)
        return outcome

    # -- pages --

    async def _page(self, job: _Job) -> float | None:
        lead = job.lead
        assert isinstance(lead, PageLead)
        self._found.refer("page", lead.url, lead.referrer)
        if not await self._permitted(lead.url, "page"):
            return None
        answer = await self._get(job, "page", _PAGE_ACCEPT, self._limits.max_page_bytes)
        if isinstance(answer, float):
            return answer
        self._asker.keep("page", answer, job.attempts)
        if answer.reason == "redirected":
            self._redirect_page(lead, job, answer)
        elif answer.reason == "ok":
            self._read_page(lead, job, answer)
        else:
            self._note(answer, "page", answer.reason, job.attempts)
        return None

    def _redirect_page(self, lead: PageLead, job: _Job, answer: Answer) -> None:
        target = resolve_or_none(lead.url, answer.location)
        reason = "redirected" if target else "invalid_url"
        self._note(answer, "page", reason, job.attempts, redirect=target)
        if target is None or lead.hops >= self._limits.max_redirects:
            return
        onward = replace(lead, url=target, hops=lead.hops + 1, referrer=lead.url)
        self._follow_page(onward, job.rank, is_start=lead.depth == 0)

    def _follow_page(self, lead: PageLead, rank: int, is_start: bool) -> None:
        """Queue a page for the next wave, or hand it over where another host serves it."""
        covered = self._scopes[lead.scope].covers(lead.url)
        local = host_of(lead.url) == self._job.host
        if local and covered:
            if lead.url not in self._pages_seen:
                self._found.refer("page", lead.url, lead.referrer)
                self._wave.setdefault(rank, []).append(lead)
        elif covered or (is_start and not local):
            # A start that moved takes its source along: example.org -> www.example.org.
            known = self._found.foreign_pages.get(lead.url)
            if known is None or _lead_order(lead) < _lead_order(known):
                self._found.foreign_pages[lead.url] = lead
        elif not any(scope.covers(lead.url) for scope in self._scopes):
            self._found.note_unless_known(Outcome(lead.url, "page", "out_of_scope"), lead.referrer)

    def _read_page(self, lead: PageLead, job: _Job, answer: Answer) -> None:
        text, codec = decode_page(answer.body, answer.content_type)
        agent = self._limits.agent
        page = extract_page(text, lead.url, codec, answer.language, agent)
        directives = page.directives | header_directives(answer.x_robots_tag, agent)
        tdm = combined(page.tdm, self._said_by_site(answer))
        refused = self._limits.consent.refusal(directives, tdm)
        self._note(answer, "page", refused or "ok", job.attempts)
        for kind, written in page.invalid:
            self._found.refer(kind, written, lead.url)
            self._found.note(Outcome(written, kind, "invalid_url"))
        if refused:
            self._found.withhold_body(("page", lead.url))
            self._withhold(page, refused, lead.url)
        else:
            self._keep_references(lead, page, answer, tdm)
        if "nofollow" not in directives:
            canonical = (page.canonical,) if page.canonical else ()
            for url in (*canonical, *page.links):
                link = PageLead(url, lead.scope, lead.depth + 1, referrer=lead.url)
                self._follow_page(link, job.rank, is_start=False)

    def _said_by_site(self, answer: Answer) -> Reservation:
        """The TDM reservation of an answer's headers, else of the site's file."""
        header = from_headers(answer.tdm_reservation, answer.tdm_policy, answer.url)
        return combined(header, self._tdm.of(answer.url))

    def _withhold(self, page: Page, refused: str, page_url: str) -> None:
        for reference in page.references:
            known = self._found.withheld.get(reference.image_url, refused)
            self._found.withheld[reference.image_url] = min(known, refused)  # noai before noindex
            self._found.refer("withheld", reference.image_url, page_url)

    def _keep_references(
        self, lead: PageLead, page: Page, answer: Answer, tdm: Reservation
    ) -> None:
        """Keep the page's references and ask for their images."""
        policy = self._limits.consent
        wanted = tuple(r for r in page.references if policy.accepts_license(r.license))
        if len(wanted) < len(page.references):
            others = tuple(r for r in page.references if not policy.accepts_license(r.license))
            self._withhold(replace(page, references=others), "license_refused", lead.url)
            page = replace(page, references=wanted)
        if not page.references:
            return
        kept = replace(page, links=())  # only its images matter from here on
        header = ", ".join(answer.x_robots_tag) or None
        self._found.pages[lead.url] = self._spill.append(pickle.dumps((kept, header, tdm)))
        allow_foreign = self._scopes[lead.scope].foreign_images
        for reference in page.references:
            image = ImageLead(reference.image_url, referrer=lead.url)
            if host_of(image.url) == self._job.host:
                self._want_image(image)
            elif allow_foreign:
                self._hand_over_image(image)
            else:
                self._found.note_unless_known(Outcome(image.url, "image", "out_of_scope"), lead.url)

    def _hand_over_image(self, lead: ImageLead) -> None:
        self._found.refer("image", lead.url, lead.referrer)
        known = self._found.foreign_images.get(lead.url)
        if known is None or lead.hops < known.hops:
            self._found.foreign_images[lead.url] = lead

    # -- images --

    async def _image(self, job: _Job) -> float | None:
        lead = job.lead
        assert isinstance(lead, ImageLead)
        if not await self._permitted(lead.url, "image"):
            return None
        answer = await self._get(job, "image", _IMAGE_ACCEPT, self._limits.max_image_bytes)
        if isinstance(answer, float):
            return answer
        if answer.reason == "ok":
            self._keep_image(job, answer)
            return None
        self._asker.keep("image", answer, job.attempts)
        if answer.reason == "redirected":
            self._redirect_image(lead, job, answer)
        else:
            self._note(answer, "image", answer.reason, job.attempts)
        return None

    def _redirect_image(self, lead: ImageLead, job: _Job, answer: Answer) -> None:
        target = resolve_or_none(lead.url, answer.location)
        reason = "redirected" if target else "invalid_url"
        self._note(answer, "image", reason, job.attempts, redirect=target)
        if target is None or lead.hops >= self._limits.max_redirects:
            return
        onward = ImageLead(target, lead.hops + 1, lead.referrer)
        if host_of(target) == self._job.host:
            self._want_image(onward)
        else:
            self._hand_over_image(onward)

    def _keep_image(self, job: _Job, answer: Answer) -> None:
        tdm = self._said_by_site(answer)
        directives = header_directives(answer.x_robots_tag, self._limits.agent)
        refused = self._limits.consent.refusal(directives, tdm)
        known = not answer.body  # by its digest, from a crawl that has looked at the bytes
        kind = answer.content_type if known else image_type(answer.body[:1024], answer.media_type)
        reason: str = refused or ("ok" if kind else "wrong_content_type")
        if self._limits.bars_files:
            reason = self._limits.barred(self._asker.digest(answer)) or reason
        if reason != "ok" or kind is None:
            # What may not be used, or is no image, is not kept at all.
            answer = replace(answer, reason=reason, body=b"")
            self._asker.keep("image", answer, job.attempts)
            self._note(answer, "image", reason, job.attempts)
            return
        answer = replace(answer, content_type=kind)
        self._asker.keep("image", answer, job.attempts)
        outcome = self._note(answer, "image", "ok", job.attempts)
        kept = self._found.answers["image", answer.url]
        digest = kept.sha256 or ""
        if kept.slot is not None:
            self._found.bodies.setdefault(digest, kept.slot)
        header = ", ".join(answer.x_robots_tag) or None
        verdict = self._robots.known(answer.url).verdict
        seen = answer.seen_at or datetime.now(UTC)
        self._found.images[answer.url] = Stored(
            digest, kind, verdict, header, seen, tdm, kept.stored, outcome.state
        )


def _lead_order(lead: PageLead) -> tuple[int, int, int, str]:
    return (lead.depth, lead.hops, lead.scope, lead.referrer or "")


def _page_wanted(head: bytes, declared: str) -> bool:
    return declared in _HTML_TYPES if declared else looks_like_html(head)


def _image_wanted(head: bytes, declared: str) -> bool:
    return image_type(head, declared) is not None
