"""Writing: the cache changes nothing, beam search finds the best, nucleus draws what it should."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from mmcore.errors import UserError
from mmcore.models.config import BOS, EOS, MASK, PAD
from mmcore.models.decoding import Search, decode, sample_nucleus
from mmcore.models.fusion_model import FusionModel
from mmcore.models.layers import Encoded, TransformerBlock
from mmcore.models.prompts import question_prompts, with_answers
from tests.models import tiny

FIRST_WORD = MASK + 1


def _model(**changes: object) -> FusionModel:
    """A random model whose texts differ from picture to picture and end at different lengths."""
    model = tiny.model(seed=4, **changes).eval()
    with torch.no_grad():
        model.token_embedding.weight.normal_(0, 0.35)
        model.captioning.position.normal_(0, 1.0)
    return model


def _context(batch: int, width: int = 32) -> Encoded:
    tokens = 2 * torch.randn(batch, 5, width, generator=torch.Generator().manual_seed(batch))
    return Encoded(tokens, None, tokens.mean(dim=1))


def _slow_greedy(model: FusionModel, prompt: list[int], context: Encoded, most: int) -> list[int]:
    """One text, the whole prefix anew at every step."""
    table, ids = model.token_embedding.weight, list(prompt)
    for _ in range(most):
        states = model.captioning(torch.tensor([ids]), torch.tensor([0]), context, table)
        scores = F.linear(states[0, -1], table)
        scores[[PAD, BOS, MASK]] = -torch.inf
        ids.append(int(scores.argmax()))
        if ids[-1] == EOS:
            break
    return [i for i in ids[len(prompt) :] if i != EOS]


@torch.no_grad()
def test_the_cache_writes_what_the_whole_prefix_writes() -> None:
    model, context = _model(decoder_depth=2), _context(6)
    prompts = torch.tensor([[BOS, 0, 0], [BOS, 9, 0], [BOS, 9, 12], [BOS, 30, 31], [BOS, 0, 0],
                            [BOS, 200, 0]])  # fmt: skip
    found = model.write(prompts, torch.zeros(6, dtype=torch.long), context, most=10)
    texts = []
    for row, prompt in enumerate(prompts.tolist()):
        own = Encoded(context.tokens[row : row + 1], None, context.pooled[row : row + 1])
        texts.append(_slow_greedy(model, [i for i in prompt if i != PAD], own, 10))
        assert [i for i in found[row].tolist() if i != PAD] == texts[-1]
    assert len({tuple(text) for text in texts}) > 3  # or the test would show nothing


@torch.no_grad()
def test_beam_search_with_room_for_all_texts_finds_the_likeliest() -> None:
    model, context = _model(vocab_size=8), _context(3)
    table, language = model.token_embedding.weight, torch.zeros(1, dtype=torch.long)
    words, most = range(FIRST_WORD, 8), 3
    texts = [
        [*text, EOS] for length in range(most) for text in itertools.product(words, repeat=length)
    ] + [list(text) for text in itertools.product(words, repeat=most)]
    search = Search(kind="beam", beams=len(texts), length_penalty=0.0)
    start = torch.full((3, 1), BOS)
    found = decode(model.captioning, table, context, start, language.expand(3), search, most)
    for row in range(3):
        own = Encoded(context.tokens[row : row + 1], None, context.pooled[row : row + 1])
        totals = []
        for text in texts:
            ids = torch.tensor([[BOS, *text]])
            logits = model.caption_logits(ids[:, :-1], language, own)[0]
            logits[:, [PAD, BOS, MASK]] = -torch.inf
            totals.append(logits.log_softmax(dim=1)[range(len(text)), text].sum())
        best = texts[int(torch.stack(totals).argmax())]
        assert [i for i in found[row].tolist() if i != PAD] == [i for i in best if i != EOS]


@torch.no_grad()
def test_one_beam_is_greedy() -> None:
    model, context = _model(), _context(5)
    language = torch.zeros(5, dtype=torch.long)
    one = model.write_captions(language, context, Search(kind="beam", beams=1))
    assert one.equal(model.write_captions(language, context))


@torch.no_grad()
def test_nucleus_repeats_with_its_seed_and_a_tiny_nucleus_is_greedy() -> None:
    model, context = _model(), _context(5)
    language = torch.zeros(5, dtype=torch.long)
    drawn = [
        model.write_captions(language, context, Search(kind="nucleus", seed=seed, temperature=2.0))
        for seed in (1, 1, 2)
    ]
    assert drawn[0].equal(drawn[1])
    assert drawn[0].shape != drawn[2].shape or not drawn[0].equal(drawn[2])
    tight = model.write_captions(language, context, Search(kind="nucleus", top_p=1e-6))
    assert tight.equal(model.write_captions(language, context))


def test_nucleus_draws_the_likeliest_tokens_by_their_chances() -> None:
    log_chances = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20_000, 4)
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    drawn = sample_nucleus(log_chances, 0.7, 1.0, uniform)
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(
        shares, torch.tensor([0.5 / 0.8, 0.3 / 0.8, 0.0, 0.0]), atol=0.02, rtol=0
    )
    ends = sample_nucleus(log_chances[:2], 0.7, 1.0, torch.tensor([0.0, 1.0]))
    assert ends.tolist() == [0, 1]


@torch.no_grad()
def test_each_row_draws_its_own_text_whatever_stands_beside_it() -> None:
    model, context = _model(), _context(1)
    same = Encoded(context.tokens.expand(7, -1, -1), None, context.pooled.expand(7, -1))
    language = torch.zeros(7, dtype=torch.long)
    search = Search(kind="nucleus", seed=3, temperature=2.0)
    texts = [_words(row) for row in model.write_captions(language, same, search)]
    assert len({tuple(text) for text in texts}) == 7  # equal pictures, another row
    for first, last in ((0, 3), (3, 5), (5, 7)):
        part = Encoded(same.tokens[first:last], None, same.pooled[first:last])
        written = model.write_captions(language[first:last], part, search, first)
        assert [_words(row) for row in written] == texts[first:last]


def _words(row: Tensor) -> list[int]:
    return [i for i in row.tolist() if i != PAD]


def test_answers_are_not_written_where_there_is_no_room_for_a_question() -> None:
    questions, context = torch.tensor([[BOS, 9, EOS]]), _context(1)
    for tokens in (8, 10):
        with pytest.raises(UserError, match=r"text\.max_tokens above 10"):
            _model(text={"max_tokens": tokens}).write_answers(questions, context)
    assert _model(text={"max_tokens": 11}).write_answers(questions, context).shape[1] <= 8


def test_a_decoder_block_steps_with_the_kernels_of_other_devices() -> None:
    with torch.device("meta"):  # no values, but the checks of the fused attention
        block, context = TransformerBlock(32, 2, cross=True), torch.empty(3, 5, 32)
        cache, visible = block.cache(6, 8, context), torch.ones(6, 8, dtype=torch.bool)
        prompt = block.step(torch.empty(6, 4, 32), cache, 0, visible[:, :4], None)
        token = block.step(torch.empty(6, 1, 32), cache, 4, visible[:, :5], None)
    assert (prompt.shape, token.shape) == ((6, 4, 32), (6, 1, 32))


def test_a_wrong_search_is_refused() -> None:
    with pytest.raises(ValidationError, match="beams"):
        Search(kind="beam", beams=0)


def test_a_question_prompt_ends_with_a_mask_and_an_answer_follows_without_a_gap() -> None:
    questions = torch.tensor([[BOS, 10, 11, 12, EOS], [BOS, 10, EOS, PAD, PAD]])
    prompts = question_prompts(questions, 16)
    assert prompts.tolist() == [[BOS, 10, 11, 12, MASK], [BOS, 10, MASK, PAD, PAD]]
    ids, written = with_answers(prompts, torch.tensor([[20, EOS], [EOS, PAD]]))
    assert ids.tolist() == [[BOS, 10, 11, 12, MASK, 20, EOS], [BOS, 10, MASK, EOS, PAD, PAD, PAD]]
    assert ids[written].tolist() == [20, EOS, EOS]
    assert question_prompts(questions, 4).tolist() == [
        [BOS, 10, 11, MASK],
        [BOS, 10, MASK, PAD],
    ]
