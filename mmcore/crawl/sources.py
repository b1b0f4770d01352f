"""What a recipe may name as a source: a web site, or a folder of images with annotations."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from mmcore.crawl.url_list import UrlsSource
from mmcore.crawl.urls import InvalidUrl, resolve
from mmcore.crawl.warc import WarcSource
from mmcore.crawl.webdataset import WebdatasetSource


class SiteSource(BaseModel):
    """A web site: every page on the hosts of `start` is visited, images come from anywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["site"] = "site"
    start: tuple[str, ...] = Field(min_length=1, description="Pages to start from: http(s) URLs.")
    allow_private: bool = Field(
        False,
        description="Lets the crawl reach the hosts named in `start` although their addresses are "
        "private or loopback. Other private addresses stay refused.",
    )
    path_prefix: str = Field(
        "/", pattern=r"^/", description="Only pages whose path starts with it are visited."
    )
    max_pages: int | None = Field(
        100_000,
        ge=1,
        description="Most pages requested; null: all. A host is crawled by one task, which takes "
        "about 5 KB of memory for every URL it knows.",
    )
    max_depth: int | None = Field(None, ge=0, description="Most links away from `start`.")
    sitemaps: bool = Field(
        True, description="Also visit the pages that robots.txt's sitemaps or /sitemap.xml list."
    )
    foreign_images: bool = Field(
        True, description="Also fetch images that the pages show from other hosts."
    )

    @field_validator("start", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("start")
    @classmethod
    def _absolute_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked_start(url) for url in value)


class FolderSource(BaseModel):
    """A folder of images (files, or members of .tar files in it) with an `annotations.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["folder"] = "folder"
    path: str = Field(description="The folder; relative to the recipe.")


Source = Annotated[
    SiteSource | UrlsSource | WarcSource | FolderSource | WebdatasetSource,
    Field(discriminator="kind"),
]


def _checked_start(url: str) -> str:
    """The start URL as it will be requested; ValueError says what is wrong with it."""
    if urlsplit(url.strip()).scheme.lower() not in ("http", "https"):
        raise ValueError(f"{url!r} must be a whole URL such as https://example.org/")
    try:
        absolute = resolve("", url)
    except InvalidUrl as error:
        raise ValueError(f"{url!r} is not a usable URL: {error}") from None
    if absolute is None:
        raise ValueError(f"{url!r} must be a whole URL such as https://example.org/")
    return absolute
