"""robots.txt of one origin as a verdict (RFC 9309)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from protego import Protego

MAX_BYTES = 512_000
"""What is read of a robots.txt; RFC 9309 2.5 asks for at least 500 KiB."""
_AGENT_LINE = re.compile(r"^([ \t]*user-?agent[ \t]*:[ \t]*[a-z_-]+).*", re.I | re.M)
# Stands after every product token, so that the parser finds whole tokens only.
_TOKEN_END = ";"


@dataclass(frozen=True)
class RobotsFile:
    """What came of asking an origin for its robots.txt; small, and fit to send to another task."""

    reason: str
    status: int | None
    body: bytes


@dataclass(frozen=True)
class Robots:
    """What an origin allows. `failure` is set when the origin could not be reached at all."""

    verdict: str
    """`allowed` (there are rules; what is fetched, they allow), `absent` (no robots.txt) or
    `unavailable` (stay away)."""
    rules: Protego | None = None
    failure: str | None = None

    def allows(self, url: str, agent: str) -> bool:
        """Whether the agent (a product token) may fetch the URL."""
        if self.rules is None:
            return self.verdict == "absent"
        return bool(self.rules.can_fetch(url, agent + _TOKEN_END))

    @property
    def sitemaps(self) -> tuple[str, ...]:
        """URLs of the file's `Sitemap` lines, as written."""
        return tuple(dict.fromkeys(self.rules.sitemaps)) if self.rules else ()

    def crawl_delay(self, agent: str) -> float | None:
        """Seconds between requests that the site asks for."""
        delay = self.rules.crawl_delay(agent + _TOKEN_END) if self.rules else None
        return float(delay) if delay is not None else None


def parse_robots(file: RobotsFile) -> Robots:
    """The verdict of an answered or failed request for robots.txt.

    2xx: its rules. 4xx: everything is allowed (2.3.1.3). 5xx and 429: stay away (2.3.1.4). No
    answer at all: the failure itself becomes the outcome of every URL of the origin.
    """
    status = file.status
    if status is None or file.reason == "timeout":
        return Robots("unavailable", failure=file.reason)
    if 200 <= status < 300:
        return Robots("allowed", Protego.parse(_text(file.body[:MAX_BYTES])))
    # More redirects than RFC 9309 asks to follow count as no file.
    if 300 <= status < 500 and status != 429:
        return Robots("absent")
    return Robots("unavailable")


def _text(body: bytes) -> str:
    """The file as the parser needs it: no BOM, and of a `User-agent` line the product token alone.

    A group holds for the crawler whose product token it names (RFC 9309 2.2.1): `mmcorebot/1.0`
    means mmcorebot, `mmcore` does not.
    """
    text = body.decode("utf-8-sig", errors="replace")
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _AGENT_LINE.sub(lambda match: match.group(1) + _TOKEN_END, lines)
