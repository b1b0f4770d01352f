"""A folder of images with annotations.jsonl as a source."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from mmcore.annotated import tar_members
from mmcore.crawl.folder import FolderRows, folder_blocks, read_block
from mmcore.errors import UserError
from tests.crawl.site import png


def write(folder: Path, *records: dict[str, Any] | str) -> str:
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    (folder / "annotations.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


def read(folder: str, lines: int = 100) -> FolderRows:
    members = tar_members(folder)
    blocks = [read_block(block, members) for block in folder_blocks(folder, lines)]
    return FolderRows(
        [row for block in blocks for row in block.crawled],
        {sha: image for block in blocks for sha, image in block.images.items()},
        [outcome for block in blocks for outcome in block.outcomes],
    )


def test_every_caption_is_a_row_and_the_record_is_kept(tmp_path: Path) -> None:
    (tmp_path / "cat 1.png").write_bytes(png(1))
    record = {
        "image": "cat 1.png",
        "captions": ["a cat", "eine Katze"],
        "text": "She sleeps.",
        "tags": ["cat", "sofa"],
        "sentiment": "positive",
        "split": "test",
        "qa": [{"question": "What is it?", "answer": "a cat"}],
    }
    found = read(write(tmp_path, record))
    assert [row["caption"] for row in found.crawled] == ["a cat", "eine Katze"]
    first = found.crawled[0]
    assert first["sha256"] == hashlib.sha256(png(1)).hexdigest()
    assert (first["context"], first["keywords"]) == ("She sleeps.", ["cat", "sofa"])
    assert (first["split"], first["source"]) == ("test", "folder")
    assert first["image_url"].endswith("/cat%201.png")
    kept = json.loads(first["annotation"])
    assert kept == {k: v for k, v in record.items() if k not in ("image", "split")}
    assert [o.reason for o in found.outcomes] == ["ok"]


def test_an_image_without_texts_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (row,) = read(write(tmp_path, {"image": "a.png"})).crawled
    assert row["caption"] is None


@pytest.mark.parametrize(
    "line",
    [
        "{not json",
        "[1, 2]",
        '{"captions": ["no image"]}',
        '{"image": 5}',
        '{"image": ""}',
        '{"image": "a.png", "captions": [1]}',
        '{"image": "a.png", "split": "dev"}',
        '{"image": "a.png", "sentiment": "glad"}',
        '{"image": "a.png", "qa": [{"question": "why"}]}',
        '{"image": "a.png", "text": "\\ud800"}',
        '{"image": "../outside.png"}',
        '{"image": "/etc/hostname"}',
        '{"image": "link/outside.png"}',
        '{"image": "."}',
    ],
)
def test_a_bad_record_is_an_outcome_and_the_rest_goes_on(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "outside.png").write_bytes(png())
    (folder / "link").symlink_to(tmp_path)
    (folder / "a.png").write_bytes(png())
    found = read(write(folder, line, {"image": "a.png"}))
    assert [(o.reason, o.url[-7:]) for o in found.outcomes] == [
        ("bad_record", "jsonl#1"),
        ("ok", "r/a.png"),
    ]
    assert len(found.crawled) == 1


def test_files_that_are_missing_or_no_images_are_outcomes(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "words.png").write_text("<html>not a picture")
    names = ["gone.png", "empty.png", "words.png", "x" * 5000 + ".png"]
    found = read(write(tmp_path, *({"image": name} for name in names)))
    assert [o.reason for o in found.outcomes] == [
        "missing_file",
        "empty",
        "wrong_content_type",
        "missing_file",
    ]
    assert found.crawled == [] and found.images == {}


def test_images_may_lie_in_tars_beside_the_annotations(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "images-0.tar", "w") as tar:
        info = tarfile.TarInfo("a.png")
        info.size = len(png(5))
        tar.addfile(info, io.BytesIO(png(5)))
    found = read(write(tmp_path, {"image": "a.png", "captions": "one caption"}))
    assert [row["caption"] for row in found.crawled] == ["one caption"]
    assert [data for _, _, data in found.images.values()] == [png(5)]


def test_blocks_cut_between_lines_and_lose_nothing(tmp_path: Path) -> None:
    for i in range(7):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    folder = write(tmp_path, *({"image": f"{i}.png"} for i in range(7)))
    assert len(folder_blocks(folder, 3)) == 3
    cut, whole = read(folder, 3).crawled, read(folder, 100).crawled
    assert [r["image_url"] for r in cut] == [r["image_url"] for r in whole]
    assert [r["position"] for r in cut] == list(range(7))


def test_a_folder_without_annotations_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"annotations\.jsonl"):
        folder_blocks(str(tmp_path), 10)
