"""Encoders of the transformers library: they train and are saved like our own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from mmcore.errors import UserError
from mmcore.models import load_model
from mmcore.models.artifact import Artifact, artifact_files, save_artifact
from mmcore.models.backbone import load_pretrained
from mmcore.models.predictor import Predictor
from mmcore.train.augment import Augmentation
from mmcore.train.batches import make_batch
from mmcore.train.losses import Modes, TaskLosses
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LossWeights
from tests.models import tiny
from tests.train import world

SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
VIT = {"family": "vit", "options": {**SMALL, "intermediate_size": 64, "image_size": 32,
                                    "patch_size": 8}}  # fmt: skip
CONVNEXT = {"family": "convnext",
            "options": {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2,
                        "patch_size": 4}}  # fmt: skip
RESNET = {"family": "resnet",
          "options": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1],
                      "layer_type": "basic"}}  # fmt: skip
BERT = {"family": "bert", "options": {**SMALL, "intermediate_size": 64, "vocab_size": 4}}


def _image(backbone: dict[str, Any], **changes: Any) -> dict[str, Any]:
    shape = {"kind": "transformers", "patch": 8, "widths": (32,), "depths": (1,)}
    return {**shape, "backbone": backbone, **changes}


@pytest.mark.parametrize("image", [VIT, CONVNEXT], ids=["vit", "convnext"])
def test_a_backbone_gets_a_gradient_and_is_saved_with_the_model(
    image: dict[str, Any], tmp_path: Path
) -> None:
    model = tiny.model(image=_image(image), text={"kind": "transformers", "backbone": BERT})
    losses = TaskLosses(model, LossWeights(), Modes())
    batch = make_batch(world.training_data(6), 0, 0, 6, 2)
    losses(batch, Augmentation(0.5), Ranks()).sum().backward()
    for encoder in (model.image_encoder, model.text_encoder):
        trained = [p.grad is not None and bool(p.grad.any()) for p in encoder.parameters()]
        assert sum(trained) >= 0.8 * len(trained)
    save_artifact(tmp_path, Artifact(model.eval(), tiny.LABELS, tiny.tokenizer()))
    pictures = world.samples(6)[0]
    found = load_model(tmp_path)
    with torch.no_grad():
        encoded = model.encode_image(found.decode(pictures).float().sub(127.5).div(64))
        expected = model.embed(encoded, "image")
    np.testing.assert_allclose(found.encode_images(pictures), expected, atol=1e-5)


def test_pretrained_weights_are_found_below_their_prefix() -> None:
    theirs, ours = tiny.model(seed=1, image=_image(VIT)), tiny.model(seed=2, image=_image(VIT))
    state = theirs.image_encoder.backbone.state_dict()  # type: ignore[union-attr,operator]
    named = {f"vit.{name}": tensor.contiguous() for name, tensor in state.items()}
    weights = save({**named, "classifier.weight": torch.zeros(2, 32)})
    said = load_pretrained(ours.image_encoder, weights)
    assert said == f"{len(state)} of {len(state)} tensors"
    for name, tensor in ours.image_encoder.backbone.state_dict().items():  # type: ignore[union-attr,operator]
        torch.testing.assert_close(tensor, state[name])


def test_weights_of_another_architecture_and_broken_ones_are_refused() -> None:
    encoder, other = tiny.model(image=_image(VIT)).image_encoder, save({"other": torch.zeros(2)})
    with pytest.raises(UserError, match=r"no whole \.safetensors file"):
        load_pretrained(encoder, other[:-4])
    with pytest.raises(UserError, match=r"Only 0 of .* another architecture"):
        load_pretrained(encoder, other)
    with pytest.raises(UserError, match="kind transformers"):
        load_pretrained(tiny.model().image_encoder, other)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (_image({"family": "no-such"}), "cannot build a backbone 'no-such'"),
        (_image(VIT, widths=(16,)), "gives 17 tokens of width 32; the config says 16 of 16"),
        (
            _image({"family": "vit", "options": {**SMALL, "intermediate_size": 64}}),
            r"cannot read pictures of 32 x 32 .*224.* image_size and patch_size in train",
        ),
    ],
)
def test_an_image_backbone_that_does_not_fit_is_refused_before_it_is_trained(
    image: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        tiny.model(image=image)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"max_position_embeddings": 8},
            "cannot read 16 embedded tokens .*max_position_embeddings with",
        ),
        ({"hidden_size": 16}, "hidden_size 16 must be the width 32"),
    ],
)
def test_a_text_backbone_that_does_not_fit_is_refused_before_it_is_trained(
    options: dict[str, Any], says: str
) -> None:
    backbone = {**BERT, "options": {**BERT["options"], **options}}
    with pytest.raises(UserError, match=says):
        tiny.model(text={"kind": "transformers", "backbone": backbone})


def test_looking_at_a_new_backbone_leaves_no_trace() -> None:
    model = tiny.model(image=_image(RESNET))
    counts = [b for n, b in model.named_buffers() if n.endswith("num_batches_tracked")]
    assert counts and not any(counts)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "modernbert"])
def test_the_words_of_a_text_backbone_are_neither_kept_nor_saved(family: str) -> None:
    own = {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}  # names of distilbert
    options = own if family == "distilbert" else {**SMALL, "intermediate_size": 64}
    options |= {"vocab_size": 60_000} | ({"embedding_size": 32} if family == "electra" else {})
    backbone = {"family": family, "options": options}
    state = tiny.model(text={"kind": "transformers", "backbone": backbone}).state_dict()
    assert not [name for name, tensor in state.items() if 60_000 in tensor.shape]


def test_a_model_that_was_saved_with_those_words_still_loads(tmp_path: Path) -> None:
    model = tiny.model(text={"kind": "transformers", "backbone": BERT}).eval()
    words = {"text_encoder.backbone.embeddings.word_embeddings.weight": torch.zeros(4, 32)}
    files = artifact_files(
        {**model.state_dict(), **words}, model.config, tiny.LABELS, tiny.tokenizer()
    )
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    expected = Predictor(Artifact(model, tiny.LABELS, tiny.tokenizer())).encode_texts(["a", "b"])
    np.testing.assert_array_equal(load_model(tmp_path).encode_texts(["a", "b"]), expected)


def test_without_the_library_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"pip install 'mmcore\[backbones\]'"):
        tiny.model(image=_image(VIT))
