"""Gold records find their image by URL, by hash or by path, through duplicates and redirects."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pytest

from mmcore.errors import UserError
from mmcore.evaluate.gold import find_images, join_clusters, read_gold
from mmcore.evaluate.records import Labels, Record, RecordCounts


def _record(image: str, caption: str = "a cat") -> Record:
    return Record(image, Labels(captions=(caption,)))


def _crawled(**shas: str) -> pa.Table:
    urls = [f"http://site.example/{name}.jpg" for name in shas]
    return pa.table({"image_url": urls, "sha256": list(shas.values())})


def _clusters(**clusters: str) -> list[pa.Table]:
    return [pa.table({"sha256": list(clusters), "cluster": list(clusters.values())})]


def test_image_is_found_by_url_by_hash_and_by_path(tmp_path: Path):
    (tmp_path / "here.jpg").write_bytes(b"bytes")
    records = [
        _record("http://site.example/a.jpg#top"),
        _record("f" * 64),
        _record("here.jpg"),
        _record("gone.jpg"),
        _record("http://site.example/unknown.jpg"),
    ]
    found = find_images(records, tmp_path, [_crawled(a="1" * 64)])
    assert found == ["1" * 64, "f" * 64, sha256(b"bytes").hexdigest(), None, None]


def test_path_of_a_crawled_folder_needs_no_reading(tmp_path: Path):
    url = (tmp_path / "my photo.jpg").as_uri()
    crawled = pa.table({"image_url": [url], "sha256": ["1" * 64]})
    assert find_images([_record("my photo.jpg")], tmp_path, [crawled]) == ["1" * 64]


def test_newest_bytes_of_a_url_win(tmp_path: Path):
    days = [_crawled(a="1" * 64), _crawled(a="2" * 64)]
    assert find_images([_record("http://site.example/a.jpg")], tmp_path, days) == ["2" * 64]


def test_labels_of_copies_meet_in_their_cluster_and_unknown_images_are_counted():
    records = [_record("a", "a cat"), _record("b", "a tabby"), _record("c"), _record("d")]
    counts = RecordCounts()
    labels, members = join_clusters(
        records,
        ["1", "2", "3", None],
        lambda: _clusters(**{"1": "1", "2": "1", "9": "1"}),
        counts,
    )
    assert labels == {"1": Labels(captions=("a cat", "a tabby"))}
    assert members == {"1", "2", "9"}
    assert counts.bad == {"unknown_image": 2}


def test_missing_gold_file_names_the_recipe_key(tmp_path: Path):
    with pytest.raises(UserError, match="correct `gold` in the recipe"):
        read_gold(tmp_path / "gold.jsonl", RecordCounts())
