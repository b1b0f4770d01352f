"""A decoder that crashes, hangs or eats memory costs its own row and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mmcore.clean.measure import Measure, lost
from mmcore.clean.policy import PixelPolicy
from mmcore.clean.sandbox import Limits, Sandbox, chunks
from mmcore.cluster import map_parts
from mmcore.errors import MmcoreError
from tests.clean import traps
from tests.clean.helpers import encode, picture, raw_table

LIMITS = Limits(cpu_seconds=0.5, wall_seconds=1.5, memory_mb=512)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One process for all tests here, as for all parts of a stage."""
    box = Sandbox(traps.measure, LIMITS)
    yield box
    box.close()


def _outcomes(box: Sandbox, images: list[bytes]) -> list[str]:
    pieces = box.map(raw_table(images), lost)
    measured = pa.concat_tables([piece[0] for piece in pieces])
    stored = pa.concat_tables([piece[1] for piece in pieces])
    assert measured["sha256"].to_pylist() == raw_table(images)["sha256"].to_pylist()
    fine = measured.filter(pc.equal(measured["outcome"], "ok"))
    assert stored["sha256"].to_pylist() == fine["sha256"].to_pylist()
    return measured["outcome"].to_pylist()


def _trap(width: int, seed: int = 0) -> bytes:
    """A PNG with a palette, which Pillow reads."""
    return encode(picture(seed, (width, 80), "P"))


def test_the_child_measures_what_this_process_would(sandbox: Sandbox) -> None:
    rows = raw_table([encode(picture(seed), "JPEG") for seed in range(5)] + [b"no image"])
    ((measured, stored),) = sandbox.map(rows, lost)
    here = Measure(PixelPolicy())(rows)
    assert (measured, stored) == here


@pytest.mark.parametrize(
    ("width", "reason"),
    [
        (traps.CRASHES, "decoder_crashed"),
        (traps.SPINS, "decoder_hung"),
        (traps.SLEEPS, "decoder_hung"),
        (traps.EATS, "out_of_memory"),
    ],
)
def test_a_trap_costs_its_own_row_only(sandbox: Sandbox, width: int, reason: str) -> None:
    good = [encode(picture(seed)) for seed in range(4)]
    images = [good[0], good[1], _trap(width), good[2], b"no image", good[3]]
    assert _outcomes(sandbox, images) == ["ok", "ok", reason, "ok", "not_an_image", "ok"]


def test_traps_may_follow_each_other_and_be_first_and_last(sandbox: Sandbox) -> None:
    crash = [_trap(traps.CRASHES, seed) for seed in range(3)]
    images = [crash[0], crash[1], encode(picture(9)), _trap(traps.SPINS), crash[2]]
    reasons = ["decoder_crashed", "decoder_crashed", "ok", "decoder_hung", "decoder_crashed"]
    assert _outcomes(sandbox, images) == reasons


def test_the_row_says_what_happened(sandbox: Sandbox) -> None:
    ((measured, _),) = sandbox.map(raw_table([_trap(traps.CRASHES)]), lost)
    assert measured["detail"].to_pylist() == ["SIGSEGV"]
    assert measured["bytes"].to_pylist() == [len(_trap(traps.CRASHES))]
    ((measured, _),) = sandbox.map(raw_table([_trap(traps.SPINS)]), lost)
    assert measured["detail"].to_pylist() == ["more than 0.5 CPU seconds"]


def _crashes_once(
    marker: str, rows: pa.Table, started: Callable[[], None]
) -> tuple[pa.Table, pa.Table]:
    """As a machine short of memory: the first process dies, the second does not."""
    for _ in range(rows.num_rows):
        started()
        if not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return Measure(PixelPolicy())(rows)


def test_a_death_that_does_not_come_again_costs_nothing(tmp_path: Path) -> None:
    box = Sandbox(partial(_crashes_once, str(tmp_path / "marker")), LIMITS)
    images = [encode(picture(seed)) for seed in range(3)]
    assert _outcomes(box, images) == ["ok"] * 3
    box.close()


def _raises(rows: pa.Table, started: Callable[[], None]) -> tuple[pa.Table, ...]:
    raise KeyError("a mistake of ours")


def test_a_mistake_in_the_work_is_an_error_not_a_reason() -> None:
    box = Sandbox(_raises, LIMITS)
    with pytest.raises(MmcoreError, match="KeyError: 'a mistake of ours'"):
        box.map(raw_table([b"x"]), lost)
    box.close()


def _part(images: list[bytes]) -> list[str]:
    box = Sandbox(traps.measure, LIMITS)
    outcomes = _outcomes(box, images)
    box.close()
    return outcomes


@pytest.mark.usefixtures("ray_session")
def test_a_run_on_ray_survives_crashes_and_hangs() -> None:
    good = encode(picture(1))
    items = [
        [good, _trap(traps.CRASHES)],
        [good],
        [_trap(traps.SLEEPS), good],
    ]
    assert map_parts(_part, items, description="traps") == [
        ["ok", "decoder_crashed"],
        ["ok"],
        ["decoder_hung", "ok"],
    ]


def test_chunks_are_bounded_in_rows_and_bytes() -> None:
    table = pa.table({"bytes": [10, 10, 10, 500, 10, 10]})
    sizes = [chunk["bytes"].to_pylist() for chunk in chunks(table, "bytes", 2, 100)]
    assert sizes == [[10, 10], [10], [500], [10, 10]]
    sizes = [chunk["bytes"].to_pylist() for chunk in chunks(table, "bytes", 9, 25)]
    assert sizes == [[10, 10], [10], [500], [10, 10]]
