"""Encoders of the `transformers` library (optional extra): its architectures under our alignment.

They are built from their configuration, without a download, and their weights are part of the
model's safetensors. Pretrained weights come from a local folder, when a training starts.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mmcore.errors import UserError
from mmcore.models.config import BackboneConfig, ImageEncoderConfig

_WEIGHTS = "model.safetensors"


class TransformersImageEncoder(nn.Module):
    """Any image model whose last hidden state is a grid or a sequence that ends with the grid."""

    def __init__(self, config: ImageEncoderConfig) -> None:
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

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, S, S] -> [B, G * G, W]; UserError where the shape differs."""
        states = self.backbone(pixel_values=pixels * self.scale + self.offset).last_hidden_state
        if states.ndim == 4:
            states = states.flatten(2).transpose(1, 2)
        places, width = self.config.grid**2, self.config.widths[-1]
        if states.shape[1] < places or states.shape[2] != width:
            raise UserError(
                f"The image backbone gives {states.shape[1]} tokens of width {states.shape[2]}; "
                f"the config says {places} of {width}: correct image.widths, size or patch."
            )
        return states[:, -places:]  # class and register tokens stand in front


class TransformersTextEncoder(nn.Module):
    """Any text model that takes embedded tokens; they are our tokenizer's."""

    def __init__(self, config: BackboneConfig, width: int) -> None:
        super().__init__()
        self.backbone = _build(config)
        found = getattr(self.backbone.config, "hidden_size", None)
        if found != width:
            raise UserError(f"The text backbone's hidden_size {found} must be the width {width}.")

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embedded tokens [B, T, D] and mask [B, T] -> [B, T, D]."""
        return self.backbone(inputs_embeds=x, attention_mask=mask.long()).last_hidden_state


def load_pretrained(encoder: nn.Module, folder: Path) -> str:
    """Start a backbone from ``model.safetensors`` in a folder; says in one line what was taken.

    Tensors are found by name, below any prefix (``vit.``); UserError where none or fewer than
    half of the encoder's weights are there.
    """
    if not isinstance(encoder, TransformersImageEncoder | TransformersTextEncoder):
        raise UserError("Pretrained weights need an encoder of kind transformers (train.model).")
    try:
        given = load_file(folder / _WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / _WEIGHTS} cannot be read: {error}.") from None
    wanted = encoder.backbone.state_dict()
    prefix = f"{getattr(encoder.backbone, 'base_model_prefix', '')}."
    named = {name.removeprefix(prefix): tensor for name, tensor in given.items()}
    taken = {n: named[n] for n, t in wanted.items() if n in named and named[n].shape == t.shape}
    if 2 * len(taken) < len(wanted):
        raise UserError(
            f"Only {len(taken)} of {len(wanted)} tensors of the backbone are in "
            f"{folder / _WEIGHTS}: it is of another architecture."
        )
    encoder.backbone.load_state_dict(taken, strict=False)
    return f"{len(taken)} of {len(wanted)} tensors from {folder.name}"


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
