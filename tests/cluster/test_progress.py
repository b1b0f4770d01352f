"""Records of workers reach whoever listens in the driver, and cannot stop the work."""

from __future__ import annotations

import pytest
import ray

from mmcore.cluster import Record, flush, listening, numbers, report


@ray.remote(num_cpus=0)
def work(stage: str, count: int) -> None:
    for number in range(count):
        report(stage, {"number": number, "picture": b"png"})
    flush()  # or the task's end may be known before its records are


def test_records_of_the_block_arrive_in_order_and_no_others(ray_session: None) -> None:
    ray.get(work.remote("mine", 2))  # nobody listens yet
    heard: list[Record] = []
    with listening("mine", heard.append):
        ray.get([work.remote("mine", 5), work.remote("other", 3)])
    assert heard == [{"number": number, "picture": b"png"} for number in range(5)]
    ray.get(work.remote("mine", 1))
    assert len(heard) == 5  # nobody listens any more


def test_a_listener_that_fails_is_left_out_with_a_line(
    ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(record: Record) -> None:
        raise RuntimeError("no room on the disk")

    heard: list[Record] = []
    with listening("mine", broken), listening("mine", heard.append):
        ray.get(work.remote("mine", 3))
    assert len(heard) == 3
    assert capsys.readouterr().err.count("no longer followed: no room on the disk") == 1


def test_numbers_of_a_record_are_named_by_their_path() -> None:
    record = {"losses": {"vqa": 0.5, "tags": float("nan")}, "samples": 3, "predictions": b"x"}
    assert numbers(record) == {"losses/vqa": 0.5, "samples": 3.0}
