"""A frozen ONNX tower: its features stand for pixels, it travels with the model, it is checked."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcore.errors import UserError
from mmcore.models import load_model
from mmcore.models.artifact import Artifact, save_artifact
from mmcore.models.images import decode_images
from mmcore.models.predictor import Predictor
from mmcore.models.tower import OnnxTower, describe_tower
from mmcore.train.loop import Trainer
from mmcore.train.losses import TASKS
from mmcore.train.settings import LoopSettings
from tests.models import tiny
from tests.models.onnx_file import onnx_pooling
from tests.train import world


def _config(tower: bytes, **changes: Any) -> dict[str, Any]:
    image = {"kind": "tower", "patch": 8, "widths": (3,), "depths": (1,),
             "tower": {"sha256": hashlib.sha256(tower).hexdigest()}}  # fmt: skip
    return {**image, **changes}


TOWER = onnx_pooling(8)
PICTURES, RECORDS = world.samples(6)


def _artifact(**model: Any) -> Artifact:
    made = tiny.artifact(image=_config(TOWER), **model)
    return Artifact(made.model, made.labels, made.tokenizer, TOWER)


def test_features_are_the_towers_of_normalised_pixels() -> None:
    predictor = Predictor(_artifact())
    features = predictor.decode(PICTURES)
    assert features.dtype == torch.float16 and features.shape == (6, 3, 4, 4)
    pixels = decode_images(PICTURES, 32).astype(np.float64)
    means = pixels.reshape(6, 4, 8, 4, 8, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2)
    mean, deviation = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    expected = (means - np.reshape(mean, (3, 1, 1))) / np.reshape(deviation, (3, 1, 1))
    np.testing.assert_allclose(features, expected, atol=2e-3)


@pytest.mark.parametrize("model", [{}, {"alignment": "pooled", "text": {"kind": "bag"}}])
def test_a_model_on_a_tower_learns_from_cached_features_and_is_saved_with_it(
    model: dict[str, Any], tmp_path: Path
) -> None:
    artifact = _artifact(**model)
    cached = Predictor(artifact).decode(PICTURES).permute(0, 2, 3, 1).numpy()
    ticks = iter(range(1000))
    weights = {**dict.fromkeys(TASKS, 0.0), "contrastive": 1.0}
    settings = LoopSettings.model_validate(
        {
            "budget_minutes": 1,
            "batch_size": 6,
            "questions": 1,
            "amp": "off",
            "optimizer": "adamw",
            "ema": 0.9,
            "validations": 0,
            "loss_weights": weights,
        }
    )
    samples = replace(world.training_data(6), pixels=lambda numbers: cached[numbers])
    made = Trainer(artifact.model, samples, settings, 0, clock=lambda: float(next(ticks)))
    made.fit()
    save_artifact(tmp_path, Artifact(made.ema.model, artifact.labels, artifact.tokenizer, TOWER))
    loaded = load_model(tmp_path)
    texts = [record["captions"][0]["text"] for record in RECORDS]
    similarity = loaded.encode_texts(texts) @ loaded.encode_images(PICTURES).T
    assert (similarity.argmax(axis=1) // 2 == np.arange(6) // 2).all()  # the colours


def test_a_missing_or_another_tower_is_refused(tmp_path: Path) -> None:
    save_artifact(tmp_path, _artifact())
    (tmp_path / "tower.onnx").write_bytes(onnx_pooling(16))
    with pytest.raises(UserError, match=r"tower\.onnx is not the file"):
        load_model(tmp_path)
    (tmp_path / "tower.onnx").unlink()
    with pytest.raises(UserError, match=r"tower\.onnx is missing"):
        load_model(tmp_path)


def test_a_tower_that_does_not_fit_its_config_is_refused() -> None:
    wrong = tiny.config(image=_config(TOWER, widths=(5,))).image
    with pytest.raises(UserError, match=r"gives \[3, 4, 4\] .* says \[5, 4, 4\]"):
        OnnxTower(TOWER, wrong).features(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    garbage = b"no model"
    with pytest.raises(UserError, match="cannot be loaded"):
        OnnxTower(garbage, tiny.config(image=_config(garbage)).image)
    with pytest.raises(ValueError, match="tower is given for kind tower"):
        tiny.config(image={"kind": "tower"})


def test_a_tower_is_described_by_what_it_gives() -> None:
    mean, deviation = (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)
    found = describe_tower(TOWER, 32, mean, deviation)
    given = tiny.config(image=_config(TOWER)).image
    assert found.tower is not None and found.tower.mean == mean
    assert (found.size, found.grid, found.widths) == (given.size, given.grid, given.widths)
    with pytest.raises(UserError, match="cannot read pictures of 64 pixels"):
        describe_tower(TOWER, 64, mean, deviation)
    with pytest.raises(UserError, match=r"set train\.tower\.size to a multiple of 3"):
        describe_tower(onnx_pooling(10), 32, mean, deviation)
    with pytest.raises(UserError, match="export the last feature map"):
        describe_tower(onnx_pooling(1), 32, mean, deviation)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_tower_that_was_exported_for_some_pictures_at_a_time_gets_as_many(batch: int) -> None:
    fixed = onnx_pooling(8, batch)
    image = describe_tower(fixed, 32, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    pixels = torch.from_numpy(decode_images(PICTURES, 32)).permute(0, 3, 1, 2)
    expected = Predictor(_artifact()).decode(PICTURES)
    torch.testing.assert_close(OnnxTower(fixed, image).features(pixels), expected)
