"""Writing with the caption decoder, token by token: greedy, beam search or nucleus sampling.

Every token's keys and values are kept, so a step computes one token and not the whole prefix; those
of the picture are computed once.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from mmcore.models.config import BOS, EOS, MASK, PAD
from mmcore.models.heads import CaptionDecoder
from mmcore.models.layers import Encoded, TransformerBlock

_NEVER = [PAD, BOS, MASK]  # tokens that a text does not hold


class Search(BaseModel):
    """How the next token is chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["greedy", "beam", "nucleus"] = Field(
        "greedy", description="likeliest token; likeliest of several texts; drawn by chance"
    )
    beams: int = Field(4, ge=1, description="beam: texts kept beside one another")
    length_penalty: float = Field(
        0.7, ge=0, description="beam: a text's log probability is divided by its length to this"
    )
    top_p: float = Field(
        0.9, gt=0, le=1, description="nucleus: draw from the likeliest tokens of this probability"
    )
    temperature: float = Field(1.0, gt=0, description="nucleus: below 1 likely tokens gain")
    seed: int = Field(
        0, ge=0, description="nucleus: the same seed draws the same texts, in chunks of any size"
    )


class _Writer:
    """The decoder, its cache, and R rows of text that grow together."""

    def __init__(
        self,
        decoder: CaptionDecoder,
        table: Tensor,
        context: Encoded,
        prompts: Tensor,
        language: Tensor,
        rows_each: int,
        most: int | None,
    ) -> None:
        prompts = prompts.repeat_interleave(rows_each, dim=0)
        self.decoder, self.table, self.mask = decoder, table, context.mask
        self.most = decoder.max_tokens - prompts.shape[1]
        self.most = self.most if most is None else min(most, self.most)
        places = prompts.shape[1] + self.most
        self.visible = F.pad(prompts != PAD, (0, self.most), value=True)  # [R, places]
        self.lengths = (prompts != PAD).sum(dim=1)
        self.cache = [b.cache(len(prompts), places, context.tokens) for b in _blocks(decoder)]
        self.filled = 0
        self.prompts = prompts
        self.language = language.repeat_interleave(rows_each)

    def start(self) -> Tensor:
        """Read the prompts -> log probabilities of the first written token, float32 [R, V]."""
        x = F.embedding(self.prompts, self.table) + self.decoder.position[: self.prompts.shape[1]]
        x = torch.cat([x[:, :1] + self.decoder.language(self.language)[:, None], x[:, 1:]], dim=1)
        states = self._blocks(x)
        last = states[torch.arange(len(states), device=states.device), self.lengths - 1]
        return self._log_chances(last)

    def next(self, tokens: Tensor) -> Tensor:
        """Append tokens [R] -> log probabilities of the following one, float32 [R, V]."""
        written = self.filled - self.prompts.shape[1]
        x = F.embedding(tokens, self.table) + self.decoder.position[self.lengths + written]
        return self._log_chances(self._blocks(x[:, None])[:, 0])

    def reorder(self, parents: Tensor) -> None:
        """Row r goes on from what row parents[r] has written; both of one context."""
        for block in self.cache:
            for kept in (block.keys, block.values):
                kept[:, :, : self.filled] = kept[parents, :, : self.filled]

    def _blocks(self, x: Tensor) -> Tensor:
        visible = self.visible[:, : self.filled + x.shape[1]]
        for block, cache in zip(_blocks(self.decoder), self.cache, strict=True):
            x = block.step(x, cache, self.filled, visible, self.mask)
        self.filled += x.shape[1]
        return self.decoder.norm(x)

    def _log_chances(self, states: Tensor) -> Tensor:
        scores = F.linear(states, self.table).float()
        scores[:, _NEVER] = -torch.inf
        return scores.log_softmax(dim=1)


@torch.inference_mode()
def decode(
    decoder: CaptionDecoder,
    table: Tensor,
    context: Encoded,
    prompts: Tensor,
    language: Tensor,
    search: Search,
    most: int | None = None,
    first: int = 0,
) -> Tensor:
    """What the decoder writes after each prompt about its context.

    table: token embeddings [V, D]; prompts: int64 [B, P], BOS first, PAD behind; language:
    int64 [B]; most: tokens to write, EOS among them, at most what the decoder has positions for;
    first: number of the first of these rows among all that a nucleus search draws for, so that they
    may come in chunks.
    The decoder must be in evaluation mode. Returns int64 [B, <= most], PAD after the end, no EOS.
    """
    rows_each = search.beams if search.kind == "beam" else 1
    if not len(prompts):
        return prompts[:, :0]
    writer = _Writer(decoder, table, context, prompts, language, rows_each, most)
    if search.kind == "beam":
        ids = _beam(writer, len(prompts), search)
    else:
        ids = _one_by_one(writer, search, first)
    return ids.masked_fill(ids == EOS, PAD)


def _one_by_one(writer: _Writer, search: Search, first: int) -> Tensor:
    chances = None if search.kind == "greedy" else _uniform(writer, search.seed, first)
    log_chances = writer.start()
    written: list[Tensor] = []
    done = torch.zeros(len(log_chances), dtype=torch.bool, device=log_chances.device)
    while True:
        if chances is None:
            tokens = log_chances.argmax(dim=1)
        else:
            uniform = chances[:, len(written)]
            tokens = sample_nucleus(log_chances, search.top_p, search.temperature, uniform)
        written.append(tokens.masked_fill(done, PAD))
        done |= tokens == EOS
        if len(written) == writer.most or bool(done.all()):
            return torch.stack(written, dim=1)
        log_chances = writer.next(written[-1])


def _uniform(writer: _Writer, seed: int, first: int) -> Tensor:
    """Numbers in 0..1 for rows first, first + 1, ... and each of their tokens: [R, places]. A row
    has its own part of the seed's one sequence, whatever stands beside it."""
    rows, places = len(writer.prompts), writer.decoder.max_tokens
    sequence = np.random.Generator(np.random.PCG64(seed).advance(first * places))
    drawn = torch.from_numpy(sequence.random((rows, places))).float()
    return drawn.to(writer.table.device)


def sample_nucleus(
    log_chances: Tensor, top_p: float, temperature: float, uniform: Tensor
) -> Tensor:
    """One token of each row of log_chances [R, V], drawn by a number in 0..1, uniform [R], from the
    fewest likeliest tokens whose probability reaches top_p (Holtzman 2020, arXiv:1904.09751)
    -> int64 [R]."""
    chances, order = (log_chances / temperature).softmax(dim=1).sort(dim=1, descending=True)
    upto = chances.cumsum(dim=1)
    last = ((upto - chances) < top_p).sum(dim=1, keepdim=True) - 1
    chosen = (upto < uniform[:, None] * upto.gather(1, last)).sum(dim=1, keepdim=True)
    return order.gather(1, chosen)[:, 0]


def _beam(writer: _Writer, batch: int, search: Search) -> Tensor:
    """The best of ``beams`` texts for each of ``batch`` contexts; a finished text keeps its place
    as long as fewer than ``beams`` others are likelier."""
    beams, device = search.beams, writer.table.device
    scores = torch.full((batch, beams), -torch.inf, device=device)
    scores[:, 0] = 0  # all beams begin alike: only one of them may grow
    ids = torch.full((batch * beams, 0), PAD, dtype=torch.long, device=device)
    done = torch.zeros(batch * beams, dtype=torch.bool, device=device)
    lengths = torch.zeros(batch * beams, device=device)
    first_row = torch.arange(batch, device=device)[:, None] * beams
    log_chances = writer.start()
    while True:
        vocabulary = log_chances.shape[1]
        ended = torch.full((vocabulary,), -torch.inf, device=device)
        ended[PAD] = 0
        log_chances = torch.where(done[:, None], ended, log_chances)
        total = (scores.view(-1, 1) + log_chances).view(batch, -1)
        scores, chosen = total.topk(beams, dim=1)
        parents = (first_row + chosen // vocabulary).flatten()
        tokens = (chosen % vocabulary).flatten()
        ids = torch.cat([ids[parents], tokens[:, None]], dim=1)
        lengths = lengths[parents] + (~done[parents])
        done = done[parents] | (tokens == EOS)
        if ids.shape[1] == writer.most or bool(done.all()):
            break
        writer.reorder(parents)
        log_chances = writer.next(tokens)
    normalised = scores / lengths.view(batch, beams).clamp_min(1) ** search.length_penalty
    return ids[(first_row[:, 0] + normalised.argmax(dim=1))]


def _blocks(decoder: CaptionDecoder) -> list[TransformerBlock]:
    return list(decoder.blocks)  # type: ignore[arg-type]
