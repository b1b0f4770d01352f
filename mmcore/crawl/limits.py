"""What a crawl of a host takes at most, and what it must leave."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmcore.blocklist import Blocklist
from mmcore.crawl.consent import ConsentPolicy
from mmcore.withdrawn import Withdrawn


@dataclass(frozen=True)
class HostLimits:
    """Bounds of a host's crawl. Sizes in bytes."""

    agent: str = "mmcorebot"
    connections: int = 8
    max_redirects: int = 10
    max_page_bytes: int = 8 << 20
    max_image_bytes: int = 32 << 20
    consent: ConsentPolicy = field(default_factory=ConsentPolicy)
    blocked: Blocklist = field(default_factory=Blocklist)
    """Files that are not stored, whoever shows them."""
    withdrawn: Withdrawn = field(default_factory=Withdrawn)
    """URLs that are not asked for, and files that are not stored: they were taken down."""

    @property
    def bars_files(self) -> bool:
        """Whether any file is kept out by its digest."""
        return bool(self.blocked.sha256 or self.withdrawn.sha256)

    def barred(self, sha256: str) -> str | None:
        """Why a file must not be stored: `taken_down` or `blocklisted`; None where it may be."""
        if sha256 in self.withdrawn.sha256:
            return "taken_down"
        return "blocklisted" if self.blocked.has(sha256) else None
