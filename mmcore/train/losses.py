"""The weighted sum of task losses on one batch.

alpha * image reconstruction (MSE) + beta * contrastive, and beside them matching, caption,
questions, tags and sentiment; written answers, masked text and consistency where asked. Every loss
is a sum over valid labels, weighted with their confidence; dividing by the *global* weight and by
the loss of a guess (ln B, ln V, ln C ...) makes 1.0 "knows nothing" for each of them, so that
weights of one are a fair start (mmcore.train.balance).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcore.models.attention import FEW_SHAPES, Packing, packed
from mmcore.models.config import PAD
from mmcore.models.fusion_model import FusionModel, is_features
from mmcore.models.layers import Encoded, full_precision
from mmcore.models.prompts import question_prompts, with_answers
from mmcore.train.augment import Augmentation, Said, view
from mmcore.train.balance import BIAS
from mmcore.train.batches import Batch
from mmcore.train.consistency import STRENGTH, consistency_sum, unlabelled
from mmcore.train.contrastive import SoftTargets, contrastive_sum, hard_negatives
from mmcore.train.gradient_cache import CachedGradients, cache_gradients, kept_buffers
from mmcore.train.masked_text import hidden_places, masked_text_sum
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LossWeights

TASKS = (
    "reconstruction",
    "contrastive",
    "matching",
    "caption",
    "vqa",
    "tags",
    "sentiment",
    "local_tags",
    "generative_vqa",
    "masked_text",
    "consistency",
)


@dataclass(frozen=True)
class Modes:
    """Shares of the samples that see one modality only, so that the other may be missing.

    blind_questions: questions without their image. text_only, both: what tags and sentiment are
    told from; the rest sees the image alone.
    """

    blind_questions: float = 0.08
    text_only: float = 0.15
    both: float = 0.15


class Encodings(NamedTuple):
    """What the tasks of one batch share. pairs: the unit embeddings of P image-text pairs, each
    [P, E]: every image with its caption, then with its next one, ..."""

    pixels: Tensor
    image: Encoded
    text: Encoded
    pairs: tuple[Tensor, Tensor]


class TaskLosses(nn.Module):
    """Runs the model on a batch and sums the loss of every task.

    answers: int64 [C, A], the tokens of each answer with EOS, PAD behind; needed by
    generative_vqa only. teacher: a slower copy of the model whose opinion softens the contrastive
    targets. threshold: see mmcore.train.consistency. in_step: run the same parts of the model
    whatever labels a batch has, as ranks must that divide its weights.
    """

    def __init__(
        self,
        model: FusionModel,
        weights: LossWeights,
        modes: Modes,
        answers: Tensor | None = None,
        teacher: FusionModel | None = None,
        threshold: float = 0.95,
        in_step: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.weights = weights
        self.modes = modes
        self.answers = answers
        self.threshold = threshold
        self.in_step = in_step
        self._teacher = (teacher,)  # in a tuple, so that it is no part of this module

    def counts(self, batch: Batch) -> Tensor:
        """Valid weight of each task on this rank's batch, float64 [len(TASKS)]."""
        captions, questions = batch.caption_weight.double(), batch.question_weight.double()
        tokens = (batch.captions[:, 1:] != PAD).sum(dim=1)
        hidden = hidden_places(batch.captions, batch.uniform[:, 15]).sum(dim=1)
        written = questions.new_zeros(())
        if self.answers is not None:
            lengths = (self.answers != PAD).sum(dim=1)
            written = (lengths[batch.answer] * questions).sum()
        tags = batch.tag_weight.double().sum()
        return torch.stack(
            [
                batch.image_weight.double().sum(),
                captions.sum() + batch.more_weight.double().sum(),
                2 * captions.sum(),
                (tokens * captions).sum(),
                questions.sum(),
                tags,
                batch.sentiment_weight.double().sum(),
                tags,
                written,
                (hidden * captions).sum(),
                _unlabelled(batch).double().sum(),
            ]
        )

    def forward(
        self,
        batch: Batch,
        augmentation: Augmentation,
        ranks: Ranks,
        soft: float = 0.0,
        cached: CachedGradients | None = None,
    ) -> Tensor:
        """Loss sums of the tasks, float32 [len(TASKS)], 0 for one that is switched off.

        soft: share of the teacher in the contrastive targets; cached: the contrastive loss of the
        whole batch that this one is a part of, from ``cache_contrastive``.
        """
        if self.in_step:
            batch = batch.with_a_question()
        enc = self._encode(batch, augmentation)
        image, text = (side[: len(batch.pixels)] for side in enc.pairs)
        zero = image.new_zeros(())
        on, colours = self.weights, not is_features(batch.pixels)
        contrastive = zero
        if cached is not None:
            contrastive = cached.loss(enc.pairs, self._head())
        elif on.contrastive:
            opinion = self._soft_targets([batch], augmentation, soft)
            contrastive = self._contrastive([batch], enc.pairs, self._head(), ranks, opinion)
        sums = [
            self._reconstruction(batch, enc) if on.reconstruction and colours else zero,
            contrastive,
            self._matching(batch, enc, image, text) if on.matching else zero,
            self._caption(batch, enc.image) if on.caption else zero,
            self._vqa(batch, enc.image) if on.vqa else zero,
            *self._tags_and_sentiment(batch, enc),
            _tag_loss(self.model.local_tags(enc.image), batch) if on.local_tags else zero,
            self._generative_vqa(batch, enc.image) if on.generative_vqa else zero,
            self._masked_text(batch) if on.masked_text else zero,
            self._consistency(batch, enc) if on.consistency else zero,
        ]
        return torch.stack([s.float() for s in sums])

    def cache_contrastive(
        self,
        batches: Sequence[Batch],
        augmentation: Augmentation,
        ranks: Ranks,
        reseed: Callable[[int], None],
        soft: float = 0.0,
    ) -> list[CachedGradients]:
        """The contrastive loss of all parts of a step as one batch, for ``forward`` of each part.

        reseed(k) sets the random state in which ``forward`` of part k will run.
        """

        def embed(part: int) -> tuple[Tensor, Tensor]:
            reseed(part)
            return self._encode(batches[part], augmentation).pairs

        opinion = self._soft_targets(batches, augmentation, soft)
        with kept_buffers(self.model):
            return cache_gradients(
                len(batches),
                embed,
                lambda both, head: self._contrastive(batches, both, head, ranks, opinion),
                self._head(),
            )

    def _encode(self, batch: Batch, augmentation: Augmentation) -> Encodings:
        pixels = _view(batch, augmentation)
        image, text = self.model.encode_image(pixels), self.model.encode_text(batch.captions)
        return Encodings(pixels, image, text, _pairs(self.model, batch, image, text))

    def _head(self) -> tuple[Tensor, ...]:
        """What all similarities have in common: their scale, and their offset if there is one."""
        bias = [self.model.training_only[BIAS]] if BIAS in self.model.training_only else []
        return (self.model.retrieval.scale, *bias)

    def _contrastive(
        self,
        batches: Sequence[Batch],
        embeddings: tuple[Tensor, ...],
        head: tuple[Tensor, ...],
        ranks: Ranks,
        soft: SoftTargets | None,
    ) -> Tensor:
        return contrastive_sum(
            embeddings[0],
            embeddings[1],
            head[0],
            torch.cat([part for b in batches for part in (b.caption_weight, b.more_weight)]),
            torch.cat([_tile(b.cluster, b) for b in batches]),
            torch.cat([part for b in batches for part in (b.caption_text, b.more_text)]),
            ranks,
            bias=head[1] if len(head) > 1 else None,
            soft=soft,
        )

    @torch.no_grad()
    def _soft_targets(
        self, batches: Sequence[Batch], augmentation: Augmentation, share: float
    ) -> SoftTargets | None:
        teacher = self._teacher[0]
        if teacher is None or share <= 0:
            return None
        pairs = [
            _pairs(
                teacher,
                batch,
                teacher.encode_image(_view(batch, augmentation)),
                teacher.encode_text(batch.captions),
            )
            for batch in batches
        ]
        images, texts = (torch.cat(side) for side in zip(*pairs, strict=True))
        return SoftTargets(images, texts, teacher.retrieval.scale, share)

    def _reconstruction(self, batch: Batch, encodings: Encodings) -> Tensor:
        target = self.model.reconstruction_target(encodings.pixels)
        picture = self.model.reconstruction(encodings.image.pooled)
        # against the mean colour of the batch a guess has a loss of one
        spread = target.var(dim=(0, 2, 3), keepdim=True).mean().clamp_min(1e-3)
        errors = F.mse_loss(picture, target, reduction="none").mean(dim=(1, 2, 3))
        return (errors * batch.image_weight).sum() / spread

    def _matching(self, batch: Batch, enc: Encodings, image: Tensor, text: Tensor) -> Tensor:
        similarity = self.model.retrieval.scale.detach() * image.detach() @ text.detach().T
        other, usable = hard_negatives(
            similarity,
            batch.caption_weight,
            batch.cluster,
            batch.caption_text,
            batch.uniform[:, 12],
        )
        rows = torch.arange(len(image), device=image.device)
        fused = self.model.fuse(enc.text, enc.image, rows.repeat(2), torch.cat([rows, other]))
        logits = self.model.matching(fused)[:, 0]
        target = torch.cat([torch.ones_like(rows), torch.zeros_like(rows)]).to(logits.dtype)
        weight = batch.caption_weight
        weight = torch.cat([weight, weight * usable])
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (losses * weight).sum()

    def _caption(self, batch: Batch, image: Encoded) -> Tensor:
        ids, following = batch.captions[:, :-1], batch.captions[:, 1:]
        table = self.model.token_embedding.weight
        states = self.model.captioning(ids, batch.language, image, table)
        # the output weights are the dearest of the model: only where a token follows
        followed = Packing.of(following != PAD, FEW_SHAPES)
        logits = full_precision(F.linear(packed(states, followed), table))
        target = following.flatten()[followed.places]
        losses = F.cross_entropy(logits, target, ignore_index=PAD, reduction="none")
        return (losses * batch.caption_weight[followed.places // followed.length]).sum()

    def _vqa(self, batch: Batch, image: Encoded) -> Tensor:
        if not len(batch.answer):
            return image.pooled.new_zeros(())
        text = self.model.encode_text(batch.questions)
        context = with_missing(self.model, image)
        index = self._seen_image(batch)
        logits = self.model.answering(self.model.fuse(text, context, index, batch.question_text))
        losses = F.cross_entropy(logits, batch.answer, reduction="none")
        return (losses * batch.question_weight).sum()

    def _seen_image(self, batch: Batch) -> Tensor:
        """The image row of each question [Q]; the row behind the last where it asks blindly."""
        rows = batch.question_image
        # questions of one image share its random number; their order sets them apart
        order = torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows)
        blind = (batch.uniform[rows, 13] + order * 0.618034) % 1.0 < self.modes.blind_questions
        return torch.where(blind, torch.full_like(rows, len(batch.pixels)), rows)

    def _generative_vqa(self, batch: Batch, image: Encoded) -> Tensor:
        if self.answers is None:
            raise ValueError("generative_vqa needs the tokens of the answers")
        if not len(batch.answer):
            return image.pooled.new_zeros(())
        answers = self.answers[batch.answer]
        room = self.model.config.text.max_tokens - answers.shape[1]
        prompts = question_prompts(batch.questions, room)[batch.question_text]
        ids, written = with_answers(prompts, answers)
        context, language = with_missing(self.model, image), torch.zeros_like(batch.answer)
        table = self.model.token_embedding.weight
        states = self.model.captioning(
            ids[:, :-1], language, context, table, self._seen_image(batch)
        )
        written = written[:, 1:]
        logits = full_precision(F.linear(states[written], table))
        losses = F.cross_entropy(logits, ids[:, 1:][written], reduction="none")
        return (losses * batch.question_weight[:, None].expand_as(written)[written]).sum()

    def _masked_text(self, batch: Batch) -> Tensor:
        return masked_text_sum(
            self.model, batch.captions, batch.caption_weight, batch.uniform[:, 15]
        )

    def _consistency(self, batch: Batch, enc: Encodings) -> Tensor:
        missing = _unlabelled(batch)
        rows = missing.any(dim=0)
        if not bool(rows.any()) and self.in_step:
            rows[0] = True  # whose labels are there, so that it adds 0
        if not bool(rows.any()):
            return enc.image.pooled.new_zeros(())
        # other random numbers than the weak view's, as uniform as they
        uniform = (batch.uniform[rows] + 0.618034) % 1.0
        said = Said(batch.sides[rows], batch.colours[rows])
        strong = view(batch.pixels[rows], uniform, said, Augmentation(STRENGTH))
        weak = Encoded(enc.image.tokens[rows], None, enc.image.pooled[rows])
        seen = self.model.encode_image(strong)
        return consistency_sum(self.model, weak, seen, missing[:, rows], self.threshold)

    def _tags_and_sentiment(self, batch: Batch, enc: Encodings) -> tuple[Tensor, Tensor]:
        zero = enc.image.pooled.new_zeros(())
        if not (self.weights.tags or self.weights.sentiment):
            return zero, zero
        u, modes = batch.uniform[:, 14], self.modes
        has_text = batch.caption_weight > 0
        text_only = (u < modes.text_only) & has_text
        both = (u >= modes.text_only) & (u < modes.text_only + modes.both) & has_text
        rows = torch.arange(len(u), device=u.device)
        index = torch.where(text_only, torch.full_like(rows, len(rows)), rows)
        text = self.model.drop(self.model.as_read(enc.text), "text", text_only | both)
        fused = self.model.fuse(text, with_missing(self.model, enc.image), index)
        tags = _tag_loss(self.model.tagging(fused), batch) if self.weights.tags else zero
        if not self.weights.sentiment:
            return tags, zero
        feelings = F.cross_entropy(self.model.feeling(fused), batch.sentiment, reduction="none")
        return tags, (feelings * batch.sentiment_weight).sum()


def _view(batch: Batch, augmentation: Augmentation) -> Tensor:
    return view(batch.pixels, batch.uniform, Said(batch.sides, batch.colours), augmentation)


def _tile(rows: Tensor, batch: Batch) -> Tensor:
    """Rows of the B images -> of the P pairs: again for every further caption."""
    times = 1 + len(batch.more_weight) // max(1, len(rows))
    return rows.repeat(times, *(1 for _ in rows.shape[1:]))


def _pairs(
    model: FusionModel, batch: Batch, image: Encoded, text: Encoded
) -> tuple[Tensor, Tensor]:
    """Embeddings of every image beside each of its captions: two tensors [P, E].

    A pair without a caption has a text of zeros; its weight is 0.
    """
    images, texts = model.embed(image, "image"), model.embed(text, "text")
    if not len(batch.more_weight):
        return images, texts
    # at least one, so that ranks that divide the weights all run the encoder
    there = torch.nonzero(batch.more_weight.index_fill(0, batch.more_text.new_zeros(1), 1))[:, 0]
    encoded = model.encode_text(batch.more_captions[there])
    more = texts.new_zeros(len(batch.more_weight), texts.shape[1])
    more = more.index_put((there,), model.embed(encoded, "text"))
    return _tile(images, batch), torch.cat([texts, more])


def _unlabelled(batch: Batch) -> Tensor:
    return unlabelled(batch.tag_weight, batch.sentiment_weight, batch.image_weight)


def _tag_loss(logits: Tensor, batch: Batch) -> Tensor:
    losses = F.binary_cross_entropy_with_logits(logits, batch.tags, reduction="none")
    return (losses.mean(dim=1) * batch.tag_weight).sum()


def with_missing(model: FusionModel, image: Encoded) -> Encoded:
    """The batch with one more row at its end that stands for a missing image."""
    missing = model.missing("image", 1)
    tokens = missing.tokens.expand(1, image.tokens.shape[1], -1).to(image.tokens.dtype)
    pooled = missing.pooled.to(image.pooled.dtype)
    return Encoded(torch.cat([image.tokens, tokens]), None, torch.cat([image.pooled, pooled]))
