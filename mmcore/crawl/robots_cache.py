"""robots.txt of the origins of one host, each fetched once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from mmcore.crawl.fetch import Answer, Fetcher
from mmcore.crawl.gate import Gate
from mmcore.crawl.outcomes import Outcome, outcome_of
from mmcore.crawl.robots import MAX_BYTES, Robots, RobotsFile, parse_robots
from mmcore.crawl.urls import origin_of, resolve_or_none

_MAX_REDIRECTS = 5  # RFC 9309 2.3.1.2
_ACCEPT = "text/plain,*/*;q=0.5"


class RobotsCache:
    """Robots by origin. Requests pass the host's gate; each outcome goes to `note`."""

    def __init__(
        self,
        fetcher: Fetcher,
        gate: Gate,
        agent: str,
        note: Callable[[Outcome], None],
        files: Mapping[str, RobotsFile],
    ) -> None:
        """`files`: what earlier waves of the crawl were answered, by origin."""
        self._fetcher, self._gate, self._agent, self._note = fetcher, gate, agent, note
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
            answer, attempts = await self._fetch(first)
            self._note(replace(outcome_of(answer, "robots", answer.reason, attempts), url=first))
            self.files[origin] = RobotsFile(answer.reason, answer.status, answer.body[:MAX_BYTES])
        robots = parse_robots(self.files[origin])
        self._gate.slow_to(robots.crawl_delay(self._agent))
        return robots

    async def _fetch(self, url: str) -> tuple[Answer, int]:
        """(final answer, requests it took), redirects followed."""
        attempts = hops = 0
        while True:
            await self._gate.turn()
            attempts += 1
            answer = await self._fetcher.get(url, _ACCEPT, MAX_BYTES, lambda head, declared: True)
            target = resolve_or_none(url, answer.location)
            if answer.reason == "redirected" and target and hops < _MAX_REDIRECTS:
                url, hops = target, hops + 1
                continue
            delay = self._gate.retry_delay(answer, attempts)
            if delay is None:
                return answer, attempts
            await asyncio.sleep(delay)
