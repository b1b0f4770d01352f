"""bfloat16 where it is asked for, or where the processor has it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmcore.train import precision
from mmcore.train.loop import Hooks
from mmcore.train.precision import cpu_flags, use_bfloat16
from tests.train.test_loop import trainer, weights

CPU = torch.device("cpu")
INTEL = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu sse2 avx512f avx512_bf16 amx_tile\n"
OLD = INTEL.replace("avx512_bf16 ", "")
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd bf16 sve\n"


def _processor(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str | None) -> None:
    path = folder / "cpuinfo"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(precision, "_CPUINFO", path)


@pytest.mark.parametrize(
    ("text", "has_it"), [(INTEL, True), (ARM, True), (OLD, False), ("", False), (None, False)]
)
def test_auto_asks_the_processor(
    text: str | None, has_it: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _processor(monkeypatch, tmp_path, text)
    assert use_bfloat16("auto", CPU) is has_it
    assert use_bfloat16("on", CPU) is True
    assert use_bfloat16("off", CPU) is False


def test_flags_are_those_of_the_first_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _processor(monkeypatch, tmp_path, OLD + "\n" + INTEL)
    assert cpu_flags() == {"fpu", "sse2", "avx512f", "amx_tile"}
    _processor(monkeypatch, tmp_path, ARM)
    assert cpu_flags() == {"fp", "asimd", "bf16", "sve"}


@pytest.mark.parametrize(("amp", "kind"), [("on", torch.bfloat16), ("off", torch.float32)])
def test_the_loop_computes_in_it_and_keeps_full_weights(amp: str, kind: torch.dtype) -> None:
    made, seen = trainer(steps=3, amp=amp), set()
    before = weights(made)
    layer = made.model.fusion.get_submodule("join")
    layer.register_forward_hook(lambda module, given, out: seen.add(out.dtype))
    state = made.fit(Hooks())
    assert seen == {kind} and state.refused == 0
    after = weights(made)
    assert {value.dtype for value in after.values()} == {torch.float32}
    assert not after["fusion.join.weight"].equal(before["fusion.join.weight"])
    assert all(torch.isfinite(value).all() for value in after.values())
