"""Politeness towards one host: its request rate, its pauses, and when to leave it alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random

from mmcore.crawl.fetch import Answer

# A few refusals in a row mean the host, not the page.
_REFUSALS_BEFORE_PAUSE = 3


@dataclass(frozen=True)
class Politeness:
    """How a host is treated. Times in seconds; rate in requests a second, None for no limit."""

    rate: float | None = 20.0
    burst: int = 5
    attempts: int = 4
    backoff: float = 1.0
    max_retry_after: float = 120.0
    park_after: int = 20


class Gate:
    """Every request to a host passes here, one event loop, so its limits hold in one place."""

    def __init__(self, politeness: Politeness, seed: str) -> None:
        self._polite = politeness
        self._interval = 1.0 / politeness.rate if politeness.rate else 0.0
        self._burst = politeness.burst
        self._next = self._paused_until = 0.0
        self._refusals = self._failures = 0
        self._jitter = Random(seed)
        self.parked = False

    def slow_to(self, crawl_delay: float | None) -> None:
        """Honour a robots.txt Crawl-delay where it is slower than the rate.

        A host that asks for more than the longest wait is left alone: no crawl hangs on it.
        """
        if crawl_delay and crawl_delay > self._polite.max_retry_after:
            self.parked = True
        elif crawl_delay and crawl_delay > self._interval:
            self._interval, self._burst = crawl_delay, 1

    async def turn(self) -> None:
        """Wait until the next request may start (a token bucket, kept as GCRA)."""
        clock = asyncio.get_running_loop().time
        while True:
            now = clock()
            wait = max(self._next - now, self._paused_until - now)
            if wait <= 0:
                break
            await asyncio.sleep(wait)
        earliest = now - (self._burst - 1) * self._interval
        self._next = max(self._next, earliest) + self._interval

    def retry_delay(self, answer: Answer, attempts: int) -> float | None:
        """Note what came of a request; seconds to wait before trying it again, None for not again.

        `attempts` counts the request that gave `answer`.
        """
        if not answer.retryable:
            self._refusals = self._failures = 0
            if answer.status is None:  # timed out while dripping: no sign of health
                self._note_failure()
            return None
        self._note_failure()
        delay = self._delay(answer, attempts)
        if answer.status in (429, 503):
            self._refusals += 1
            if self._refusals >= _REFUSALS_BEFORE_PAUSE:
                self._pause(min(delay, self._polite.max_retry_after))
        limit = 2 if answer.reason == "timeout" else self._polite.attempts
        if attempts >= limit or delay > self._polite.max_retry_after or self.parked:
            return None
        return delay

    def _delay(self, answer: Answer, attempts: int) -> float:
        """Retry-After where the host gave one, else exponential back-off with jitter."""
        jitter = self._jitter.uniform(0.5, 1.0)
        if answer.retry_after is not None:
            return answer.retry_after + 0.1 * jitter
        return self._polite.backoff * 2.0 ** (attempts - 1) * jitter

    def _pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    def _note_failure(self) -> None:
        self._failures += 1
        if self._failures >= self._polite.park_after:
            self.parked = True
