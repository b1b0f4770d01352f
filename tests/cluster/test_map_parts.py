"""Mapping a function over parts on Ray."""

from __future__ import annotations

import os
from functools import partial

import pytest

from mmcore.cluster import map_parts, require_cpus
from mmcore.errors import UserError


def square(value: int, plus: int = 0) -> dict[str, int]:
    return {"rows": 1, "value": value * value + plus, "pid": os.getpid()}


def refuse(value: int) -> int:
    if value == 3:
        raise UserError("Three is not allowed: use two.")
    return value


def crash(value: int) -> int:
    return 1 // value


@pytest.mark.usefixtures("ray_session")
class TestMapParts:
    def test_results_keep_the_order_of_the_items(self) -> None:
        results = map_parts(partial(square, plus=1), list(range(12)), description="square")
        assert [r["value"] for r in results] == [i * i + 1 for i in range(12)]

    def test_work_happens_in_other_processes(self) -> None:
        results = map_parts(square, [1, 2, 3, 4], description="square")
        assert os.getpid() not in {r["pid"] for r in results}

    def test_nothing_to_do_is_no_error(self) -> None:
        assert map_parts(square, [], description="square") == []

    def test_a_users_mistake_keeps_its_sentence(self) -> None:
        with pytest.raises(UserError, match="Three is not allowed"):
            map_parts(refuse, [1, 2, 3], description="refuse")

    def test_a_failure_is_not_swallowed(self) -> None:
        with pytest.raises(Exception, match="division"):
            map_parts(crash, [1, 0], description="crash")

    def test_what_cannot_be_scheduled_is_refused_instead_of_hanging(self) -> None:
        with pytest.raises(UserError, match="needs 64 CPUs"):
            require_cpus(64, "Training")
