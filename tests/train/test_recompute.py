"""Blocks that are computed again, or compiled, change neither gradients nor names."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

import mmcore.train.compiling as compiling
from mmcore.errors import UserError
from mmcore.models.layers import Block
from mmcore.train.compiling import compile_blocks, is_compiled
from mmcore.train.loop import Trainer
from mmcore.train.settings import LoopSettings
from tests.models import tiny
from tests.train import world

VIT = {"kind": "vit", "size": 32, "patch": 4, "widths": (32,), "depths": (2,), "heads": 2}
CPU = torch.device("cpu")


def _trainer(model: dict[str, Any], **changes: object) -> Trainer:
    values = {"batch_size": 6, "questions": 2, "amp": "off", "clip": 1e9, **changes}
    settings = LoopSettings.model_validate(values)
    samples = world.training_data(12, seed=3)
    return Trainer(tiny.model(**model), samples, settings, 3, clock=lambda: 0.0)


def _step(made: Trainer) -> dict[str, torch.Tensor]:
    """The gradients of one step, and the buffers after it."""
    made.model.train()
    batches = made._batches_at(0)
    counts = made._agree(0.0, False, False, batches).counts
    made._step(batches, counts, 0.5)
    found = {n: p.grad for n, p in made.model.named_parameters() if p.grad is not None}
    return {**found, **dict(made.model.named_buffers())}


def _forwards(made: Trainer) -> int:
    """How often blocks run in one step."""
    runs = [0]
    for module in made.model.modules():
        if isinstance(module, Block):
            module.register_forward_pre_hook(lambda *_: runs.__setitem__(0, runs[0] + 1))
    _step(made)
    return runs[0]


@pytest.mark.parametrize(
    ("model", "amp"),
    [
        ({"dropout": 0.3}, "off"),
        ({"image": VIT, "dropout": 0.3}, "on"),
        ({"image": {"kind": "plain", "size": 32, "widths": (16, 32), "depths": (1, 1)}}, "off"),
    ],
    ids=["cnn", "vit-bfloat16", "plain"],
)
def test_recomputed_blocks_have_the_same_gradients_to_the_bit(
    model: dict[str, Any], amp: str
) -> None:
    kept = _step(_trainer(model, amp=amp))
    again = _step(_trainer(model, amp=amp, activation_checkpointing=True))
    assert kept.keys() == again.keys()
    for name, tensor in kept.items():
        assert again[name].equal(tensor), name


def test_a_backbone_that_cannot_recompute_is_refused() -> None:
    options = {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2, "patch_size": 4}
    image = {
        **{"kind": "transformers", "patch": 8, "widths": (32,), "depths": (1,)},
        "backbone": {"family": "convnext", "options": options},
    }
    with pytest.raises(UserError, match=r"set train\.activation_checkpointing to false"):
        _trainer({"image": image}, activation_checkpointing=True)


def test_recomputed_blocks_really_run_twice() -> None:
    once = _forwards(_trainer({"image": VIT}))
    assert _forwards(_trainer({"image": VIT}, activation_checkpointing=True)) == 2 * once


def test_compiled_blocks_keep_names_and_copies_stay_uncompiled() -> None:
    made = tiny.model(image=VIT)
    names = list(made.state_dict())
    assert compile_blocks(made, "on", CPU) is None
    assert all(is_compiled(m) for m in made.modules() if isinstance(m, Block))
    assert list(made.state_dict()) == names
    copied = copy.deepcopy(made)
    assert not any(is_compiled(m) for m in copied.modules())


def test_the_processor_compiles_only_when_asked() -> None:
    for setting in ("auto", "off"):
        made = tiny.model()
        assert compile_blocks(made, setting, CPU) is None
        assert not any(is_compiled(m) for m in made.modules())


def test_without_a_compiler_on_is_refused_and_auto_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("No working C++ compiler found.\nmore")

    monkeypatch.setattr(compiling, "_small", fails)
    with pytest.raises(UserError, match=r"cannot compile here \(.*compiler.*\): install"):
        compile_blocks(tiny.model(), "on", CPU)
    made = tiny.model()
    note = compile_blocks(made, "auto", torch.device("cuda"))
    assert note is not None and note.startswith("not compiled")
    assert not any(is_compiled(m) for m in made.modules())


@pytest.mark.slow
def test_compiled_blocks_train_as_plain_ones_and_texts_of_other_lengths_compile_nothing_new() -> (
    None
):
    def steps(compiled: str) -> tuple[Trainer, list[int]]:
        counters.clear()
        made = _trainer({"fusion": "concat"}, compile=compiled, optimizer="adamw", lr=1e-4)
        made.model.train()
        graphs = []
        for cut in (0, 3, 1, 2):
            batches = made._batches_at(made.state.cursor)
            width = batches[0].captions.shape[1] - cut
            batches = [replace(b, captions=b.captions[:, :width].contiguous()) for b in batches]
            counts = made._agree(0.0, False, False, batches).counts
            made._step(batches, counts, 0.5)
            graphs.append(counters["stats"]["unique_graphs"])
        return made, graphs

    plain, none = steps("off")
    compiled, graphs = steps("on")
    assert none == [0, 0, 0, 0]
    assert graphs[0] >= 4  # two widths of picture blocks, text, decoder
    assert graphs == [graphs[0]] * 4
    for name, tensor in plain.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], tensor, rtol=0, atol=2e-4)
