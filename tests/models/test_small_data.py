"""What a model for few pairs is made of: pooled alignment, a bag of words, hidden words."""

from __future__ import annotations

import torch

from mmcore.models.alignment import Alignment
from mmcore.models.config import BOS, EOS, MASK, PAD
from mmcore.models.text_encoder import hide_words
from tests.models import tiny


def _alignment(**options: bool | float) -> Alignment:
    torch.manual_seed(0)
    return Alignment("pooled", 6, 8, 2, 2, **options)  # type: ignore[arg-type]


def _tokens() -> torch.Tensor:
    return torch.randn(64, 5, 6, generator=torch.Generator().manual_seed(1))


def test_a_large_channel_does_not_drown_the_others_where_channels_are_standardised() -> None:
    tokens = _tokens()
    louder = tokens * torch.tensor([100.0, 1, 1, 1, 1, 1]) + torch.tensor([50.0, 0, 0, 0, 0, 0])
    standard, by_vector = _alignment(standardise=True), _alignment()
    pooled, again = standard(tokens, None).pooled, standard(louder, None).pooled
    torch.testing.assert_close(pooled, again, atol=1e-3, rtol=1e-3)
    assert (by_vector(tokens, None).pooled - by_vector(louder, None).pooled).abs().max() > 0.5


def test_what_was_standardised_over_the_training_is_used_after_it_and_for_a_batch_of_one() -> None:
    alignment = _alignment(standardise=True)
    for _ in range(100):
        expected = alignment(_tokens(), None).pooled
    alone = alignment(_tokens()[:1], None).pooled
    alignment.eval()
    torch.testing.assert_close(alignment(_tokens(), None).pooled, expected, atol=0.1, rtol=0.1)
    assert alignment(_tokens()[:1], None).pooled.equal(alone)


def test_padding_does_not_change_a_pooled_text() -> None:
    alignment = _alignment().eval()
    tokens, mask = _tokens()[:, :3], torch.ones(64, 3, dtype=torch.bool)
    longer = torch.cat([tokens, 9 * torch.ones(64, 2, 6)], dim=1)
    padded = torch.cat([mask, torch.zeros(64, 2, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(
        alignment(tokens, mask).pooled, alignment(longer, padded).pooled, atol=1e-5, rtol=1e-5
    )


def test_dropout_acts_on_what_is_pooled_and_only_in_training() -> None:
    alignment = _alignment(dropout=0.5)
    first, second = (alignment(_tokens(), None).pooled for _ in range(2))
    assert not first.equal(second)
    alignment.eval()
    assert alignment(_tokens(), None).pooled.equal(alignment(_tokens(), None).pooled)


def test_a_bag_reads_the_words_and_not_their_order() -> None:
    ids = torch.tensor([[BOS, 40, 50, 60, EOS], [BOS, 60, 40, 50, EOS], [BOS, 40, 50, 61, EOS]])
    texts = {
        kind: tiny.model(text={"kind": kind}, alignment="pooled").eval().encode_text(ids).pooled
        for kind in ("bag", "transformer")
    }
    torch.testing.assert_close(texts["bag"][0], texts["bag"][1])
    assert not torch.allclose(texts["bag"][0], texts["bag"][2])
    assert not torch.allclose(texts["transformer"][0], texts["transformer"][1], atol=1e-4)


def test_a_question_without_order_still_reaches_the_attention() -> None:
    model = tiny.model(text={"kind": "bag"}, alignment="pooled", fusion="cross_attention").eval()
    queries: list[torch.Tensor] = []
    model.fusion.layers[0].register_forward_pre_hook(lambda _, given: queries.append(given[0]))
    ids = torch.tensor([[BOS, 40, 50, EOS], [BOS, 60, 70, EOS]])
    model.fuse(model.encode_text(ids), model.missing("image", 2))
    assert not torch.allclose(queries[0][0], queries[0][1])


def test_words_are_hidden_at_the_share_asked_for_and_what_frames_them_stays() -> None:
    ids = torch.full((200, 52), 40)
    ids[:, 0], ids[:, 50], ids[:, 51] = BOS, EOS, PAD
    torch.manual_seed(0)
    hidden = hide_words(ids, 0.3)
    changed = hidden != ids
    assert (hidden[changed] == MASK).all()
    assert abs(changed[:, 1:50].float().mean().item() - 0.3) < 0.02
    assert not changed[:, [0, 50, 51]].any()


def test_words_are_hidden_in_training_only() -> None:
    ids = torch.arange(10, 40)[None].repeat(8, 1)[:, :16]
    model = tiny.model(text={"kind": "bag", "word_dropout": 0.5}, alignment="pooled")
    pooled = model.encode_text(ids).pooled
    assert not torch.allclose(pooled[0], pooled[1])
    model.eval()
    pooled = model.encode_text(ids).pooled
    torch.testing.assert_close(pooled[0], pooled[1])
