"""What a recipe brings to a training from elsewhere: a frozen tower, weights to start from.

Each becomes a dataset of the lake, so that workers everywhere can read it and the candidate says
what it was made from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mmcore.errors import UserError
from mmcore.lake import Dataset, Lake
from mmcore.models.config import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    TOWER_FILE,
    ImageEncoderConfig,
)

_WEIGHTS = "model.safetensors"


class TowerFile(BaseModel):
    """A frozen image model that a training stands on (LiT, arXiv:2111.07991)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(description="ONNX, its output the last feature map; relative to this file")
    size: int = Field(224, ge=16, le=1024, description="side of the pictures that it takes")
    mean: tuple[float, float, float] = Field(
        IMAGENET_MEAN, description="taken from 0..255 pixels; ImageNet's"
    )
    deviation: tuple[float, float, float] = Field(
        IMAGENET_DEVIATION, description="divides them after that"
    )


class Pretrained(BaseModel):
    """Weights that encoders of kind transformers start from: .safetensors files, or folders with a
    model.safetensors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str | None = Field(None, description="of the image encoder; relative to this file")
    text: str | None = Field(None, description="of the text encoder; relative to this file")

    @model_validator(mode="after")
    def _something(self) -> Pretrained:
        if self.image is None and self.text is None:
            raise ValueError("give image, text or both, or leave pretrained out")
        return self

    @property
    def given(self) -> dict[str, str]:
        """Paths by encoder."""
        return {k: v for k, v in (("image", self.image), ("text", self.text)) if v is not None}


@dataclass(frozen=True)
class Brought:
    """What a recipe brings, as datasets. inputs: what decides a training besides their contents;
    where the files lay does not."""

    tower: Dataset | None
    pretrained: Dataset | None
    inputs: dict[str, Any]

    @staticmethod
    def of(lake: Lake, tower: TowerFile | None, pretrained: Pretrained | None) -> Brought:
        """UserError where a file cannot be read."""
        settings = tower.model_dump(mode="json", exclude={"file"}) if tower else None
        return Brought(
            bring_tower(lake, tower) if tower else None,
            bring_weights(lake, pretrained) if pretrained else None,
            {"tower": settings, "pretrained": None},
        )

    @property
    def datasets(self) -> list[Dataset]:
        return [found for found in (self.tower, self.pretrained) if found is not None]


def bring_tower(lake: Lake, tower: TowerFile) -> Dataset:
    """The dataset `tower`. UserError where the file cannot be read."""
    return _bring(lake, "tower", {TOWER_FILE: _read(Path(tower.file), "tower.file")})


def bring_weights(lake: Lake, pretrained: Pretrained) -> Dataset:
    """The dataset `pretrained`, `image.safetensors` and `text.safetensors`. UserError where a file
    cannot be read."""
    files = {}
    for encoder, path in pretrained.given.items():
        file = Path(path)
        file = file / _WEIGHTS if file.is_dir() else file
        files[f"{encoder}.safetensors"] = _read(file, f"pretrained.{encoder}")
    return _bring(lake, "pretrained", files)


def tower_encoder(tower: Dataset, given: TowerFile) -> ImageEncoderConfig:
    """The image encoder that stands on a tower. UserError where it is none that can be used."""
    from mmcore.models.tower import describe_tower

    return describe_tower(tower.read_file(TOWER_FILE), given.size, given.mean, given.deviation)


def _read(file: Path, key: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"train.{key}: {file} cannot be read: {error.strerror}.") from None


def _bring(lake: Lake, name: str, files: dict[str, bytes]) -> Dataset:
    inputs = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    found = lake.reusable(name, None, inputs, [])
    if found is not None:
        return found
    writer = lake.writer(name, None, format="files")
    parts = [writer.write_file(file, data) for file, data in sorted(files.items())]
    return writer.commit(parts, [], inputs)
