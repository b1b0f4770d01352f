"""Which weights which optimizer steps, clipping, and the moving average that is kept."""

from __future__ import annotations

import math

import pytest
import torch

from mmcore.train.optimizer import Ema, Optimizers
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LoopSettings
from mmcore.train.sharding import clip_gradients
from tests.models import tiny
from tests.train.test_loop import trainer


def _norm(parameters: list[torch.nn.Parameter]) -> float:
    return math.sqrt(sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None))


@pytest.mark.parametrize("decay", [0.5, 0.98])
def test_the_average_grows_old_slowly_up_to_its_decay(decay: float) -> None:
    model = tiny.model()
    ema = Ema(model, decay)
    weight, expected = model.token_embedding.weight, model.token_embedding.weight.detach().clone()
    generator = torch.Generator().manual_seed(0)
    for n in range(1, 13):
        with torch.no_grad():
            weight.copy_(torch.randn(weight.shape, generator=generator))
        ema.update()
        # 2/11, 3/12, ...: one half in the 8th update, still below 0.98 in the last
        kept = min(decay, (1 + n) / (10 + n))
        expected = kept * expected + (1 - kept) * weight.detach()
        torch.testing.assert_close(ema.model.token_embedding.weight.detach(), expected)
    assert not ema.model.training and not any(p.requires_grad for p in ema.model.parameters())


def test_gradients_are_scaled_to_the_norm_that_is_allowed() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((4, 3), (5,), (2,))]
    generator = torch.Generator().manual_seed(0)
    for parameter in parameters[:2]:  # the third has no gradient
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    given = [p.grad.clone() for p in parameters[:2] if p.grad is not None]
    before = _norm(parameters)
    assert float(clip_gradients(parameters, 2 * before, Ranks())) == pytest.approx(before)
    assert all(p.grad.equal(g) for p, g in zip(parameters, given, strict=False))
    assert float(clip_gradients(parameters, 0.1, Ranks())) == pytest.approx(before)
    assert _norm(parameters) == pytest.approx(0.1, rel=1e-4)
    for parameter, gradient in zip(parameters, given, strict=False):  # the direction stays
        torch.testing.assert_close(parameter.grad, gradient * 0.1 / before, rtol=1e-4, atol=0)
    assert parameters[2].grad is None


@pytest.mark.parametrize(("clip", "clipped"), [(1e-3, True), (1e9, False)])
def test_the_loop_steps_with_clipped_gradients_and_reports_the_norm_before(
    clip: float, clipped: bool
) -> None:
    made = trainer(steps=3, first=1, clip=clip, log_seconds=1.0)
    steps, stepped_with = made.optimizers.step, []

    def step(factor: float) -> None:
        stepped_with.append(_norm(list(made.model.parameters())))
        steps(factor)

    made.optimizers.step = step  # type: ignore[method-assign]
    history = made.fit().history
    assert len(stepped_with) == len(history) == 2
    for norm, record in zip(stepped_with, history, strict=True):
        before = record["gradient_norm"]["mean"]
        assert before > 0.1
        assert norm == pytest.approx(clip if clipped else before, rel=1e-3)


def test_muon_takes_the_matrices_between_embeddings_and_outputs() -> None:
    model = tiny.model()
    made = Optimizers(model, LoopSettings(), Ranks(), bfloat16=False)
    names = {id(p): name for name, p in model.named_parameters()}
    adamw, muon = (
        {names[id(p)] for group in optimizer.param_groups for p in group["params"]}
        for optimizer in made.all
    )
    assert adamw | muon == set(names.values()) and not adamw & muon
    assert {"fusion.join.weight", "image_encoder.stages.0.conv1.weight"} <= muon
    outputs = {
        "answering.mlp.down.weight",
        "tagging.mlp.down.weight",
        "reconstruction.linear.weight",
    }
    assert {"token_embedding.weight", "fusion.join.bias", *outputs} <= adamw
    decayed = {
        names[id(p)]
        for group in made.adamw.param_groups
        for p in group["params"]
        if group["weight_decay"] > 0
    }
    assert "token_embedding.weight" in decayed and "fusion.join.bias" not in decayed
