"""The fusion model: encode each modality, align them, fuse pairs, answer five tasks.

pixels -> image encoder -> alignment --+--> retrieval embedding
                                       +--> caption decoder, reconstruction
                                       +--> fusion --> matching, answers, tags, sentiment
ids ----> text encoder --> alignment --+--> retrieval embedding
sound --> audio encoder -> alignment --+--> retrieval embedding; a context for fusion and decoder

The modalities are those of the config: what is said of an image holds for any context.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcore.errors import UserError
from mmcore.models.alignment import Alignment, masked_mean
from mmcore.models.audio_encoder import AudioEncoder
from mmcore.models.config import BOS, MAX_ANSWER, PAD, ModelConfig
from mmcore.models.decoding import Search, decode
from mmcore.models.fusion import build_fusion
from mmcore.models.heads import (
    CaptionDecoder,
    ClassificationHead,
    ReconstructionHead,
    RetrievalHead,
)
from mmcore.models.image_encoder import build_image_encoder
from mmcore.models.labels import SENTIMENTS
from mmcore.models.layers import Encoded, full_precision, init_weights, learned
from mmcore.models.prompts import question_prompts
from mmcore.models.text_encoder import build_text_encoder, hide_words

_PIXEL_MEAN, _PIXEL_DEVIATION = 127.5, 64.0


def is_features(pixels: Tensor) -> bool:
    """Whether these are a frozen tower's features (mmcore.models.tower) and no colours."""
    return pixels.dtype == torch.float16


def normalise_pixels(pixels: Tensor) -> Tensor:
    """uint8 or float32 0..255 [B, 3, S, S] -> float32 around zero with about unit deviation.

    A frozen tower's features, float16 [B, W, G, G], stay as they are but for their type.
    """
    if is_features(pixels):
        return pixels.float()
    return (pixels.float() - _PIXEL_MEAN) / _PIXEL_DEVIATION


class FusionModel(nn.Module):
    """One model for retrieval, matching, captions, questions, tags and sentiment."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.image_encoder = build_image_encoder(config.image, config.dropout)
        self.token_embedding = nn.Embedding(config.vocab_size, width, padding_idx=PAD)
        self.text_encoder = build_text_encoder(config.text, width, config.dropout)
        widths = config.token_widths
        self.alignment = nn.ModuleDict(
            {
                m: Alignment(
                    config.alignment,
                    widths[m],
                    width,
                    config.heads,
                    config.alignment_queries,
                    config.dropout,
                    standardise=m == "image" and config.image.kind == "tower",
                )
                for m in widths
            }
        )
        self.missing_token = nn.ParameterDict({m: learned(width) for m in widths})
        self.missing_pooled = nn.ParameterDict({m: learned(width) for m in widths})
        self.fusion = build_fusion(
            config.fusion, width, config.heads, config.fusion_depth, config.dropout
        )
        self.retrieval = RetrievalHead(width, config.embed_dim, tuple(widths))
        self.matching = ClassificationHead(width, 1)
        self.answering = ClassificationHead(width, config.answers)
        self.tagging = ClassificationHead(width, config.tags)
        # deep supervision (arXiv:1409.5185): what stands in some place of the picture
        self.local_tagging = nn.Linear(width, config.tags)
        self.feeling = ClassificationHead(width, len(SENTIMENTS))
        self.captioning = CaptionDecoder(
            width,
            config.heads,
            config.decoder_depth,
            config.text.max_tokens,
            config.languages,
            config.dropout,
        )
        self.reconstruction = ReconstructionHead(width, config.reconstruction_size)
        self.audio_encoder = (
            None if config.audio is None else AudioEncoder(config.audio, config.dropout)
        )
        self.apply(init_weights)
        # values that only the losses of a training need; it fills them in, artifacts lack them
        self.training_only = nn.ParameterDict()

    @torch.no_grad()
    def expect_tags(self, rates: Tensor) -> None:
        """Let a new model begin by expecting each tag as often as it occurs, rates float [V] in
        0..1, so that the many that are rare need not be unlearned first (arXiv:1708.02002)."""
        for bias in (self.tagging.mlp.down.bias, self.local_tagging.bias):
            bias.copy_(torch.logit(rates.clamp(1e-4, 1 - 1e-4)))

    def encode_image(self, pixels: Tensor) -> Encoded:
        """Normalised pixels [B, 3, S, S] -> Encoded with (S / stride)^2 tokens."""
        return self.alignment["image"](self.image_encoder(pixels), None)

    def encode_text(self, ids: Tensor, whole: bool = False) -> Encoded:
        """Token ids [B, T] with BOS and EOS, PAD at the end -> Encoded with T tokens; ``whole``:
        without ``word_dropout``."""
        mask, hidden = ids != PAD, self.config.text.word_dropout
        if self.training and hidden and not whole:
            ids = hide_words(ids, hidden)
        return self.alignment["text"](self.text_encoder(self.token_embedding(ids), mask), mask)

    def encode_audio(self, waveforms: Tensor, lengths: Tensor) -> Encoded:
        """Waveforms in -1..1 [B, config.audio.samples], of which the first lengths [B] are sound
        -> Encoded with config.audio.tokens tokens. UserError for a model without audio."""
        if self.audio_encoder is None:
            raise UserError("This model has no audio encoder; train one with audio in its config.")
        return self.alignment["audio"](*self.audio_encoder(waveforms, lengths))

    def local_tags(self, image: Encoded) -> Tensor:
        """Tags from the strongest sign of each in any place of the picture -> logits [B, V].

        Only a training signal: it reaches the image encoder on the shortest way there is.
        """
        return full_precision(self.local_tagging(image.tokens.amax(dim=1)))

    def missing(self, modality: str, batch: int) -> Encoded:
        """What stands for a modality that is not there: one learned token."""
        token, pooled = self.missing_token[modality], self.missing_pooled[modality]
        return Encoded(token.expand(batch, 1, -1), None, pooled.expand(batch, -1))

    def drop(self, encoded: Encoded, modality: str, present: Tensor) -> Encoded:
        """Replace the rows where ``present`` [B] (bool) is False by the missing modality."""
        tokens = torch.where(present[:, None, None], encoded.tokens, self.missing_token[modality])
        pooled = torch.where(present[:, None], encoded.pooled, self.missing_pooled[modality])
        return Encoded(tokens, encoded.mask, pooled)

    def embed(self, encoded: Encoded, modality: str) -> Tensor:
        """-> float32 [B, E] of length 1; retrieval is their dot product."""
        return self.retrieval(encoded.pooled, modality)

    def as_read(self, text: Encoded) -> Encoded:
        """All that a fusion reads of texts: one token, which is the first and has read the others
        (of a bag, where none has, their mean), and the pooled vector."""
        if self.config.text.kind == "bag":
            return Encoded(masked_mean(text.tokens, text.mask)[:, None], None, text.pooled)
        return Encoded(text.tokens[:, :1], None, text.pooled)

    def fuse(
        self,
        text: Encoded,
        image: Encoded,
        index: Tensor | None = None,
        text_index: Tensor | None = None,
    ) -> Tensor:
        """Q pairs of the text row text_index [Q] and the image row index [Q] -> [Q, D]; without
        indices texts and images are paired in order."""
        text = self.as_read(text)
        first, pooled = text.tokens, text.pooled
        if text_index is not None:
            first, pooled = first[text_index], pooled[text_index]
        if index is None:
            index = torch.arange(len(pooled), device=pooled.device)
        return self.fusion(Encoded(first, None, pooled), image, index)

    def caption_logits(self, ids: Tensor, language: Tensor, image: Encoded) -> Tensor:
        """Teacher forcing: ids [B, T] -> float logits of the following token [B, T, V]."""
        table = self.token_embedding.weight
        return F.linear(self.captioning(ids, language, image, table), table)

    def write_captions(
        self, language: Tensor, image: Encoded, search: Search | None = None, first: int = 0
    ) -> Tensor:
        """Captions of ``search``'s kind (greedy) -> ids [B, L], PAD at the end; ``first`` as in
        ``decode``."""
        start = torch.full((len(language), 1), BOS, device=language.device)
        return self.write(start, language, image, search, first=first)

    def write_answers(
        self, questions: Tensor, image: Encoded, search: Search | None = None, first: int = 0
    ) -> Tensor:
        """Answers in the decoder's own words to questions [B, T] (BOS ... EOS, PAD behind), each
        about its image -> ids [B, <= MAX_ANSWER], PAD at the end; ``first`` as in ``decode``.

        UserError where text.max_tokens has no room for a question and an answer."""
        if not self.config.text.can_write_answers:
            raise UserError(
                f"This model reads and writes {self.config.text.max_tokens} tokens, too few for a "
                f"question and an answer: train one with text.max_tokens above {MAX_ANSWER + 2}."
            )
        prompts = question_prompts(questions, self.config.text.max_tokens - MAX_ANSWER)
        language = torch.zeros(len(prompts), dtype=torch.long, device=prompts.device)
        return self.write(prompts, language, image, search, MAX_ANSWER, first)

    def write(
        self,
        prompts: Tensor,
        language: Tensor,
        context: Encoded,
        search: Search | None = None,
        most: int | None = None,
        first: int = 0,
    ) -> Tensor:
        """What the decoder writes after prompts [B, P] about the context, of any modality, in at
        most ``most`` tokens -> ids [B, L], PAD at the end; ``first`` as in ``decode``."""
        table, search = self.token_embedding.weight, search or Search()
        return decode(self.captioning, table, context, prompts, language, search, most, first)

    def reconstruction_target(self, pixels: Tensor) -> Tensor:
        """Normalised pixels -> the small picture that the image loss compares with."""
        return F.adaptive_avg_pool2d(pixels, self.config.reconstruction_size)


def parameter_count(model: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
