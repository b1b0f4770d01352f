"""A group of workers: what ends a member that hangs, and how one learns that it must leave."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mmcore.cluster import GroupSettings, Member, run_group
from mmcore.cluster.board import Board
from mmcore.errors import MmcoreError, UserError


def _python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_member_that_hangs_is_ended_and_its_stack_is_logged() -> None:
    process = _python(
        "import time\nfrom mmcore.cluster.group import _Watchdog\n"
        "def stuck(): time.sleep(60)\nalive = _Watchdog(0.3)\n"
        "for _ in range(10): alive(); time.sleep(0.1)\nprint('steps', flush=True)\nstuck()"
    )
    said, stack = process.communicate(timeout=30)
    assert said == "steps\n"  # ten steps of a third of the limit are no hang
    assert process.returncode == 1 and "in stuck" in stack


def test_the_first_sigterm_is_a_request_and_the_second_is_obeyed() -> None:
    process = _python(
        "import time\nfrom mmcore.cluster import notices\nnotices._catch_sigterm(None)\n"
        "print('ready', flush=True)\nwhile not notices._LEAVE.is_set(): time.sleep(0.01)\n"
        "print('asked', flush=True)\ntime.sleep(60)"
    )
    assert process.stdout is not None
    for word in ("ready", "asked"):
        assert process.stdout.readline() == f"{word}\n"
        process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    process.communicate()


def test_a_bell_is_heard_by_its_own_group_until_that_has_ended() -> None:
    board = Board()
    board.ring("a")
    assert board.rung("a") and not board.rung("b")
    board.forget("a")
    assert not board.rung("a")


def _settings(folder: Path) -> GroupSettings:
    return GroupSettings((1, 1), 0.5, False, 0, 60.0, 60.0, str(folder))


def _wait_for_leave(member: Member) -> bool:
    while not member.leaving():
        time.sleep(0.05)
        member.alive()
    return member.world == 1


@pytest.mark.slow
def test_members_leave_when_their_driver_must(ray_session: None, tmp_path: Path) -> None:
    lost = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_group, _wait_for_leave, _settings(tmp_path), lost)
        time.sleep(1)
        lost.set()
        with pytest.raises(MmcoreError, match="taken this run over"):
            running.result(timeout=90)


def _refuse(member: Member, tries: Path) -> bool:
    with tries.open("a") as file:
        file.write("once\n")
    raise UserError(f"rank {member.rank} does not like its settings")


@pytest.mark.slow
def test_a_members_own_sentence_reaches_the_caller_at_once(
    ray_session: None, tmp_path: Path
) -> None:
    settings, tries = replace(_settings(tmp_path), retries=2), tmp_path / "tries"
    with pytest.raises(UserError, match=r"^rank 0 does not like its settings$"):
        run_group(partial(_refuse, tries=tries), settings, threading.Event())
    assert tries.read_text() == "once\n"  # no other try would end better
