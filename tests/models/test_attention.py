"""Attention and packed text compute what the textbook does, with or without padding around."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmcore.models.attention import Packing, attend, packed, padded
from mmcore.models.config import EOS, PAD
from mmcore.models.layers import TransformerBlock
from tests.models import tiny

LENGTHS = torch.tensor([7, 3, 5])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries", [7, 1])
def test_attention_and_its_gradients_are_those_of_torch(
    causal: bool, masked: bool, queries: int
) -> None:
    torch.manual_seed(0)
    q = torch.randn(3, 4, queries, 8, dtype=torch.double, requires_grad=True)
    k, v = (torch.randn(3, 4, 7, 8, dtype=torch.double, requires_grad=True) for _ in "kv")
    mask = _mask() if masked else None
    seen = torch.ones(3, 1, queries, 7, dtype=torch.bool)
    if mask is not None:
        seen = seen & mask[:, None, None]
    if causal:
        seen = seen & torch.ones(queries, 7, dtype=torch.bool).tril()
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)
    found = attend(q, k, v, mask, causal)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    for ours, theirs in zip(
        torch.autograd.grad(found, (q, k, v), weight),
        torch.autograd.grad(expected, (q, k, v), weight),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_queries_that_all_rows_share_are_given_once() -> None:
    torch.manual_seed(0)
    q = torch.randn(1, 4, 2, 8, requires_grad=True)
    k, v = torch.randn(3, 4, 7, 8), torch.randn(3, 4, 7, 8)
    shared = attend(q, k, v, None)
    torch.testing.assert_close(shared, attend(q.repeat(3, 1, 1, 1), k, v, None))
    shared.sum().backward()
    assert q.grad is not None and q.grad.shape == q.shape


@pytest.mark.parametrize("multiple", [1, 16])
@pytest.mark.parametrize("causal", [False, True])
def test_a_block_on_packed_tokens_gives_the_states_and_gradients_of_padded_ones(
    causal: bool, multiple: int
) -> None:
    torch.manual_seed(0)
    block = TransformerBlock(16, 4, cross=True).double()
    x, context = torch.randn(3, 7, 16).double(), torch.randn(3, 5, 16).double()
    mask, tokens, packing = _mask(), Packing.of(_mask()), Packing.of(_mask(), multiple)
    seen = None if causal else mask  # behind a text's end, causal attention looks at nothing
    expected = packed(block(x, seen, causal, context), tokens)
    found = block(packed(x, packing), seen, causal, context, packing=packing)[: len(expected)]
    torch.testing.assert_close(found, expected)
    parameters = list(block.parameters())
    weight = torch.randn_like(found)
    for ours, theirs in zip(
        torch.autograd.grad(found, parameters, weight),
        torch.autograd.grad(expected, parameters, weight),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_packing_keeps_tokens_in_their_places() -> None:
    x = torch.arange(42.0).view(3, 7, 2)
    packing = Packing.of(_mask())
    assert packed(x, packing).shape == (15, 2)
    assert padded(packed(x, packing), packing).equal(x * _mask()[..., None])
    rounded = Packing.of(_mask(), 16)  # one place of padding behind the tokens
    assert rounded.places[:-1].equal(packing.places) and not _mask().flatten()[rounded.places[-1]]
    assert len(Packing.of(_mask(), 64).places) == x[..., 0].numel()
    assert Packing.without_padding(torch.ones(2, 3, dtype=torch.bool)) is None


def test_a_text_means_the_same_beside_a_longer_one() -> None:
    model = tiny.model().eval()
    ids = torch.randint(4, model.config.vocab_size, (30, 9))
    ids[:, -1], ids[:-1, 5], ids[:-1, 6:] = EOS, EOS, PAD
    assert Packing.without_padding(ids != PAD) is not None
    both, alone = model.encode_text(ids), model.encode_text(ids[:1, :6])
    torch.testing.assert_close(both.pooled[:1], alone.pooled)
    torch.testing.assert_close(both.tokens[:1, :6], alone.tokens)


def _mask() -> Tensor:
    return torch.arange(7) < LENGTHS[:, None]
