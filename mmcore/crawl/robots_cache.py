"""robots.txt of the origins of one host, each fetched once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from mmcore.crawl.asking import Asker
from mmcore.crawl.fetch import Answer
from mmcore.crawl.outcomes import Outcome, outcome_of
from mmcore.crawl.robots import MAX_BYTES, Robots, RobotsFile, parse_robots
from mmcore.crawl.urls import origin_of, resolve_or_none

_MAX_REDIRECTS = 5  # RFC 9309 2.3.1.2
_ACCEPT = "text/plain,*/*;q=0.5"


class RobotsCache:
    """Robots by origin. Requests pass the host's gate; each outcome goes to `note`."""

    def __init__(
        self,
        asker: Asker,
        agent: str,
        note: Callable[[Outcome], None],
        files: Mapping[str, RobotsFile],
    ) -> None:
        """`files`: what earlier waves of the crawl were answered, by origin."""
        self._asker, self._agent, self._note = asker, agent, note
        self.files = dict(files)
        self._loaded: dict[str, asyncio.Task[Robots]] = {}

    async def of(self, url: str) -> Robots:
        """The robots of a URL's origin; fetched at most once, however many ask."""
        origin = origin_of(url)
        if origin not in self._loaded:
            self._loaded[origin] = asyncio.ensure_future(self._load(origin))
        return await self._loaded[origin]

    def known(self, url: str) -> Robots:
        """The robots of an origin that `of` was awaited for."""
        return self._loaded[origin_of(url)].result()

    async def _load(self, origin: str) -> Robots:
        if origin not in self.files:
            first = f"{origin}/robots.txt"
            answer, attempts = await follow_small(self._asker, "robots", first, MAX_BYTES)
            self._note(replace(outcome_of(answer, "robots", answer.reason, attempts), url=first))
            # 304: the file is what it was the last time.
            status = 200 if answer.status == 304 else answer.status
            self.files[origin] = RobotsFile(answer.reason, status, answer.body[:MAX_BYTES])
        robots = parse_robots(self.files[origin])
        self._asker.gate.slow_to(robots.crawl_delay(self._agent))
        return robots


async def follow_small(asker: Asker, kind: str, url: str, most: int) -> tuple[Answer, int]:
    """(final answer, requests it took) for a small file of a site, redirects followed."""
    total = hops = 0
    while True:
        answer, attempts = await asker.until_final(
            kind, url, _ACCEPT, most, lambda head, declared: True
        )
        total += attempts
        target = resolve_or_none(url, answer.location)
        if answer.reason != "redirected" or target is None or hops >= _MAX_REDIRECTS:
            return answer, total
        url, hops = target, hops + 1
