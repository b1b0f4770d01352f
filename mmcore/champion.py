"""The champion of earlier days at work on a later one: it compares pictures and labels them.

Workers load it from the lake, so they need no disk in common with whoever asked the registry.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcore.dedup.stage_semantic import Eyes
from mmcore.errors import UserError
from mmcore.lake import Dataset, Lake
from mmcore.recipe import Recipe
from mmcore.weak.champion import Champion, seen_table
from mmcore.weak.generated import FEELING_NAMES, LabelingModel, Seen

if TYPE_CHECKING:
    from mmcore.models.predictor import Predictor


@dataclass(frozen=True)
class Weights:
    """Where a worker finds the model: in the lake, or, if it was swept there, in a folder."""

    version: str
    digest: str
    dataset: Dataset | None = field(compare=False)
    folder: Path = field(compare=False)


def find_champion(recipe: Recipe, lake: Lake, day: str) -> Weights | None:
    """The champion that a run of `day` starts from, or None while there is none."""
    from mmcore import registry

    found = registry.champion(recipe.registry, lake, recipe.name, before=day)
    if found is None:
        return None
    version, folder = found
    try:
        dataset = lake.version("candidate", version.day or None, version.candidate)
    except UserError:
        dataset = None
    return Weights(version.label, version.candidate, dataset, folder)


def eyes(weights: Weights) -> Eyes:
    """For semantic duplicates."""
    return Eyes(weights.digest, partial(_embed, weights))


def labeler(weights: Weights) -> LabelingModel:
    """For labels."""
    return LabelingModel(weights.version, weights.digest, partial(_look, weights))


def functions(weights: Weights) -> Champion:
    """As labeling functions beside others."""
    return Champion(
        weights.digest, weights.version, partial(_see, weights), partial(_read, weights)
    )


def _see(weights: Weights, images: list[bytes]) -> pa.Table:
    """`mmcore.weak.champion.SEEN` of encoded images."""
    model = _loaded(weights)
    pixels = model.decode(images)
    return seen_table(
        model.encode_images(pixels),
        model.labels.tags,
        model.tags(pixels),
        model.labels.sentiment,
        model.sentiment(pixels),
    )


def _read(weights: Weights, texts: list[str]) -> NDArray[np.float32]:
    return _loaded(weights).encode_texts(texts)


def _embed(weights: Weights, images: list[bytes]) -> NDArray[np.float32]:
    return _loaded(weights).encode_images(images)


def _look(weights: Weights, images: list[bytes], texts: list[str]) -> Seen:
    """Everything the champion has to say of some images, decoded once, and some texts."""
    model = _loaded(weights)
    pixels = model.decode(images)
    captions = model.caption(pixels)
    languages = model.labels.languages or ("",)
    feelings = model.sentiment(pixels)
    order = [model.labels.sentiment.index(name) for name in FEELING_NAMES]
    return Seen(
        image=model.encode_images(pixels),
        text=model.encode_texts(texts),
        caption=captions,
        lang=[languages[0]] * len(captions),
        caption_vector=model.encode_texts(captions),
        tag_names=tuple(model.labels.tags),
        tags=model.tags(pixels),
        sentiment=feelings[:, order],
    )


@lru_cache(maxsize=1)
def _loaded(weights: Weights) -> Predictor:
    """One model a worker: loading it costs more than labelling a part."""
    from mmcore.models import load_model

    if weights.dataset is None:
        return load_model(weights.folder)
    with TemporaryDirectory() as folder:
        return load_model(weights.dataset.download(Path(folder)))
