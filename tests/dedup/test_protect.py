"""Evaluation sets stay out of training: near-duplicate images, and their texts."""

from __future__ import annotations

import io
import json
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmcore.clean import stage as clean
from mmcore.clean.images import PixelPolicy
from mmcore.clean.measure import measure
from mmcore.dedup import protected
from mmcore.dedup.stage import Config, run
from mmcore.dedup.stage_protect import Protect
from mmcore.errors import UserError
from mmcore.lake import Lake
from tests.clean.helpers import encode, picture, sha, write_crawled, write_raw

DAY = "2026-11-23"
CAPTION = "Two red kites above the old harbour at noon."
PNG = encode(picture(1))


def _read(path: Path) -> list[protected.Example]:
    return [example for file in protected.files(path) for example in protected.read(file)]


def _annotated(folder: Path) -> None:
    (folder / "a.png").write_bytes(PNG)
    lines = [{"image": "a.png", "captions": [CAPTION], "qa": [{"question": "What?"}]}, [], "x"]
    text = "\n".join([*map(json.dumps, lines), "{broken", '{"image": "none.png", "text": "Hill."}'])
    (folder / "annotations.jsonl").write_text(text)


def _tar(folder: Path) -> None:
    with tarfile.open(folder / "00.tar", "w") as tar:
        for name, data in {
            "a.jpg": PNG,
            "a.txt": CAPTION.encode(),
            "b.json": json.dumps({"caption": {"text": "Hill."}}).encode(),
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _parquet(folder: Path) -> None:
    rows = [
        {"image": {"bytes": PNG, "path": "a.png"}, "caption": CAPTION},
        {"image": None, "caption": "Hill."},
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "test.parquet")


@pytest.mark.parametrize("write", [_annotated, _tar, _parquet])
def test_every_form_of_a_set_gives_its_images_and_texts(tmp_path: Path, write: Any) -> None:
    write(tmp_path)
    found = _read(tmp_path)
    assert [example.image for example in found if example.image] == [PNG]
    assert [text for example in found for text in example.texts] == [CAPTION, "Hill."]


def test_a_folder_of_image_files_is_a_set(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "A.PNG").write_bytes(PNG)
    (tmp_path / "notes.md").write_text("no image")
    assert [example.image for example in _read(tmp_path)] == [PNG]


@pytest.mark.parametrize("name", ["nothing", "empty", "a.txt"])
def test_what_is_no_set_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match="is not an evaluation set"):
        protected.files(tmp_path / name)


def test_a_table_without_images_or_texts_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="none of the columns"):
        _read(tmp_path / "a.parquet")


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder for a set, beside the lake."""
    folder = tmp_path / "set"
    folder.mkdir()
    _annotated(folder)
    return folder


@pytest.mark.usefixtures("ray_session")
def test_near_duplicates_of_a_set_are_never_kept(lake: Lake, given: Path) -> None:
    original = picture(1)
    copies = [
        PNG,
        encode(original, compress_level=1),
        encode(original, "JPEG", quality=60),
        encode(original.resize((320, 240), Image.Resampling.LANCZOS), "WEBP"),
    ]
    other = encode(picture(2))
    write_raw(lake, DAY, [*copies, other])
    said = [
        {"sha256": sha(other), "alt": "two red kites above the OLD harbour at noon"},
        {"sha256": sha(other), "title": "Something else entirely"},
    ]
    write_crawled(lake, DAY, said)
    clean.run(lake, DAY, clean.Config())
    protect = Protect((given,), partial(measure, policy=PixelPolicy()))
    found = run(lake, DAY, Config(), protect)
    rows = {row["sha256"]: row for row in found.read().to_pylist()}
    assert [rows[sha(copy)]["reason"] for copy in copies] == ["protected"] * 4
    assert [c["text"] for c in rows[sha(other)]["captions"]] == ["Something else entirely"]
    assert found.metadata["captions"]["protected"] == 1
    assert found.metadata["funnel"]["protected"] == 4
    # What was held back is not known as seen: without the set it is kept.
    assert lake.dataset("image_index", DAY).metadata["images"] == 1
    free = run(lake, DAY, Config())
    assert free.metadata["funnel"]["kept"] == 2


@pytest.mark.usefixtures("ray_session")
def test_a_set_is_read_again_only_when_it_changes(lake: Lake, given: Path) -> None:
    write_raw(lake, DAY, [encode(picture(2))])
    write_crawled(lake, DAY, [])
    clean.run(lake, DAY, clean.Config())
    protect = Protect((given,), partial(measure, policy=PixelPolicy()))
    first = run(lake, DAY, Config(), protect)
    made = lake.dataset("protected_images").manifest
    assert run(lake, DAY, Config(), protect).manifest == first.manifest
    assert lake.dataset("protected_images").manifest == made
    (given / "annotations.jsonl").write_text('{"image": "b.png"}')
    (given / "b.png").write_bytes(encode(picture(2), compress_level=1))
    rows = run(lake, DAY, Config(), protect).read(["reason"])
    assert rows["reason"].to_pylist() == ["protected"]
