"""A tiny model and a tiny tokenizer for tests."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import torch
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

from mmcore.models.artifact import Artifact
from mmcore.models.config import ModelConfig
from mmcore.models.fusion_model import FusionModel
from mmcore.models.labels import Labels
from mmcore.models.text import TextTokenizer

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 220)}
PLACES = {"left": (2, 10, 14, 22), "right": (18, 10, 30, 22)}
LABELS = Labels(
    answers=("red", "green", "blue", "left", "right"),
    tags=("red", "green", "blue"),
    languages=("en", "de"),
)

ARCHITECTURE: dict[str, Any] = {
    "width": 32,
    "embed_dim": 16,
    "image": {"size": 32, "patch": 4, "widths": [16, 32], "depths": [1, 1], "heads": 2},
    "text": {"depth": 1, "heads": 2, "max_tokens": 16},
    "alignment_queries": 2,
    "fusion_depth": 1,
    "decoder_depth": 1,
    "heads": 2,
    "reconstruction_size": 8,
}
"""A model that steps in milliseconds; what it lacks are the sizes that data gives."""


@lru_cache(maxsize=1)
def tokenizer() -> TextTokenizer:
    """A byte-level tokenizer that knows the words of the tiny world."""
    built = Tokenizer(BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["[PAD]", "[BOS]", "[EOS]", "[MASK]"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [f"a {c} square on the {p}" for c in COLOURS for p in PLACES]
    texts += ["what colour is the square?", "where is the square?"]
    built.train_from_iterator(texts * 4, trainer)
    return TextTokenizer(built.to_str())


def config(**changes: Any) -> ModelConfig:
    """The architecture with the sizes of the tiny tokenizer and labels, and with changes."""
    values: dict[str, Any] = {
        **ARCHITECTURE,
        "vocab_size": tokenizer().size,
        "answers": len(LABELS.answers),
        "tags": len(LABELS.tags),
        "languages": len(LABELS.languages),
    }
    for name, value in changes.items():
        values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
    return ModelConfig.model_validate(values)


def model(seed: int = 0, **changes: Any) -> FusionModel:
    """A model with seeded random weights."""
    torch.manual_seed(seed)
    return FusionModel(config(**changes))


def artifact(seed: int = 0, **changes: Any) -> Artifact:
    """The model with labels and tokenizer."""
    return Artifact(model(seed, **changes).eval(), LABELS, tokenizer())


def picture(colour: str, place: str, shade: int = 255, size: int = 32) -> bytes:
    """A PNG of a coloured square on a plain ground."""
    image = Image.new("RGB", (32, 32), (shade, shade, shade))
    ImageDraw.Draw(image).rectangle(PLACES[place], fill=COLOURS[colour])
    out = io.BytesIO()
    image.resize((size, size)).save(out, "PNG")
    return out.getvalue()


def record(colour: str, place: str, number: int = 0, lang: str = "en") -> dict[str, Any]:
    """The labels of such a picture, as a shard's JSON has them."""
    return {
        "sha256": f"{number:064x}",
        "cluster": f"cluster-{number}",
        "captions": [
            {
                "text": f"a {colour} square on the {place}",
                "lang": lang,
                "confidence": 0.9,
                "source": "caption",
            }
        ],
        "qa": [
            {"question": "what colour is the square?", "answer": colour, "confidence": 1.0},
            {"question": "where is the square?", "answer": place, "confidence": 1.0},
        ],
        "tags": [{"tag": colour, "confidence": 0.9, "source": "keyword"}],
        "sentiment": {
            "label": "positive" if place == "left" else "negative",
            "confidence": 0.8,
            "source": "comments",
        },
    }
