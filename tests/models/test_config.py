"""What docs/model.md says of the fields of a model is what the code says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from mmcore.models import ModelConfig, load_preset
from mmcore.models.config import AudioEncoderConfig, BackboneConfig, TowerConfig
from mmcore.models.fusion_model import FusionModel

DOCS = Path(__file__).parents[2] / "docs" / "model.md"
PARTS = {"tower": TowerConfig, "backbone": BackboneConfig, "audio": AudioEncoderConfig}
OF_DATA = ("vocab_size", "answers", "tags", "languages")  # docs/model.md has a sentence for them


def _rows(part: Any, nano: dict[str, Any], path: str = "") -> Iterator[str]:
    """A line of the table for each field, and below a part those of its own fields."""
    for name, field in part.model_fields.items():
        if not path and name in OF_DATA:
            continue
        default = nano.get(name, field.get_default())
        if isinstance(default, dict) and default:
            yield from _rows(type(field.default), default, f"{path}{name}.")
            continue
        shown = "" if field.is_required() else f"`{_shown(default)}`"
        yield f"| `{path}{name}` | {shown} | {field.description} |"
        if name in PARTS and path != "text.":  # whose backbone is as the image's
            yield from _rows(PARTS[name], {}, f"{path}{name}.")


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def test_the_docs_have_a_line_for_every_field() -> None:
    text = DOCS.read_text("utf-8")
    rows = list(_rows(ModelConfig, load_preset("nano").model_dump(mode="json")))
    assert len(rows) > 40
    assert "\n".join(rows) in text, "\n" + "\n".join(rows)  # what docs/model.md shall have
    assert all(f"`{name}`" in text for name in OF_DATA)


def test_the_example_with_borrowed_encoders_builds() -> None:
    [example] = re.findall(r"```yaml\n(train:\n  model:\n.*?)```", DOCS.read_text("utf-8"), re.S)
    model = FusionModel(load_preset("nano", **yaml.safe_load(example)["train"]["model"]))
    tokens = model.encode_image(torch.zeros(2, 3, 64, 64)).tokens
    assert tokens.shape == (2, 64, 128)
