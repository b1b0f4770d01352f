"""`mmcore evaluate MODEL --on PATH`: folders and tars of other people."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from mmcore.errors import UserError
from mmcore.evaluate.external import evaluate_external, evaluate_path
from mmcore.shards.index import ShardName
from mmcore.shards.writer import pack_shard
from tests.evaluate.colours import ColourModel, Square

MODEL = ColourModel(mistaken=())


def _folder(tmp_path: Path, records: list[dict], squares: range = range(12)) -> Path:
    for number in squares:
        (tmp_path / f"{number}.png").write_bytes(Square(number).image)
    lines = "\n".join(json.dumps(record) for record in records)
    (tmp_path / "annotations.jsonl").write_text(lines)
    return tmp_path


def _records(**more: object) -> list[dict]:
    return [{"image": f"{n}.png", **Square(n).record(), **more} for n in range(12)]


def test_folder_gives_every_task_in_the_documented_form(tmp_path):
    scores = evaluate_path(MODEL, _folder(tmp_path, _records()))
    assert list(scores) == ["retrieval", "caption", "vqa", "tags", "sentiment"]
    for direction in ("image_to_text", "text_to_image"):
        assert {"r@1", "r@5", "r@10"} <= set(scores["retrieval"][direction])
        assert scores["retrieval"][direction]["r@1"] == 1.0
    assert scores["vqa"] == {"accuracy": 1.0, "by_type": {"colour": 1.0, "where": 1.0}}
    assert scores["tags"]["micro_f1"] == scores["sentiment"]["accuracy"] == 1.0
    assert json.loads(json.dumps(scores)) == scores


def test_images_may_lie_in_tars_beside_the_annotations(tmp_path):
    folder = _folder(tmp_path, _records())
    loose = evaluate_path(MODEL, folder)
    with tarfile.open(folder / "images-00.tar", "w") as tar:
        for number in range(12):
            tar.add(folder / f"{number}.png", f"{number}.png")
            (folder / f"{number}.png").unlink()
    assert evaluate_path(MODEL, folder) == loose


def test_task_without_labels_is_absent(tmp_path):
    records = [{"image": f"{n}.png", "sentiment": "negative"} for n in range(12)]
    assert list(evaluate_path(MODEL, _folder(tmp_path, records))) == ["sentiment"]


@pytest.mark.parametrize(
    ("splits", "chosen", "images"),
    [(["train", "val", "test"], "test", 4), (["train", "val"], "val", 6), (["train"], None, 12)],
)
def test_split_is_test_else_val_else_all(tmp_path, splits, chosen, images):
    records = [r | {"split": splits[n % len(splits)]} for n, r in enumerate(_records())]
    done = evaluate_external(MODEL, _folder(tmp_path, records))
    assert (done.split, done.images) == (chosen, images)


def test_split_can_be_asked_for(tmp_path):
    records = [r | {"split": "train" if n < 3 else "test"} for n, r in enumerate(_records())]
    assert evaluate_external(MODEL, _folder(tmp_path, records), split="train").images == 3


def test_bad_records_are_counted_and_reported_once(tmp_path, caplog):
    (tmp_path / "text.png").write_bytes(b"this is no picture")
    (tmp_path.parent / "outside.png").write_bytes(Square(1).image)
    bad = [
        {"image": "gone.png", "tags": ["x"]},
        {"image": "text.png", "tags": ["x"]},
        {"image": "../outside.png", "tags": ["x"]},
        {"image": "1.png", "sentiment": "great"},
    ]
    folder = _folder(tmp_path, _records() + bad)
    done = evaluate_external(MODEL, folder)
    assert done.images == 12
    assert done.counts.to_dict() == {
        "read": 16,
        "bad": {"bad_sentiment": 1, "missing_file": 1, "not_an_image": 1, "outside_folder": 1},
    }
    evaluate_path(MODEL, folder)
    assert len(caplog.messages) == 1 and "4 of 16 records left out" in caplog.messages[0]


def test_our_shards_give_the_same_scores_as_the_folder(tmp_path):
    folder = _folder(tmp_path, _records())
    tars = tmp_path / "shards"
    tars.mkdir()
    samples = [Square(n).sample("test") for n in range(12)]
    (tars / "test-000000.tar").write_bytes(pack_shard(ShardName("test", 0), samples)[0])
    train = [Square(n).sample("train") for n in range(20, 24)]
    (tars / "train-000000.tar").write_bytes(pack_shard(ShardName("train", 0), train)[0])
    from_tars = evaluate_external(MODEL, tars)
    assert (from_tars.split, from_tars.images) == ("test", 12)
    assert evaluate_path(MODEL, tars / "test-000000.tar") == evaluate_path(MODEL, folder)


def test_foreign_shard_with_only_a_text_is_evaluated_on_captions(tmp_path):
    from mmcore.shards.writer import Sample

    samples = [Sample(str(n), Square(n).image, Square(n).caption) for n in range(8)]
    (tmp_path / "data.tar").write_bytes(pack_shard(ShardName("train", 0), samples)[0])
    assert list(evaluate_path(MODEL, tmp_path)) == ["retrieval", "caption"]


def test_truncated_tar_uses_what_can_be_read(tmp_path):
    tar = pack_shard(ShardName("test", 0), [Square(n).sample("test") for n in range(8)])[0]
    (tmp_path / "test-000000.tar").write_bytes(tar[: len(tar) // 2])
    done = evaluate_external(MODEL, tmp_path)
    assert 0 < done.images < 8
    assert done.counts.bad.total() >= 1


def test_path_without_data_says_what_is_wanted(tmp_path):
    with pytest.raises(UserError, match=r"annotations\.jsonl"):
        evaluate_path(MODEL, tmp_path)
    with pytest.raises(UserError, match=r"annotations\.jsonl"):
        evaluate_path(MODEL, tmp_path / "nothing")


def test_nothing_usable_is_an_error_with_the_reasons(tmp_path):
    folder = _folder(tmp_path, [{"image": "gone.png", "tags": ["x"]}], range(0))
    with pytest.raises(UserError, match=r"1 records read; left out: 1 missing_file"):
        evaluate_path(MODEL, folder)
