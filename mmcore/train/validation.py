"""How good the model is on held-out samples, cheaply enough to look now and then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmcore.models.fusion_model import FusionModel, normalise_pixels
from mmcore.train.batches import Batch, make_batch
from mmcore.train.samples import Samples
from mmcore.train.showcase import Exhibit

_CHUNK = 64
_SEED = 0


@dataclass(frozen=True)
class Validation:
    """Some held-out samples; the first ``most`` of the split in a fixed random order.

    exhibits: those that are shown to people with what the model says of them.
    """

    samples: Samples
    most: int = 512
    exhibits: tuple[Exhibit, ...] = ()

    @torch.inference_mode()
    def measure(self, model: FusionModel) -> dict[str, float]:
        """Scores in 0..1, a task absent where no sample has a label for it; ``score`` is their
        mean. Retrieval is recall at 1 in a gallery of all these samples."""
        if not len(self.samples):
            return {}
        device = model.token_embedding.weight.device
        count = min(self.most, len(self.samples))
        batches = [
            make_batch(self.samples, _SEED, start, min(start + _CHUNK, count), 4)
            for start in range(0, count, _CHUNK)
        ]
        parts = [_predict(model, batch.to(device)) for batch in batches]
        merged = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        scores = _scores(merged)
        if scores:
            scores["score"] = float(np.mean(list(scores.values())))
        return scores


def _predict(model: FusionModel, batch: Batch) -> dict[str, Tensor]:
    image = model.encode_image(normalise_pixels(batch.pixels))
    text = model.encode_text(batch.captions)
    alone = model.fuse(model.missing("text", len(batch.pixels)), image)
    out = {
        "image": model.embed(image, "image"),
        "text": model.embed(text, "text"),
        "cluster": batch.cluster,
        "caption_text": batch.caption_text,
        "caption_weight": batch.caption_weight,
        "tags": (model.tagging(alone) > 0) == (batch.tags > 0),
        "tag_weight": batch.tag_weight,
        "sentiment": model.feeling(alone).argmax(dim=-1) == batch.sentiment,
        "sentiment_weight": batch.sentiment_weight,
        "question_weight": batch.question_weight,
        "answered": torch.zeros(0, dtype=torch.bool),
    }
    if len(batch.answer):
        questions = model.encode_text(batch.questions)
        fused = model.fuse(questions, image, batch.question_image, batch.question_text)
        out["answered"] = model.answering(fused).argmax(dim=-1) == batch.answer
    return out


def _scores(found: dict[str, Tensor]) -> dict[str, float]:
    scores = {}
    captioned = found["caption_weight"] > 0
    if captioned.any():
        image, text = found["image"][captioned], found["text"][captioned]
        clusters, texts = found["cluster"][captioned], found["caption_text"][captioned]
        best = (text @ image.T).argmax(dim=1)
        hit = (clusters[best] == clusters) | (texts[best] == texts)
        scores["retrieval"] = float(hit.float().mean())
    for name, hits, weight in (
        ("vqa", "answered", "question_weight"),
        ("tags", "tags", "tag_weight"),
        ("sentiment", "sentiment", "sentiment_weight"),
    ):
        known = found[weight] > 0
        if known.any():
            scores[name] = float(found[hits][known].float().mean())
    return scores
