"""Encoders of the `transformers` library (optional extra): its architectures under our alignment.

They are built from their configuration, without a download, and their weights are part of the
model's safetensors. Pretrained weights come as a file, when a training starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from mmcore.errors import UserError
from mmcore.models.config import BackboneConfig, ImageEncoderConfig, TextEncoderConfig


class TransformersImageEncoder(nn.Module):
    """Any image model whose last hidden state is a grid or a sequence that ends with the grid."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        """UserError where the backbone cannot be built, or does not give the config's tokens."""
        super().__init__()
        assert config.backbone is not None
        self.config = config
        self.backbone = _build(config.backbone)
        # our pixels are (x - 127.5) / 64: as the backbone's authors have them
        scale = torch.tensor([64 / d for d in config.backbone.deviation])
        offset = torch.tensor([127.5 - m for m in config.backbone.mean])
        offset = offset / torch.tensor(config.backbone.deviation)
        self.register_buffer("scale", scale[:, None, None], persistent=False)
        self.register_buffer("offset", offset[:, None, None], persistent=False)
        self.scale: Tensor
        self.offset: Tensor
        self._check_shape(config.backbone.family)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, S, S] -> [B, G * G, W]."""
        places = self.config.grid**2
        return self._states(pixels)[:, -places:]  # class and register tokens stand in front

    def _states(self, pixels: Tensor) -> Tensor:
        states = self.backbone(pixel_values=pixels * self.scale + self.offset).last_hidden_state
        return states.flatten(2).transpose(1, 2) if states.ndim == 4 else states

    def _check_shape(self, family: str) -> None:
        size, places, width = self.config.size, self.config.grid**2, self.config.widths[-1]
        pixels = torch.zeros(1, 3, size, size, device=self.scale.device)
        if pixels.is_meta:  # a model of shapes only
            return
        with _trial(
            self.backbone,
            f"The image backbone {family!r} cannot read pictures of {size} x {size} pixels",
            "set image_size and patch_size in train.model.image.backbone.options as image.size "
            "and image.patch have them",
        ):
            states = self._states(pixels)
        if states.shape[1] < places or states.shape[2] != width:
            raise UserError(
                f"The image backbone {family!r} gives {states.shape[1]} tokens of width "
                f"{states.shape[2]}; the config says {places} of {width}: correct image.widths, "
                "size or patch, or patch_size in train.model.image.backbone.options."
            )


class TransformersTextEncoder(nn.Module):
    """Any text model that takes embedded tokens; they are our tokenizer's, so the backbone's own
    table of words is left out."""

    def __init__(self, config: TextEncoderConfig, width: int) -> None:
        """UserError where the backbone cannot be built, or cannot read texts of the config."""
        super().__init__()
        assert config.backbone is not None
        self.backbone = _build(config.backbone)
        found = getattr(self.backbone.config, "hidden_size", None)
        if found != width:
            raise UserError(f"The text backbone's hidden_size {found} must be the width {width}.")
        self._without_words()
        self._check_length(config.backbone.family, config.max_tokens, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embedded tokens [B, T, D] and mask [B, T] -> [B, T, D]."""
        return self.backbone(inputs_embeds=x, attention_mask=mask.long()).last_hidden_state

    def _without_words(self) -> None:
        """Models that were saved while the table was kept still load."""
        try:
            words = self.backbone.get_input_embeddings()  # type: ignore[operator]
            named = [name for name, module in self.backbone.named_modules() if module is words]
            self.backbone.set_input_embeddings(nn.Identity())  # type: ignore[operator]
        except NotImplementedError:  # the library does not say where it is
            return
        unused = [f"backbone.{name}.weight" for name in named]
        self.register_load_state_dict_pre_hook(partial(_leave_out, unused))

    def _check_length(self, family: str, tokens: int, width: int) -> None:
        device = next(self.backbone.parameters()).device
        mask = torch.ones(1, tokens, dtype=torch.bool, device=device)
        if mask.is_meta:  # a model of shapes only
            return
        with _trial(
            self.backbone,
            f"The text backbone {family!r} cannot read {tokens} embedded tokens of width {width}",
            "correct train.model.text.backbone.options (max_position_embeddings with room for "
            "text.max_tokens, an embedding_size of the width), or choose another family",
        ):
            self(torch.zeros(1, tokens, width, device=device), mask)


def _leave_out(
    names: list[str], module: nn.Module, state: dict[str, Any], prefix: str, *_: object
) -> None:
    for name in names:
        state.pop(prefix + name, None)


@contextmanager
def _trial(backbone: nn.Module, fails: str, remedy: str) -> Iterator[None]:
    """One forward pass on nothing, before a training finds out: without a gradient, and without a
    change to running averages or random numbers. UserError where it fails."""
    backbone.eval()
    try:
        with torch.no_grad():
            yield
    except Exception as error:  # whatever a foreign forward may raise
        raise UserError(f"{fails} ({_first_line(error)}): {remedy}.") from None
    finally:
        backbone.train()


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".")


def load_pretrained(encoder: nn.Module, weights: bytes) -> str:
    """Start a backbone from the contents of a .safetensors file; says how much was taken.

    Tensors are found by name, with or without the library's own prefix (``vit.``); UserError where
    none or fewer than half of the encoder's weights are there.
    """
    if not isinstance(encoder, TransformersImageEncoder | TransformersTextEncoder):
        raise UserError("Pretrained weights need an encoder of kind transformers (train.model).")
    try:
        given = load(weights)
    except SafetensorError as error:
        raise UserError(
            f"The pretrained weights are no whole .safetensors file: {error}."
        ) from None
    wanted = encoder.backbone.state_dict()
    prefix = f"{getattr(encoder.backbone, 'base_model_prefix', '')}."
    named = {name.removeprefix(prefix): tensor for name, tensor in given.items()}
    taken = {n: named[n] for n, t in wanted.items() if n in named and named[n].shape == t.shape}
    if 2 * len(taken) < len(wanted):
        raise UserError(
            f"Only {len(taken)} of {len(wanted)} tensors of the backbone are in the pretrained "
            "weights: they are of another architecture; correct backbone.family and options."
        )
    encoder.backbone.load_state_dict(taken, strict=False)
    return f"{len(taken)} of {len(wanted)} tensors"


def _build(config: BackboneConfig) -> nn.Module:
    library = _transformers()
    try:
        settings = library.AutoConfig.for_model(config.family, **config.options)
        model: nn.Module = library.AutoModel.from_config(settings)
    except Exception as error:  # whatever a foreign constructor may raise on bad options
        raise UserError(
            f"transformers cannot build a backbone {config.family!r}: {error}."
        ) from None
    pooler = getattr(model, "pooler", None)
    if pooler is not None and any(True for _ in pooler.parameters()):
        model.pooler = None  # type: ignore[assignment]  # we pool ourselves
    return model


def _transformers() -> ModuleType:
    try:
        import transformers
    except ImportError:
        raise UserError(
            "This model has an encoder of the transformers library: "
            "pip install 'mmcore[backbones]'."
        ) from None
    return transformers
