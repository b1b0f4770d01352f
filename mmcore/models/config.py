"""What a fusion model is made of: a small validated record, stored as JSON beside the weights."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from mmcore.errors import UserError

SPECIAL_TOKENS = {"[PAD]": 0, "[BOS]": 1, "[EOS]": 2, "[MASK]": 3}
PAD, BOS, EOS, MASK = 0, 1, 2, 3
IMAGENET_MEAN, IMAGENET_DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
TOWER_FILE = "tower.onnx"  # in a model folder and in the dataset it comes from
MAX_ANSWER = 8  # tokens of a written answer, EOS among them


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TowerConfig(_Record):
    """A frozen image model from elsewhere, an ONNX file kept beside the weights."""

    sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="SHA-256 of the ONNX file, in hexadecimal"
    )
    mean: tuple[float, float, float] = Field(
        IMAGENET_MEAN, description="taken from 0..255 pixels; ImageNet's"
    )
    deviation: tuple[float, float, float] = Field(
        IMAGENET_DEVIATION, description="divides them after that"
    )


class BackboneConfig(_Record):
    """An architecture of the `transformers` library, with its own options."""

    family: str = Field(description="model_type of the library, e.g. vit, dinov2, convnext, bert")
    options: dict[str, JsonValue] = Field({}, description="of its configuration class")
    mean: tuple[float, float, float] = Field(
        IMAGENET_MEAN, description="for images: taken from 0..255 pixels; ImageNet's"
    )
    deviation: tuple[float, float, float] = Field(
        IMAGENET_DEVIATION, description="for images: divides them after that"
    )


class ImageEncoderConfig(_Record):
    """``cnn``: one residual stage per entry of widths/depths, each at half the resolution of the
    one before; ``convnext``: the same with depthwise convolutions; ``plain``: convolutions with
    batch norm, the first two stages at half the resolution of the one before; ``vit``: widths[-1],
    depths[-1] and heads of a plain vision transformer; ``tower``: a frozen ONNX model's features of
    widths[-1] channels, one for each ``patch`` x ``patch`` pixels; ``transformers``: a backbone of
    that library with such an output."""

    kind: Literal["cnn", "convnext", "plain", "vit", "tower", "transformers"] = Field(
        "cnn", description="plain, cnn, convnext, vit, tower or transformers"
    )
    size: int = Field(64, ge=16, le=1024, description="height and width of the input in pixels")
    patch: int = Field(4, ge=2, le=32, description="stride of the stem in pixels; plain has none")
    widths: tuple[int, ...] = Field(
        (64, 128), description="channels of each stage; the last are those of the output"
    )
    depths: tuple[int, ...] = Field((2, 3), description="blocks of each stage")
    heads: int = Field(4, ge=1, description="attention heads of a vit")
    tower: TowerConfig | None = Field(None, description="for kind tower: which model")
    backbone: BackboneConfig | None = Field(None, description="for kind transformers: which")

    @model_validator(mode="after")
    def _check(self) -> ImageEncoderConfig:
        if (self.kind == "tower") != (self.tower is not None):
            raise ValueError("tower is given for kind tower, and for no other")
        _check_backbone(self.kind, self.backbone)
        if len(self.widths) != len(self.depths) or not self.widths:
            raise ValueError("widths and depths must have the same length, at least 1")
        if self.size % self.stride:
            raise ValueError(f"size must be a multiple of the total stride {self.stride}")
        if self.kind == "vit" and self.widths[-1] % self.heads:
            raise ValueError("widths[-1] must be a multiple of heads")
        return self

    @property
    def stride(self) -> int:
        """Pixels between neighbouring output tokens."""
        if self.kind == "plain":
            return 2 ** min(2, len(self.widths)) * 2  # two strided stages, then a pooling
        return self.patch * (2 ** (len(self.widths) - 1) if self.kind in ("cnn", "convnext") else 1)

    @property
    def grid(self) -> int:
        """Output tokens along one side."""
        return self.size // self.stride


def _check_backbone(kind: str, backbone: BackboneConfig | None) -> None:
    if (kind == "transformers") != (backbone is not None):
        raise ValueError("backbone is given for kind transformers, and for no other")


class TextEncoderConfig(_Record):
    """``transformer``, bidirectional ``gru`` or ``lstm``, ``bag`` (each token on its own, without
    their order), or a backbone of the ``transformers`` library, over at most ``max_tokens``
    tokens."""

    kind: Literal["transformer", "gru", "lstm", "bag", "transformers"] = Field(
        "transformer", description="transformer, gru, lstm, bag or transformers"
    )
    depth: int = Field(2, ge=1, description="blocks or recurrent layers")
    heads: int = Field(4, ge=1, description="attention heads of a transformer")
    max_tokens: int = Field(
        40, ge=4, le=1024, description="longest text, read or written; the rest is cut off"
    )
    word_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of a text's tokens that a training step hides"
    )
    backbone: BackboneConfig | None = Field(None, description="for kind transformers: which")

    @model_validator(mode="after")
    def _check(self) -> TextEncoderConfig:
        _check_backbone(self.kind, self.backbone)
        return self

    @property
    def can_write_answers(self) -> bool:
        """Whether ``max_tokens`` has room for a word of a question and a written answer to it."""
        return self.max_tokens > MAX_ANSWER + 2


class AudioEncoderConfig(_Record):
    """``cnn`` or ``transformer`` over the log-mel spectrogram of a clip; each of ``widths`` halves
    its length (and, in a cnn, its pitches)."""

    kind: Literal["cnn", "transformer"] = Field("cnn", description="cnn or transformer")
    rate: int = Field(16_000, ge=4_000, le=48_000, description="samples a second")
    seconds: float = Field(4.0, gt=0, le=60, description="longest clip; the rest is not heard")
    window: int = Field(400, ge=32, description="samples of one spectrum")
    hop: int = Field(160, ge=16, description="samples between neighbouring spectra")
    mels: int = Field(64, ge=8, le=256, description="pitches of the spectrogram")
    widths: tuple[int, ...] = Field(
        (32, 64, 128), min_length=1, description="channels of each halving"
    )
    depth: int = Field(2, ge=1, description="blocks of a transformer")
    heads: int = Field(4, ge=1, description="attention heads of a transformer")

    @model_validator(mode="after")
    def _check(self) -> AudioEncoderConfig:
        if self.frames % self.stride or self.frames < self.stride:
            raise ValueError(f"seconds x rate / hop must be a multiple of {self.stride}")
        if self.kind == "cnn" and self.mels % self.stride:
            raise ValueError(f"mels must be a multiple of {self.stride}")
        if self.kind == "transformer" and self.widths[-1] % self.heads:
            raise ValueError("widths[-1] must be a multiple of heads")
        return self

    @property
    def samples(self) -> int:
        """Length of a clip in samples, a whole number of hops."""
        return self.frames * self.hop

    @property
    def frames(self) -> int:
        """Spectra of a clip."""
        return round(self.seconds * self.rate) // self.hop

    @property
    def stride(self) -> int:
        """Spectra between neighbouring tokens."""
        return int(2 ** len(self.widths))

    @property
    def tokens(self) -> int:
        """Tokens of a clip."""
        return self.frames // self.stride


class ModelConfig(_Record):
    """A whole model. ``audio`` adds a third modality. The last four fields come from the
    tokenizer and the training labels."""

    width: int = Field(128, ge=8, description="width of text, fusion, decoder and aligned tokens")
    embed_dim: int = Field(128, ge=8, description="width of the retrieval embedding")
    image: ImageEncoderConfig = Field(ImageEncoderConfig(), description="image encoder")
    text: TextEncoderConfig = Field(TextEncoderConfig(), description="text encoder")
    audio: AudioEncoderConfig | None = Field(None, description="audio encoder; null: no sound")
    alignment: Literal["linear", "conv", "attention", "pooled"] = Field(
        "attention", description="linear, conv, attention or pooled"
    )
    alignment_queries: int = Field(8, ge=1, description="learned queries of attention pooling")
    fusion: Literal["concat", "gated", "cross_attention"] = Field(
        "cross_attention", description="concat, gated or cross_attention"
    )
    fusion_depth: int = Field(2, ge=1, description="layers of cross_attention")
    decoder_depth: int = Field(2, ge=1, description="blocks of the caption decoder")
    heads: int = Field(4, ge=1, description="attention heads of fusion and decoder")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="share of the values that a training step sets to zero"
    )
    reconstruction_size: int = Field(16, ge=4, description="pixels per side of the image loss")
    vocab_size: int = Field(8, ge=4, description="token ids of the tokenizer")
    answers: int = Field(1, ge=1, description="answers to choose from")
    tags: int = Field(1, ge=1, description="tags to choose from")
    languages: int = Field(1, ge=1, description="languages of the captions")

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        for name, heads in (("heads", self.heads), ("text.heads", self.text.heads)):
            if self.width % heads:
                raise ValueError(f"width must be a multiple of {name}")
        if self.width % 2:
            raise ValueError("width must be even")
        if self.reconstruction_size > self.image.size:
            raise ValueError("reconstruction_size must not exceed image.size")
        return self

    @property
    def token_widths(self) -> dict[str, int]:
        """The modalities, and the width of their encoders' tokens."""
        widths = {"image": self.image.widths[-1], "text": self.width}
        return widths if self.audio is None else {**widths, "audio": self.audio.widths[-1]}


def preset_names() -> list[str]:
    """Names of the presets that come with mmcore, smallest first."""
    folder = resources.files("mmcore.models") / "presets"
    names = {item.name[:-5] for item in folder.iterdir() if item.name.endswith(".json")}
    order = ["nano", "tiny", "small", "base", "large"]
    return [n for n in order if n in names] + sorted(names - set(order))


def load_preset(name: str, **changes: Any) -> ModelConfig:
    """The preset ``name`` with fields replaced by ``changes``, where a mapping replaces single
    fields of a part: ``text={"kind": "lstm"}``. UserError if unknown or wrong."""
    if name not in preset_names():
        raise UserError(
            f"There is no model preset {name!r}; choose one of {', '.join(preset_names())}."
        )
    text = (resources.files("mmcore.models") / "presets" / f"{name}.json").read_text("utf-8")
    values = json.loads(text)
    for key, change in changes.items():
        part = values.get(key)
        both = isinstance(part, dict) and isinstance(change, dict)
        values[key] = {**part, **change} if both else change
    return parse_config(values, f"preset {name}" + (" with train.model" if changes else ""))


def parse_config(values: dict[str, Any], where: str) -> ModelConfig:
    """Validate a plain dict; UserError names ``where`` and the first field that is wrong."""
    try:
        return ModelConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"])) or "config"
        raise UserError(
            f"The model config in {where} is wrong at {path}: {first['msg']}."
        ) from None
