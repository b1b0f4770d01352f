"""A world small enough to judge by eye, and a model of it that computes instead of learning.

Every image is one coloured square on the left or on the right. The model sees colour and side; a
square whose number its settings name is seen as black, so its score is known in advance.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmcore.lake import Dataset, Lake
from mmcore.shards.index import ShardName
from mmcore.shards.writer import Sample, pack_shard, sample_key

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (40, 60, 220),
    "yellow": (230, 220, 40),
    "black": (10, 10, 10),
}
SIDES = ("left", "right")
FEELINGS = {"left": "negative", "right": "positive"}
_NAMES = tuple(COLOURS)
_SIZE = 32


@dataclass(frozen=True)
class Square:
    """One image of the world; no two look the same."""

    number: int

    @property
    def colour(self) -> str:
        return _NAMES[self.number % 4]

    @property
    def side(self) -> str:
        return SIDES[self.number // 4 % 2]

    @property
    def caption(self) -> str:
        return f"a {self.colour} square on the {self.side}"

    @property
    def image(self) -> bytes:
        pixels = np.full((_SIZE, _SIZE, 3), 255, np.uint8)
        start = 2 if self.side == "left" else 18
        pixels[8:20, start : start + 12] = COLOURS[self.colour]
        # The number as grey dots along the lower edge, so that every image has bytes of its own.
        bits = [self.number >> bit & 1 for bit in range(8)]
        pixels[28:, :] = np.repeat(np.array(bits, np.uint8) * 100 + 100, 4)[None, :, None]
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, "PNG")
        return sink.getvalue()

    @property
    def sha256(self) -> str:
        return sha256(self.image).hexdigest()

    def record(self) -> dict[str, Any]:
        """All that may be said about it, in the form of `annotations.jsonl`."""
        return {
            "captions": [self.caption, f"{self.side}: a {self.colour} square"],
            "qa": [
                {"question": "what colour is it?", "answer": self.colour, "type": "colour"},
                {"question": "where is it?", "answer": self.side, "type": "where"},
            ],
            "tags": [self.colour, self.side],
            "sentiment": FEELINGS[self.side],
        }

    def sample(self, split: str, source: str = "weak") -> Sample:
        """The same as a shard's sample."""
        said = {"lang": "en", "confidence": 0.9, "source": source}
        record = self.record()
        labels = {
            "sha256": self.sha256,
            "cluster": self.sha256,
            "split": split,
            "captions": [{"text": text, **said} for text in record["captions"]],
            "qa": [{**qa, **said} for qa in record["qa"]],
            "tags": [{"tag": tag, **said} for tag in record["tags"]],
            "sentiment": {"label": record["sentiment"], **said},
            "page_url": f"http://site.example/{self.number}.html",
            "license": None,
            "consent": json.dumps({"robots": "allowed"}),
        }
        return Sample(sample_key(self.sha256), self.image, self.caption, labels)


@dataclass(frozen=True)
class _Names:
    tags: tuple[str, ...] = (*_NAMES, *SIDES, "purple")
    answers: tuple[str, ...] = (*_NAMES, *SIDES)


class ColourModel:
    """Predicts from colour and side; `mistaken`: numbers of squares it takes for black ones."""

    labels = _Names()

    def __init__(self, mistaken: Sequence[int]) -> None:
        self._mistaken = frozenset(mistaken)

    def decode(self, images: list[bytes]) -> np.ndarray:
        return np.stack(
            [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in images]
        )

    def encode_images(self, images: np.ndarray) -> np.ndarray:
        return _embed([f"{colour} {side}" for colour, side in map(self._see, images)])

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return _embed(texts)

    def caption(self, images: np.ndarray) -> list[str]:
        return [f"a {colour} square on the {side}" for colour, side in map(self._see, images)]

    def answer(self, images: np.ndarray | None, questions: list[str]) -> list[tuple[str, float]]:
        if images is None:
            return [("red" if "colour" in question else "left", 0.3) for question in questions]
        seen = zip(map(self._see, images), questions, strict=True)
        return [(colour if "colour" in q else side, 0.9) for (colour, side), q in seen]

    def tags(self, images: np.ndarray | None, texts: list[str] | None) -> np.ndarray:
        if images is None:
            said = [text.split() for text in texts or []]
        else:
            said = [list(self._see(image)) for image in images]
        names = self.labels.tags
        return np.array([[0.9 * (name in words) for name in names] for words in said], np.float32)

    def sentiment(self, images: np.ndarray | None, texts: list[str] | None) -> np.ndarray:
        if images is None:
            return np.tile(np.array([[0.2, 0.6, 0.2]], np.float32), (len(texts or []), 1))
        left = np.array([self._see(image)[1] == "left" for image in images])[:, None]
        return np.where(left, [[0.8, 0.1, 0.1]], [[0.1, 0.1, 0.8]]).astype(np.float32)

    def _see(self, image: np.ndarray) -> tuple[str, str]:
        halves = [image[8:20, 2:14].mean(axis=(0, 1)), image[8:20, 18:30].mean(axis=(0, 1))]
        side = int(halves[1].min() < halves[0].min())
        near = [np.abs(halves[side] - np.array(rgb)).sum() for rgb in COLOURS.values()]
        number = sum(int(image[30, 4 * bit, 0] > 150) << bit for bit in range(8))
        colour = "black" if number in self._mistaken else _NAMES[int(np.argmin(near))]
        return colour, SIDES[side]


def load_colours(folder: Path) -> ColourModel:
    """The model that `write_candidate` wrote."""
    return ColourModel(json.loads((folder / "mistaken.json").read_text()))


def write_candidate(lake: Lake, day: str, mistaken: Sequence[int] = ()) -> Dataset:
    """A colour model as `candidate@DAY`."""
    writer = lake.writer("candidate", day, format="files")
    part = writer.write_file("mistaken.json", json.dumps(list(mistaken)).encode())
    return writer.commit([part], [], {})


def write_shards(lake: Lake, day: str, samples: Sequence[Sample], split: str = "test") -> Dataset:
    """Samples as `shards@DAY`, in one tar of one split."""
    name = ShardName(split, 0)
    tar, index = pack_shard(name, list(samples))
    writer = lake.writer("shards", day, format="tar")
    parts = [
        writer.write_file(name.tar, tar, rows=len(samples)),
        writer.write_file(name.index, index),
    ]
    return writer.commit(parts, [], {})


def _embed(texts: Sequence[str]) -> np.ndarray:
    words = [*_NAMES, *SIDES]
    rows = np.array([[float(word in text) for word in words] for text in texts], np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
