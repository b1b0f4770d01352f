"""Every combination of encoders, alignment and fusion builds, runs and learns."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from mmcore.errors import UserError
from mmcore.models import load_preset, preset_names
from mmcore.models.artifact import Artifact, load_artifact, save_artifact
from mmcore.models.config import ModelConfig, parse_config
from mmcore.models.fusion_model import FusionModel, parameter_count
from mmcore.train.augment import Augmentation
from mmcore.train.batches import make_batch
from mmcore.train.losses import TASKS, Modes, TaskLosses
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LossWeights
from tests.models import tiny
from tests.train import world

OPTIONS = {"generative_vqa", "masked_text", "consistency"}  # losses that are off by default
GRID = list(
    itertools.product(
        ("cnn", "convnext", "vit"),
        ("transformer", "gru", "lstm"),
        ("linear", "conv", "attention"),
        ("concat", "gated", "cross_attention"),
    )
)
GRID.append(("cnn", "bag", "pooled", "cross_attention"))


@pytest.mark.parametrize(("image", "text", "alignment", "fusion"), GRID)
def test_every_combination_gets_a_gradient_for_every_weight_and_is_saved(
    image: str, text: str, alignment: str, fusion: str, tmp_path: Path
) -> None:
    model = tiny.model(
        image={"kind": image}, text={"kind": text}, alignment=alignment, fusion=fusion
    )
    samples = world.training_data(12)
    batch = make_batch(samples, 0, 0, 12, 2)
    # every mode of missing modalities has to occur, else its learned vectors get no gradient
    losses = TaskLosses(model, LossWeights(), Modes(0.5, 0.4, 0.3))
    sums = losses(batch, Augmentation(1.0), Ranks())
    sums.sum().backward()
    assert torch.isfinite(sums).all() and len(sums) == len(TASKS)
    assert all(value > 0 for task, value in zip(TASKS, sums, strict=True) if task not in OPTIONS)
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # a token of a missing modality is read by cross-attention only
    unused = {"missing_token.image", "missing_token.text"} if fusion != "cross_attention" else set()
    unused |= {"missing_pooled.image", "missing_pooled.text"} if fusion == "none" else set()
    assert set(without) <= unused
    save_artifact(tmp_path, Artifact(model, tiny.LABELS, tiny.tokenizer()))
    loaded, saved = load_artifact(tmp_path).model.state_dict(), model.state_dict()
    assert loaded.keys() == saved.keys()
    assert all(loaded[name].equal(value) for name, value in saved.items())


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
