"""The settings of pixels: what is decoded, within which limits, and how it is stored."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PixelPolicy(BaseModel):
    """How pixels are read and stored. A change here decodes every image again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shorter_side: int = Field(
        default=256,
        ge=16,
        le=4096,
        description="Stored images are shrunk to this shorter side in pixels.",
    )
    longer_side: int = Field(
        default=1024,
        ge=16,
        le=16384,
        description="Nor is a stored image longer than this, in pixels.",
    )
    enlarge: bool = Field(
        default=False, description="Enlarge images that are smaller than both sides allow."
    )
    background: str = Field(
        default="#ffffff",
        pattern=r"^#[0-9a-f]{6}$",
        description="Colour that transparent pixels are laid on, as #rrggbb.",
    )
    store_as: Literal["jpeg", "webp"] = Field(
        default="jpeg", description="Format of the stored images: jpeg or webp (lossy)."
    )
    quality: int = Field(
        default=90, ge=50, le=100, description="JPEG or WebP quality of the stored images."
    )
    max_pixels: int = Field(
        default=50_000_000,
        ge=1,
        description="An image whose header declares more pixels is refused without decoding it.",
    )
    decode_seconds: float = Field(
        default=30.0,
        ge=0.05,
        description="CPU seconds that one image may take, and a tenth of the time that it may "
        "take by the clock.",
    )
    decode_mb: int = Field(
        default=1536, ge=256, description="Memory that the process that decodes may take, in MiB."
    )
    svg: bool = Field(default=False, description="Draw SVG; needs the extra mmcore[svg].")
    safety: bool = Field(
        default=False,
        description="Compute the attribute `unsafe`; needs the extra mmcore[safety].",
    )
    blur_faces: bool = Field(
        default=False,
        description="Blur the faces that are found before an image is stored; needs the extra "
        "mmcore[safety].",
    )

    @model_validator(mode="after")
    def _longer_is_longer(self) -> Self:
        if self.longer_side < self.shorter_side:
            raise ValueError("longer_side must not be smaller than shorter_side")
        return self

    @property
    def background_rgb(self) -> tuple[int, int, int]:
        """The background as (red, green, blue), 0 to 255."""
        red, green, blue = bytes.fromhex(self.background[1:])
        return red, green, blue

    @property
    def finds_objects(self) -> bool:
        """Whether the model of `detect.py` has to look at every image."""
        return self.safety or self.blur_faces


class BlocklistPolicy(BaseModel):
    """Which images must never be stored. A change here decodes every image again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocklist: str | None = Field(
        default=None,
        description="File of hashes (SHA-256 or perceptual, a line each) of images that must not "
        "be stored; what is found is erased from raw as well. Relative to this file.",
    )
    blocklist_hamming: int = Field(
        default=4,
        ge=0,
        le=16,
        description="Bits of 64 in which a perceptual hash may differ from a listed one.",
    )
