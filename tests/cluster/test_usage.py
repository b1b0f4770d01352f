"""What a block of work cost is the block's, not that of looking at it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from mmcore.cluster import usage
from mmcore.cluster.usage import measured

_BUSY = "import time\nwhile time.process_time() < 1: pass"


def test_cpu_time_and_memory_of_child_processes_count() -> None:
    with measured() as cost:
        child = subprocess.Popen([sys.executable, "-c", f"{_BUSY}\ntime.sleep(2)"])
        time.sleep(2)
    child.wait()
    assert cost.cpu_seconds > 0.5
    assert cost.peak_memory_mb > 1


def test_the_sampling_itself_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_look() -> float:
        start = time.thread_time()
        while time.thread_time() < start + 0.4:
            pass
        return 1.0

    monkeypatch.setattr(usage, "tree_memory_mb", slow_look)
    with measured() as cost:
        time.sleep(2)
    assert cost.cpu_seconds < 0.4
    assert cost.peak_memory_mb == 1.0


def test_memory_is_asked_for_when_there_is_more_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    whole = usage.tree_memory_mb
    monkeypatch.setattr(usage, "tree_memory_mb", lambda: asked.append(1) or whole())
    with measured() as cost:
        time.sleep(2)
        quiet = len(asked)
        held = bytearray(b"x" * (200 << 20))
        time.sleep(1.2)
        grown = len(asked)
        del held
        time.sleep(1.2)
    assert quiet <= 2 and grown > quiet  # not at every look
    assert len(asked) == grown + 1  # once more at the end
    assert cost.peak_memory_mb > whole() + 150
