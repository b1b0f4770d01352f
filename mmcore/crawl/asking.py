"""Ask a host for a URL: from memory if it was answered already, else politely over the network."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

from mmcore.crawl.answers import Kept, revalidated
from mmcore.crawl.fetch import Answer, Fetcher, Wanted
from mmcore.crawl.findings import Findings
from mmcore.crawl.gate import Gate
from mmcore.crawl.journal import Journal
from mmcore.crawl.memory import Memory
from mmcore.crawl.spill import Spill


class Asker:
    """Requests to one host. Every final answer is told to the journal by `keep`."""

    def __init__(
        self,
        fetcher: Fetcher,
        gate: Gate,
        memory: Memory,
        journal: Journal | None,
        found: Findings,
        spill: Spill,
    ) -> None:
        self._fetcher, self.gate, self._memory = fetcher, gate, memory
        self._journal, self._found, self._spill = journal, found, spill

    def recall(self, kind: str, url: str) -> tuple[Answer, int] | None:
        """(answer, attempts) where this crawl has asked for the URL before it was interrupted."""
        kept = self._memory.final((kind, url), self._spill)
        if kept is None:
            return None
        return replace(kept.answer, body=self._body(kept)), kept.attempts

    async def once(
        self, kind: str, url: str, accept: str, most: int, wanted: Wanted, attempts: int
    ) -> Answer | float:
        """The final answer, or the seconds to wait before the next attempt.

        `attempts` counts this request.
        """
        before = self._memory.recent.get((kind, url))
        validators = before.validators if before is not None and before.archived else None
        await self.gate.turn()
        self._found.requests += 1
        answer = await self._fetcher.get(url, accept, most, wanted, validators)
        if answer.reason == "not_modified":
            if before is not None and validators is not None:
                answer = revalidated(before, answer, self._body(before))
            else:  # a server that answers 304 to a plain GET
                answer = replace(answer, reason="http_error")
        delay = self.gate.retry_delay(answer, attempts)
        return answer if delay is None else delay

    async def until_final(
        self, kind: str, url: str, accept: str, most: int, wanted: Wanted
    ) -> tuple[Answer, int]:
        """(final answer, requests it took); waits between attempts, and keeps the answer."""
        recalled = self.recall(kind, url)
        if recalled is not None:
            self.keep(kind, *recalled)
            return recalled
        attempts = 0
        while True:
            attempts += 1
            answer = await self.once(kind, url, accept, most, wanted, attempts)
            if isinstance(answer, Answer):
                self.keep(kind, answer, attempts)
                return answer, attempts
            await asyncio.sleep(answer)

    def digest(self, answer: Answer) -> str:
        """SHA-256 of an image's body; of a 304 or of what is known already, that of the body it
        stands for."""
        replayed = self._memory.replay.get(("image", answer.url))
        if replayed is not None and replayed.sha256 is not None:
            return replayed.sha256
        before = self._memory.recent.get(("image", answer.url))
        if answer.status == 304 and before is not None and before.sha256 is not None:
            return before.sha256
        return hashlib.sha256(answer.body).hexdigest()

    def keep(self, kind: str, answer: Answer, attempts: int) -> None:
        """Enter a final answer into the books and the journal; its body only where it is `ok`."""
        replayed = self._memory.replay.get((kind, answer.url))
        if replayed is not None:
            self._found.replayed += 1
            self._note(kind, replayed)
            return
        kept = Kept(replace(answer, body=b""), attempts)
        if answer.reason == "ok":
            kept = self._with_body(kind, answer, kept)
        self._note(kind, kept)
        if self._journal is not None:
            self._journal.append(kind, kept)

    def _with_body(self, kind: str, answer: Answer, kept: Kept) -> Kept:
        before = self._memory.recent.get((kind, answer.url))
        if answer.status == 304 and before is not None and before.sha256 is not None:
            return replace(kept, sha256=before.sha256, size=before.size, slot=before.slot)
        digest = hashlib.sha256(answer.body).hexdigest()
        slot = self._found.bodies.get(digest) if kind == "image" else None
        slot = slot or self._spill.append(answer.body)
        return replace(kept, sha256=digest, size=len(answer.body), slot=slot)

    def _note(self, kind: str, kept: Kept) -> None:
        """Enter an answer; where an earlier day has its bytes, they are not stored again."""
        key = (kind, kept.answer.url)
        stored = self._memory.stored(key, kept.sha256) if kept.sha256 else None
        self._found.answers[key] = replace(kept, stored=stored)

    def _body(self, kept: Kept) -> bytes:
        return self._spill.read(kept.slot) if kept.slot is not None else b""
