"""A model on disk: four files or five, none of which can run code when it is loaded.

model.safetensors   weights
config.json         architecture (ModelConfig)
labels.json         vocabularies (Labels)
tokenizer.json      tokenizer
tower.onnx          the frozen image tower, of a model that has one
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from mmcore.errors import UserError
from mmcore.models.config import TOWER_FILE, ModelConfig, parse_config
from mmcore.models.fusion_model import FusionModel
from mmcore.models.labels import Labels
from mmcore.models.text import TextTokenizer

WEIGHTS, CONFIG, LABELS, TOKENIZER = (
    "model.safetensors",
    "config.json",
    "labels.json",
    "tokenizer.json",
)
_TRAINING_ONLY = "training_only."  # the model's values that no prediction reads


@dataclass(frozen=True)
class Artifact:
    """A model with everything needed to use it."""

    model: FusionModel
    labels: Labels
    tokenizer: TextTokenizer
    tower: bytes | None = None


def artifact_files(
    weights: dict[str, torch.Tensor],
    config: ModelConfig,
    labels: Labels,
    tokenizer: TextTokenizer,
    tower: bytes | None = None,
) -> dict[str, bytes]:
    """File names and bytes of an artifact; equal inputs give equal bytes."""
    names = [name for name in sorted(weights) if not name.startswith(_TRAINING_ONLY)]
    tensors = {name: weights[name].detach().cpu().contiguous() for name in names}
    return {
        WEIGHTS: save(tensors, metadata={"format": "pt"}),
        CONFIG: _json(config.model_dump(mode="json")),
        LABELS: _json(labels.model_dump(mode="json")),
        TOKENIZER: tokenizer.json_text.encode("utf-8"),
        **({} if tower is None else {TOWER_FILE: tower}),
    }


def save_artifact(folder: str | PathLike[str], artifact: Artifact) -> None:
    """Write the files; each appears complete or not at all."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    model = artifact.model
    files = artifact_files(
        model.state_dict(), model.config, artifact.labels, artifact.tokenizer, artifact.tower
    )
    for name, data in files.items():
        temporary = target / f".{name}.partial"
        temporary.write_bytes(data)
        os.replace(temporary, target / name)


def load_artifact(folder: str | PathLike[str]) -> Artifact:
    """Read the files; UserError where one is missing, damaged or does not fit the others."""
    source = Path(folder)
    config = parse_config(_read_json(source, CONFIG), str(source / CONFIG))
    try:
        labels = Labels.model_validate(_read_json(source, LABELS))
    except ValidationError as error:
        first = error.errors()[0]["msg"]
        raise UserError(f"{source / LABELS} is not a list of labels: {first}.") from None
    tokenizer = TextTokenizer(_read(source, TOKENIZER).decode("utf-8", "replace"))
    _check_fit(source, config, labels, tokenizer)
    try:
        weights = load(_read(source, WEIGHTS))
    except SafetensorError as error:
        raise UserError(f"{source / WEIGHTS} is damaged: {error}.") from None
    model = FusionModel(config)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first_line = str(error).splitlines()[-1].strip()
        raise UserError(f"The weights in {source} do not fit config.json: {first_line}") from None
    tower = _read(source, TOWER_FILE) if config.image.kind == "tower" else None
    return Artifact(model.eval(), labels, tokenizer, tower)


def _check_fit(source: Path, config: ModelConfig, labels: Labels, tok: TextTokenizer) -> None:
    pairs = (
        ("tokenizer.json", tok.size, config.vocab_size),
        ("answers", max(1, len(labels.answers)), config.answers),
        ("tags", max(1, len(labels.tags)), config.tags),
        ("languages", len(labels.languages), config.languages),
    )
    for name, found, expected in pairs:
        if found != expected:
            raise UserError(
                f"The files in {source} do not belong together: {name} has {found} entries, "
                f"config.json says {expected}."
            )


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError:
        raise UserError(
            f"{folder} is not a model folder: {name} is missing; give the folder of a candidate "
            "or of a registered model."
        ) from None


def _read_json(folder: Path, name: str) -> dict[str, object]:
    try:
        values = json.loads(_read(folder, name))
    except ValueError:
        raise UserError(f"{folder / name} is not JSON; the model folder is damaged.") from None
    if not isinstance(values, dict):
        raise UserError(f"{folder / name} is not a JSON object; the model folder is damaged.")
    return values


def _json(values: dict[str, object]) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")
