"""tdmrep.json of the origins of one host, each fetched once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from mmcore.crawl.asking import Asker
from mmcore.crawl.outcomes import Outcome, outcome_of
from mmcore.crawl.robots_cache import follow_small
from mmcore.crawl.tdm import MAX_BYTES, WELL_KNOWN, Reservation, TdmFile, parse_tdmrep
from mmcore.crawl.urls import origin_of


class TdmCache:
    """What sites say about mining, by origin. Requests pass the host's gate."""

    def __init__(
        self, asker: Asker, note: Callable[[Outcome], None], files: Mapping[str, TdmFile]
    ) -> None:
        """`files`: what earlier portions of the host were answered, by origin."""
        self._asker, self._note = asker, note
        self.files = dict(files)
        self._loaded: dict[str, asyncio.Task[TdmFile]] = {}

    async def load(self, url: str) -> None:
        """Have the file of a URL's origin; asked for at most once, however many wait."""
        origin = origin_of(url)
        if origin not in self._loaded:
            self._loaded[origin] = asyncio.ensure_future(self._load(origin))
        await self._loaded[origin]

    def of(self, url: str) -> Reservation:
        """What the file says of a URL whose origin was loaded."""
        return self._loaded[origin_of(url)].result().of(url)

    async def _load(self, origin: str) -> TdmFile:
        if origin not in self.files:
            first = origin + WELL_KNOWN
            answer, attempts = await follow_small(self._asker, "tdm", first, MAX_BYTES)
            self._note(replace(outcome_of(answer, "tdm", answer.reason, attempts), url=first))
            said = parse_tdmrep(answer.body, origin) if answer.reason == "ok" else TdmFile()
            self.files[origin] = said
        return self.files[origin]
