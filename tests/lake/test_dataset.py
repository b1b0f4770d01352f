"""What a reader may rely on, whatever happens to the writer."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcore.errors import MmcoreError, UserError
from mmcore.lake import Conflict, Dataset, Lake, open_storage
from mmcore.lake.parquet import parquet_bytes

DAY = "2026-01-02"


def commit(lake: Lake, values: list[int], *, parts: int = 2, name: str = "numbers") -> Dataset:
    writer = lake.writer(name, DAY)
    cut = -(-len(values) // parts)
    written = [
        writer.write_table(i, pa.table({"value": values[i * cut : (i + 1) * cut]}))
        for i in range(parts)
    ]
    return writer.commit(written, parents=[], config={"parts": parts})


def test_what_was_written_is_read_back_in_order(lake: Lake) -> None:
    committed = commit(lake, list(range(10)))
    found = lake.dataset("numbers", DAY)
    assert found.read()["value"].to_pylist() == list(range(10))
    assert found.read_part(1)["value"].to_pylist() == list(range(5, 10))
    assert found.digest == committed.digest
    assert found.rows == 10
    found.verify()


def test_parts_may_be_written_in_any_order(lake: Lake) -> None:
    first = commit(lake, list(range(10)))
    writer = lake.writer("numbers", DAY)
    late = writer.write_table(1, pa.table({"value": list(range(5, 10))}))
    early = writer.write_table(0, pa.table({"value": list(range(5))}))
    assert writer.commit([late, early], [], {"parts": 2}).digest == first.digest


def test_the_same_content_has_the_same_digest_and_other_content_another(lake: Lake) -> None:
    first, again, other = commit(lake, [1, 2]), commit(lake, [1, 2]), commit(lake, [1, 3])
    assert first.digest == again.digest != other.digest


def test_a_second_run_with_the_same_bytes_leaves_one_copy(lake: Lake) -> None:
    first, again = commit(lake, [1, 2]), commit(lake, [1, 2])
    assert first.paths() == again.paths()
    assert lake.sweep("numbers", DAY) == []


def test_volatile_columns_are_stored_but_not_in_the_digest(lake: Lake) -> None:
    digests = []
    for moment in (1, 2):
        writer = lake.writer("visits", DAY, volatile=("seen_at",))
        part = writer.write_table(0, pa.table({"url": ["a"], "seen_at": [moment]}))
        digests.append(writer.commit([part], [], {}).digest)
        assert lake.dataset("visits", DAY).read()["seen_at"].to_pylist() == [moment]
    assert digests[0] == digests[1]


def test_nothing_is_visible_before_commit(lake: Lake) -> None:
    lake.writer("numbers", DAY).write_table(0, pa.table({"value": [1]}))
    assert lake.find("numbers", DAY) is None
    assert lake.datasets() == []
    assert lake.partitions("numbers") == []
    with pytest.raises(UserError, match="numbers@2026-01-02"):
        lake.dataset("numbers", DAY)


def test_readers_of_the_old_dataset_are_not_disturbed_by_a_new_one(lake: Lake) -> None:
    old = commit(lake, [1, 2])
    commit(lake, [3, 4])
    assert old.read()["value"].to_pylist() == [1, 2]


def test_a_version_is_found_by_its_digest_until_it_is_swept(lake: Lake) -> None:
    first, second = commit(lake, [1, 2]), commit(lake, [1, 3])
    assert lake.version("numbers", DAY, first.digest).read()["value"].to_pylist() == [1, 2]
    assert lake.version("numbers", DAY, second.digest[:16]).digest == second.digest
    with pytest.raises(UserError, match="no version 0000"):
        lake.version("numbers", DAY, "0" * 64)
    lake.sweep("numbers", DAY)
    with pytest.raises(UserError, match="swept"):
        lake.version("numbers", DAY, first.digest)


def test_sweep_removes_what_killed_writers_left(lake: Lake) -> None:
    kept = commit(lake, [1, 2])
    lake.writer("numbers", DAY).write_table(0, pa.table({"value": [9]}))
    assert len(lake.sweep("numbers", DAY)) == 1
    assert lake.dataset("numbers", DAY).read() == kept.read()


def test_reusable_only_while_inputs_and_config_are_the_same(lake: Lake) -> None:
    parent = commit(lake, [1, 2], name="source")
    writer = lake.writer("derived", DAY)
    writer.commit([writer.write_table(0, parent.read())], [parent], {"limit": 1})
    assert lake.reusable("derived", DAY, {"limit": 1}, [parent]) is not None
    assert lake.reusable("derived", DAY, {"limit": 2}, [parent]) is None
    changed = commit(lake, [1, 3], name="source")
    assert lake.reusable("derived", DAY, {"limit": 1}, [changed]) is None


def test_a_damaged_part_is_noticed(lake: Lake) -> None:
    dataset = commit(lake, [1, 2])
    path = Path(dataset.paths()[1])
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(MmcoreError, match="part-00001"):
        dataset.verify()


@pytest.mark.parametrize("bad", ["../up", "Upper", "a/b", ""])
def test_names_that_could_leave_the_root_are_refused(lake: Lake, bad: str) -> None:
    with pytest.raises(UserError):
        lake.writer(bad, DAY)


def test_unknown_storage_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(UserError, match="s3://bucket/prefix"):
        open_storage("ftp://example.org/x")


def test_a_pointer_moved_by_another_writer_is_not_overwritten(lake: Lake) -> None:
    storage = lake.storage
    storage.write_if("pointer", b"one", None)
    storage.write_if("pointer", b"two", b"one")
    with pytest.raises(Conflict):
        storage.write_if("pointer", b"three", b"one")
    assert storage.read("pointer") == b"two"


WRITER = textwrap.dedent("""
    import os, signal, sys
    import pyarrow as pa
    from mmcore.lake import Lake, storage

    root, die_at = sys.argv[1], int(sys.argv[2])
    count = 0

    def dying(real):
        def wrapper(self, *arguments):
            global count
            count += 1
            if count == die_at:
                if real.__name__ == "replace":
                    os.kill(os.getpid(), signal.SIGKILL)   # the temporary file is there, unnamed
                real(self, *arguments)
                os.kill(os.getpid(), signal.SIGKILL)       # just after the rename
            return real(self, *arguments)
        return wrapper

    from pathlib import Path
    # Every step that changes what a reader could see is a rename: die before and after each.
    Path.replace = dying(Path.replace)
    sync_folder = storage._sync_folder

    def step(folder):
        global count
        count += 1
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        sync_folder(folder)

    storage._sync_folder = step

    writer = Lake(root).writer("numbers", "2026-01-02")
    parts = [writer.write_table(i, pa.table({"value": [10 + i]})) for i in range(2)]
    writer.commit(parts, [], {})
    print(count)
""")


def run_writer(lake: Lake, die_at: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WRITER, lake.root, str(die_at)],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )


def test_a_writer_killed_at_any_step_leaves_the_old_dataset_or_the_new_one(lake: Lake) -> None:
    commit(lake, [1, 2])
    survived = run_writer(lake, die_at=0)
    steps = int(survived.stdout)
    assert steps == 8  # two parts, manifest, pointer; each dies before or after its rename
    seen = []
    for die_at in range(1, steps + 1):
        commit(lake, [1, 2])
        killed = run_writer(lake, die_at)
        assert killed.returncode == -signal.SIGKILL
        dataset = lake.dataset("numbers", DAY)
        dataset.verify()
        seen.append(dataset.read()["value"].to_pylist())
    assert seen == [[1, 2]] * 7 + [[10, 11]]
    lake.sweep("numbers", DAY)
    lake.dataset("numbers", DAY).verify()


def test_images_are_stored_as_they_are_and_texts_of_any_depth_compressed() -> None:
    table = pa.table(
        {
            "image": pa.array([bytes(200)] * 50),
            "alt": pa.array(["a cat"] * 50),
            "keywords": pa.array([["cat", "grass"]] * 50),
            "seen": pa.array([[("bytes", b"x")]] * 50, pa.map_(pa.string(), pa.binary())),
        }
    )
    data = parquet_bytes(table)
    assert pq.read_table(io.BytesIO(data)).equals(table)
    group = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    stored = {c.path_in_schema: c for c in map(group.column, range(group.num_columns))}
    assert {path: c.compression for path, c in stored.items()} == {
        "image": "UNCOMPRESSED",
        "alt": "ZSTD",
        "keywords.list.element": "ZSTD",
        "seen.key_value.key": "ZSTD",
        "seen.key_value.value": "UNCOMPRESSED",
    }
    assert "RLE_DICTIONARY" in stored["keywords.list.element"].encodings
    assert "RLE_DICTIONARY" not in stored["image"].encodings


def test_token_ids_are_stored_with_high_and_low_bytes_apart() -> None:
    ids = pa.array([[5, 300, 5], [], [65_535]] * 50, pa.list_(pa.uint16()))
    table = pa.table({"ids": ids, "text": ["a", "b", "c"] * 50})
    data = parquet_bytes(table)
    assert pq.read_table(io.BytesIO(data)).equals(table)
    group = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    assert "BYTE_STREAM_SPLIT" in group.column(0).encodings
    assert "RLE_DICTIONARY" in group.column(1).encodings


def test_objects_are_copied_where_the_file_system_has_no_hard_links(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    lake.storage.write("a/one", b"first")
    lake.storage.write("a/two", b"second")
    lake.storage.copy("a/one", "b/one")
    lake.storage.copy("a/two", "b/one")  # what is there stays
    assert lake.storage.read("b/one") == b"first"
    assert [p.name for p in Path(lake.root, "b").iterdir()] == ["one"]
    with pytest.raises(FileNotFoundError):
        lake.storage.copy("a/none", "b/none")
    assert not list(Path(lake.root, "b").glob("*none*"))
