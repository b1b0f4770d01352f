"""Every combination of encoders, alignment and fusion builds, trains and is what it was when saved
and loaded."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcore.errors import UserError
from mmcore.models import load_model, load_preset, preset_names
from mmcore.models.artifact import Artifact, save_artifact
from mmcore.models.config import ModelConfig, parse_config
from mmcore.models.fusion_model import FusionModel, parameter_count
from mmcore.models.predictor import Predictor
from mmcore.train.loop import Trainer
from mmcore.train.losses import TASKS, Modes
from mmcore.train.settings import LoopSettings
from tests.models import tiny
from tests.train import world

OPTIONS = {"generative_vqa", "masked_text", "consistency"}  # losses that are off by default
GRID = list(
    itertools.product(
        ("cnn", "convnext", "plain", "vit"),
        ("transformer", "gru", "lstm", "bag"),
        ("linear", "conv", "attention", "pooled"),
        ("concat", "gated", "cross_attention"),
    )
)
SAMPLES = 8


def _one_step(model: FusionModel) -> Trainer:
    """The trainer after one step of the loop, whose clock ticks once a step."""
    settings = LoopSettings(
        budget_minutes=2 / 60, batch_size=SAMPLES, questions=1, amp="off", validations=0,
        log_seconds=1.0,
    )  # fmt: skip
    clock: Callable[[], float] = map(float, itertools.count()).__next__
    made = Trainer(model, world.training_data(SAMPLES), settings, seed=0, clock=clock)
    # every mode of missing modalities has to occur, else its learned vectors get no gradient
    made.losses.modes = Modes(0.5, 0.4, 0.3)
    made.fit()
    assert made.state.step == 1 and made.state.refused == 0
    return made


def _outputs(predictor: Predictor) -> list[np.ndarray]:
    """Embeddings of both modalities, and what a head says of them together."""
    pictures, records = world.samples(3)
    texts = [record["captions"][0]["text"] for record in records]
    return [
        predictor.encode_images(pictures),
        predictor.encode_texts(texts),
        predictor.match(pictures, texts),
    ]


def _unread(alignment: str, fusion: str) -> set[str]:
    """Weights that no loss reaches: a text's tokens, and a missing modality's, are read one by one
    by cross-attention only, and `pooled` does not make its pooled vector of them either."""
    if fusion == "cross_attention":
        return set()
    tokens = {"missing_token.image", "missing_token.text"}
    if alignment == "pooled":
        layers = itertools.product(("project", "norm"), ("weight", "bias"))
        tokens |= {f"alignment.text.{layer}.{name}" for layer, name in layers}
    return tokens


@pytest.mark.parametrize(("image", "text", "alignment", "fusion"), GRID)
def test_every_combination_learns_with_every_weight_and_is_loaded_as_it_was_saved(
    image: str, text: str, alignment: str, fusion: str, tmp_path: Path
) -> None:
    model = tiny.model(
        image={"kind": image}, text={"kind": text}, alignment=alignment, fusion=fusion
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    made = _one_step(model)

    losses = made.state.history[0]["losses"]
    assert set(losses) == set(TASKS) - OPTIONS
    assert all(0 < loss < 20 for loss in losses.values())  # 1 knows nothing; nan is not below 20
    still = {
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.any() or p.equal(before[name])
    }
    assert still == _unread(alignment, fusion)
    assert all(torch.isfinite(p).all() for p in model.parameters())

    trained = made.averaged()
    save_artifact(tmp_path, Artifact(trained, tiny.LABELS, tiny.tokenizer()))
    expected = _outputs(Predictor(Artifact(trained, tiny.LABELS, tiny.tokenizer())))
    for found, value in zip(_outputs(load_model(tmp_path)), expected, strict=True):
        # where the weights lie in memory may change a last bit
        np.testing.assert_allclose(found, value, rtol=0, atol=1e-6)


def test_presets_are_sorted_by_size_and_all_build() -> None:
    assert preset_names() == ["nano", "tiny", "small", "base", "large"]
    with torch.device("meta"):  # shapes only: large has hundreds of millions of weights
        sizes = [parameter_count(FusionModel(load_preset(name))) for name in preset_names()]
    assert sizes == sorted(sizes) and len(set(sizes)) == len(sizes)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="nano, tiny, small, base, large"):
        load_preset("huge")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"colour": 1}, "colour"),
        ({"image": {"size": 50}}, "image"),
        ({"heads": 3}, "config"),
        ({"fusion": "magic"}, "fusion"),
    ],
)
def test_a_wrong_config_names_the_field(changes: dict[str, object], where: str) -> None:
    with pytest.raises(UserError, match=f"wrong at {where}"):
        parse_config(changes, "config.json")


def test_two_stages_halve_the_resolution_once() -> None:
    image = ModelConfig().image
    assert (image.stride, image.grid) == (8, 8)
