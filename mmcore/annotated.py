"""An annotated folder: `annotations.jsonl` beside images that are files or members of .tar files.

Crawl reads one as a source, evaluation as labelled data from outside: both find images here.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from mmcore.errors import UserError

ANNOTATIONS = "annotations.jsonl"


@dataclass(frozen=True)
class Member:
    """Where an image lies inside a tar."""

    tar: str
    offset: int
    size: int


class OutsideFolder(ValueError):
    """A name that would leave the folder, or is no file name at all."""


def tar_members(folder: str | Path) -> dict[str, Member]:
    """Files inside the folder's .tar files by name; the first tar in name order wins."""
    members: dict[str, Member] = {}
    for path in sorted(Path(folder).glob("*.tar")):
        try:
            with tarfile.open(path, "r:") as tar:
                for info in tar:
                    if info.isfile():
                        name = info.name.removeprefix("./")
                        members.setdefault(name, Member(str(path), info.offset_data, info.size))
        except (tarfile.TarError, OSError) as error:
            raise UserError(f"{path} cannot be read as a tar: {error}.") from error
    return members


def read_image(folder: Path, name: str, members: dict[str, Member]) -> bytes:
    """Bytes of a record's image. Raises OutsideFolder, or FileNotFoundError where it is missing."""
    if not name or "\x00" in name:
        raise OutsideFolder('"image" is not a path')
    path = folder / name
    root = folder.resolve()
    if not path.resolve().is_relative_to(root) or path.resolve() == root:
        raise OutsideFolder(f"{name!r} leaves the folder")
    if path.is_file():
        return path.read_bytes()
    member = members.get(name.removeprefix("./"))
    if member is None:
        raise FileNotFoundError(f"{name} is not in the folder")
    with open(member.tar, "rb") as tar:
        tar.seek(member.offset)
        return tar.read(member.size)
