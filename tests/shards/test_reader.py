"""Tars of any origin: what is sound is read, what is not gets a reason, nothing is trusted."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from mmcore.errors import MmcoreError
from mmcore.shards.index import ShardName, load_index, parse_name
from mmcore.shards.reader import Problem, ShardError, read_tar
from mmcore.shards.tarformat import BLOCK, END, pack
from mmcore.shards.writer import Sample, pack_shard

SAMPLES = [
    Sample(f"{i:020x}", b"\xff\xd8" + bytes(300 * i), f"Größe {i}", {"n": i}) for i in range(4)
]


def tar_of(*members: tuple[str, bytes], end: bytes = END) -> bytes:
    pieces, _ = pack([name for name, _ in members], [content for _, content in members])
    return b"".join(pieces) + end


def read(data: bytes) -> tuple[list[Sample], list[Problem]]:
    problems: list[Problem] = []
    return list(read_tar(io.BytesIO(data), "x.tar", problems.append)), problems


def reasons(data: bytes) -> list[str]:
    return [problem.reason for problem in read(data)[1]]


def test_samples_come_back_as_they_were_whatever_order_they_were_packed_in() -> None:
    tar, index = pack_shard(ShardName("train", 0), SAMPLES[::-1])
    assert (tar, index) == pack_shard(ShardName("train", 0), SAMPLES)
    assert read(tar) == (SAMPLES, [])


def test_index_points_at_whole_samples() -> None:
    tar, index = pack_shard(ShardName("val", 3), SAMPLES)
    entries = load_index(index, "i").samples
    assert [entry.key for entry in entries] == [sample.key for sample in SAMPLES]
    piece = tar[entries[2].offset : entries[2].offset + entries[2].size]
    assert read(piece + END) == ([SAMPLES[2]], [])


def test_long_names_and_other_scripts_survive_in_pax_headers() -> None:
    name = "ordner/" + "ü" * 120 + ".v1"
    data = tar_of((f"{name}.jpg", b"j"), (f"{name}.txt", b"t"))
    assert [(s.key, s.text) for s in read(data)[0]] == [(name, "t")]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == [f"{name}.jpg", f"{name}.txt"]


def test_archives_of_python_tarfile_in_every_format_are_read() -> None:
    long = "folder/" + "k" * 90  # with its extension beyond the 100 bytes of one field
    for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=format) as archive:
            for name, content in ((f"{long}.jpg", b"j"), ("b.c.jpeg", b"i")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        samples, problems = read(out.getvalue())
        assert [s.key for s in samples] == [long, "b.c"] and not problems


def test_dotted_keys_stay_apart() -> None:
    data = tar_of(("a.v1.jpg", b"1"), ("a.v1.txt", b"x"), ("a.v2.jpg", b"2"))
    assert [(s.key, s.jpg) for s in read(data)[0]] == [("a.v1", b"1"), ("a.v2", b"2")]


def test_foreign_shard_without_labels_reads_with_empty_ones() -> None:
    [sample] = read(tar_of(("a.png", b"p"), ("a.cls", b"7")))[0]
    assert (sample.text, sample.labels) == ("", {})


def test_incomplete_or_broken_samples_are_left_out_with_a_reason() -> None:
    assert reasons(tar_of(("a.txt", b"t"))) == ["missing_image"]
    assert reasons(tar_of(("a.jpg", b""))) == ["missing_image"]
    assert reasons(tar_of(("a.jpg", b"j"), ("a.json", b"{"))) == ["bad_json"]
    assert reasons(tar_of(("a.jpg", b"j"), ("a.json", b"[1]"))) == ["bad_json"]
    assert reasons(tar_of(("a.jpg", b"j"), ("a.json", b"[" * 100_000))) == ["bad_json"]
    assert reasons(tar_of(("a.jpg", b"j"), ("a.jpg", b"k"))) == ["duplicate_member"]


def test_one_bad_sample_does_not_cost_its_neighbours() -> None:
    samples, problems = read(tar_of(("a.jpg", b"1"), ("b.txt", b"t"), ("c.jpg", b"3")))
    assert [s.key for s in samples] == ["a", "c"] and len(problems) == 1


def test_without_a_collector_the_first_problem_stops_the_reading() -> None:
    with pytest.raises(ShardError, match="missing_image"):
        list(read_tar(io.BytesIO(tar_of(("a.txt", b"t"))), "x.tar"))


@pytest.mark.parametrize("cut", [0, 100, BLOCK, BLOCK + 10, 3 * BLOCK])
def test_truncated_archive_is_noticed_wherever_it_ends(cut: int) -> None:
    data = tar_of(("a.jpg", bytes(900)), ("a.txt", b"t"))
    assert "truncated" in reasons(data[:cut])


def test_archive_without_end_marker_is_noticed() -> None:
    samples, problems = read(tar_of(("a.jpg", b"j"), end=b""))
    assert [s.key for s in samples] == ["a"] and [p.reason for p in problems] == ["truncated"]


def test_damaged_header_ends_the_reading_with_a_reason() -> None:
    data = bytearray(tar_of(("a.jpg", b"j"), ("b.jpg", b"k")))
    data[2 * BLOCK + 5] ^= 0xFF
    samples, problems = read(bytes(data))
    assert [s.key for s in samples] == ["a"] and [p.reason for p in problems] == ["bad_header"]


def test_links_devices_and_lies_about_size_are_refused() -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            info = tarfile.TarInfo("a.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        assert reasons(out.getvalue()) == ["not_a_file"]
    assert reasons(_with_size(b"77777777777\0")) == ["truncated"]
    assert reasons(_with_size(b"-0000000001\0")) == ["bad_header"]
    assert reasons(_with_size(b"\xff" * 12)) == ["bad_header"]


def _with_size(field: bytes) -> bytes:
    data = bytearray(tar_of(("a.jpg", b"j")))
    data[124:136] = field
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:BLOCK])
    return bytes(data)


def test_only_tars_of_a_split_are_shards() -> None:
    assert parse_name("train-000012.tar") == ShardName("train", 12)
    for other in ("train-000012.index.json", "train-1.tar", "x/train-000001.tar", "a.tar"):
        assert parse_name(other) is None


def test_damaged_index_is_an_error_that_names_the_file() -> None:
    for data in (b"", b"{}", json.dumps({"tar": "t", "bytes": 1, "samples": [{}]}).encode()):
        with pytest.raises(MmcoreError, match="val-000000"):
            load_index(data, "val-000000.index.json")
