"""What decides a sample site: a seed, a size and an edition."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from mmcore.errors import UserError

MIN_IMAGES = 40
MAX_IMAGES = 6000


@dataclass(frozen=True)
class SiteConfig:
    """The only input of the site; equal configs give equal bytes.

    images: distinct scenes that edition 1 shows (40 to 6000).
    edition: 1 is the first day, 2 the changed site of the day after.
    stall_seconds: how long the one picture that never finishes stays open.
    slow_seconds: how long a slow page takes to answer.
    """

    seed: int = 7
    images: int = 2000
    edition: int = 1
    slow_seconds: float = 1.0
    stall_seconds: float = 600.0

    def __post_init__(self) -> None:
        if not MIN_IMAGES <= self.images <= MAX_IMAGES:
            raise UserError(
                f"samplesite images must be between {MIN_IMAGES} and {MAX_IMAGES}, "
                f"not {self.images}; choose another number."
            )
        if self.edition not in (1, 2):
            raise UserError(f"samplesite edition must be 1 or 2, not {self.edition}.")
        if self.slow_seconds < 0 or self.stall_seconds < 0:
            raise UserError("samplesite slow_seconds and stall_seconds must be 0 or more.")

    @property
    def new_images(self) -> int:
        """How many scenes edition 2 adds: a tenth, at least two."""
        return max(2, round(self.images * 0.10))

    @property
    def removed_images(self) -> int:
        """How many scenes edition 2 no longer shows: 3%, at least one."""
        return max(1, round(self.images * 0.03))

    @property
    def withheld_images(self) -> int:
        """How many scenes only ever stand where a crawler must not take them."""
        return max(8, round(self.images * 0.02))


def rng(seed: int, *key: object) -> Random:
    """A generator for one named purpose; string seeding is stable across processes."""
    return Random("/".join(map(str, ("samplesite", seed, *key))))
