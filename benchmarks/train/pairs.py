"""Photographs and captions of Flickr8k, for both sides of a comparison alike."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def encoded_pairs(flickr8k: Path, count: int) -> list[tuple[str, bytes, str]]:
    """Name, JPEG and one caption of the first ``count`` photographs of the train split."""
    with open(flickr8k / "annotations.jsonl") as lines:
        records = [json.loads(line) for line in lines]
    captions = {r["image"]: r["captions"] for r in records if r["split"] == "train"}
    found: list[tuple[str, bytes, str]] = []
    for name, data in _members(flickr8k):
        if name in captions:
            found.append((name, data, captions[name][len(found) % len(captions[name])]))
        if len(found) == count:
            return found
    raise SystemExit(f"{flickr8k} has only {len(found)} photographs of its train split.")


def pair_batches(
    flickr8k: Path, pixels: int, batch: int, count: int, tokenize: Callable[[list[str]], Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """``count`` batches: float32 [B, 3, S, S] around zero, token ids [B, context]."""
    pairs = encoded_pairs(flickr8k, batch * count)
    images = torch.stack([_normalised(data, pixels) for _, data, _ in pairs])
    ids = tokenize([text for _, _, text in pairs])
    return list(zip(images.split(batch), ids.split(batch), strict=True))


def _members(flickr8k: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(flickr8k.glob("images-*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is not None:
                    yield Path(member.name).name, file.read()


def _normalised(data: bytes, size: int) -> Tensor:
    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    values = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
    return (values.view(size, size, 3).permute(2, 0, 1).float() - 115) / 68
