"""The losses: what is a negative, what counts, and two ranks that equal one big batch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmcore.models.fusion_model import normalise_pixels
from mmcore.models.images import decode_images
from mmcore.shards.order import SampleOrder, Visits
from mmcore.train.augment import Augmentation, Said, augment
from mmcore.train.balance import guess_losses
from mmcore.train.batches import AUGMENT_COLUMNS, make_batch
from mmcore.train.contrastive import contrastive_sum, hard_negatives
from mmcore.train.data import build_table
from mmcore.train.losses import TASKS, Modes, TaskLosses
from mmcore.train.ranks import Ranks
from mmcore.train.samples import MemorySamples
from mmcore.train.settings import LossWeights
from tests.models import tiny
from tests.train import world
from tests.train.two_ranks import on_two_ranks


def _unit(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, 8, generator=generator), dim=-1)


def _loss(
    cluster: list[int], text: list[int], weight: list[float] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The contrastive sum of random embeddings, and the similarities it is made of."""
    image, caption = _unit(len(cluster), 1), _unit(len(cluster), 2)
    total = contrastive_sum(
        image,
        caption,
        torch.tensor(10.0),
        torch.tensor(weight or [1.0] * len(cluster)),
        torch.tensor(cluster),
        torch.tensor(text),
        Ranks(),
    )
    return total, 10 * image @ caption.T


def test_contrastive_loss_is_cross_entropy_in_both_directions() -> None:
    total, scores = _loss([0, 1, 2], [0, 1, 2])
    own = torch.arange(3)
    expected = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
    torch.testing.assert_close(total / 3, expected)


@pytest.mark.parametrize(
    ("cluster", "text"), [([0, 0, 2], [0, 1, 2]), ([0, 1, 2], [5, 5, 2])], ids=["cluster", "text"]
)
def test_near_duplicates_and_equal_captions_are_not_negatives(
    cluster: list[int], text: list[int]
) -> None:
    total, scores = _loss(cluster, text)
    scores[0, 1] = scores[1, 0] = -torch.inf
    own = torch.arange(3)
    expected = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
    torch.testing.assert_close(total / 3, expected)


def test_a_sample_without_caption_is_neither_row_nor_negative() -> None:
    total, scores = _loss([0, 1, 2], [0, 1, 2], [1.0, 0.0, 1.0])
    kept = scores[[0, 2]][:, [0, 2]]
    own = torch.arange(2)
    expected = (F.cross_entropy(kept, own) + F.cross_entropy(kept.T, own)) / 2
    torch.testing.assert_close(total / 2, expected)


def test_hard_negatives_are_the_similar_ones_and_never_a_duplicate() -> None:
    similarity = torch.tensor([[0.0, 50.0, 1.0], [0.0, 0.0, 50.0], [0.0, 0.0, 0.0]])
    cluster, text = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2])
    chosen, usable = hard_negatives(
        similarity, torch.ones(3), cluster, text, torch.tensor([0.5, 0.5, 0.5])
    )
    assert chosen[:2].tolist() == [1, 2] and chosen[2] in (0, 1) and usable.all()
    same = torch.zeros(3, dtype=torch.long)
    assert not hard_negatives(similarity, torch.ones(3), same, text, torch.rand(3))[1].any()


def test_each_loss_starts_near_the_loss_of_a_guess() -> None:
    model = tiny.model()
    samples = world.training_data(24)
    batch = make_batch(samples, 0, 0, 24, 2)
    losses = TaskLosses(model, LossWeights(), Modes())
    guess = guess_losses(model.config, 24, torch.from_numpy(samples.tag_rates()))
    relative = losses(batch, Augmentation(0.0), Ranks()).detach() / losses.counts(batch).float()
    for task, value in list(zip(TASKS, relative.tolist(), strict=True))[:8]:  # the rest is off
        assert 0.4 < value / guess[task] < (6 if task == "reconstruction" else 2.5), task


def test_a_new_model_expects_each_tag_as_often_as_it_occurs() -> None:
    samples = world.training_data(24)
    rates, model = torch.from_numpy(samples.tag_rates()), tiny.model()
    batch = make_batch(samples, 0, 0, 24, 2)
    losses = TaskLosses(model, LossWeights(), Modes())
    guess = guess_losses(model.config, 24, rates)["tags"]
    column = TASKS.index("tags")

    def relative() -> float:
        found = losses(batch, Augmentation(0.0), Ranks()).detach() / losses.counts(batch).float()
        return float(found[column]) / guess

    before = relative()
    model.expect_tags(rates)
    assert abs(relative() - 1) < min(0.15, abs(before - 1))


@pytest.mark.parametrize("task", ["contrastive", "tags", "sentiment"])
def test_a_loss_with_weight_zero_is_not_computed(task: str) -> None:
    samples = world.training_data(8)
    batch = make_batch(samples, 0, 0, 8, 2)
    weights = LossWeights(**{**dict.fromkeys(TASKS, 0), task: 1})
    sums = TaskLosses(tiny.model(), weights, Modes())(batch, Augmentation(0.0), Ranks())
    assert [name for name, value in zip(TASKS, sums, strict=True) if value] == [task]


def test_every_caption_of_a_visit_finds_its_picture_and_none_is_a_negative_of_another() -> None:
    samples = _several_captions()
    batch = make_batch(samples, 0, 0, 4, 2, captions=3)
    there = (batch.more_weight > 0).view(2, 4).tolist()
    assert there == [[True, True, True, False], [True, True, False, False]]
    weights = LossWeights(**{**dict.fromkeys(TASKS, 0.0), "contrastive": 1.0})
    model = tiny.model().eval()
    losses = TaskLosses(model, weights, Modes())
    found = losses(batch, Augmentation(0.0), Ranks())[TASKS.index("contrastive")]

    image = model.embed(model.encode_image(normalise_pixels(batch.pixels)), "image")
    first = model.embed(model.encode_text(batch.captions), "text")
    more = model.embed(model.encode_text(batch.more_captions), "text")
    text = torch.cat([first, more])
    owner = torch.arange(4).repeat(3)
    weight = torch.cat([batch.caption_weight, batch.more_weight])
    there = weight > 0
    similarity = model.retrieval.scale * text @ image.T
    expected = torch.zeros(())
    for row in torch.nonzero(there)[:, 0].tolist():
        other = there & (owner != owner[row])
        own = similarity[row, owner[row]]
        to_image = torch.cat([own[None], similarity[row, owner[other]]]).logsumexp(0) - own
        to_text = torch.cat([own[None], similarity[other, owner[row]]]).logsumexp(0) - own
        expected = expected + weight[row] * (to_image + to_text) / 2
    torch.testing.assert_close(found, expected)
    count = losses.counts(batch)[TASKS.index("contrastive")]
    assert float(count) == pytest.approx(float(weight.sum()))


def _several_captions() -> MemorySamples:
    """Samples of three, three, two and one captions, in an order of their own."""
    pictures, records = world.samples(4)
    for number, record in enumerate(records):
        texts = [f"the picture of number {number}", f"{number} again", f"once more {number}"]
        kept = texts[: (3, 3, 2, 1)[number]]
        record["captions"] = [
            {"text": t, "lang": "en", "confidence": 0.9 - 0.1 * n} for n, t in enumerate(kept)
        ]
    table = build_table(records, tiny.LABELS, tiny.tokenizer(), 16)
    pixels = decode_images(pictures, 32)
    order = _Straight(np.array([4]), 0)
    return MemorySamples(table, lambda numbers: pixels[numbers], order)


class _Straight(SampleOrder):
    """Samples as they are numbered."""

    def slice(self, start: int, stop: int) -> Visits:
        return Visits(np.arange(start, stop), np.zeros(stop - start, np.uint8))


def test_confidence_is_the_weight_of_a_label() -> None:
    samples = world.training_data(8)
    doubtful = samples.table.sentiment_weights.copy()
    doubtful[4:] = 0
    batch = make_batch(samples, 0, 0, 8, 2)
    losses = TaskLosses(tiny.model(), LossWeights(), Modes())
    counts = dict(zip(TASKS, losses.counts(batch).tolist(), strict=True))
    assert counts["sentiment"] == pytest.approx(8 * 0.8)
    assert counts["contrastive"] == pytest.approx(8 * 0.9)
    assert counts["vqa"] == pytest.approx(16)


def test_augmentation_keeps_left_left_and_colours_their_hue() -> None:
    pixels = torch.full((64, 3, 32, 32), -1.0)
    pixels[:, 0, 10:22, 2:14] = 2.0  # a red square on the left
    uniform = torch.rand(64, AUGMENT_COLUMNS, generator=torch.Generator().manual_seed(3))
    uniform[:, 8] = 1.0  # no erased box: it may cover the square
    everything = torch.ones(64, dtype=torch.bool)
    said = Said(sides=everything, colours=everything)
    out = augment(pixels, uniform, said, Augmentation(1.0, crop=0.5, mirror=True))
    red = out[:, 0] - out[:, 1]
    assert (red[:, :, :16].sum(dim=(1, 2)) > red[:, :, 16:].sum(dim=(1, 2)) * 3).all()
    assert (out[:, 1] - out[:, 2]).abs().mean() < 0.2
    none = Augmentation(0.0, crop=0.5, mirror=True)
    torch.testing.assert_close(augment(pixels, uniform, said, none), pixels)


def test_what_no_text_tells_is_mirrored_cropped_and_tinted() -> None:
    pixels = torch.full((64, 3, 32, 32), -1.0)
    pixels[:, 0, :, :16] = 2.0  # the left half is red
    uniform = torch.rand(64, AUGMENT_COLUMNS, generator=torch.Generator().manual_seed(3))
    uniform[:, 8] = 1.0
    said = Said(sides=torch.arange(64) < 32, colours=torch.arange(64) >= 32)
    out = augment(pixels, uniform, said, Augmentation(1.0, mirror=True))
    red = out[:, 0] - out[:, 1]
    turned = red[:, :, 24:].mean(dim=(1, 2)) > red[:, :, :8].mean(dim=(1, 2))
    assert not turned[:32].any()
    assert torch.equal(turned[32:], uniform[32:, 16] < 0.5) and turned.any()
    tinted = (out[:, 1] - out[:, 2]).mean(dim=(1, 2)).abs()
    assert tinted[:32].max() > 0.1 and tinted[32:].max() < 0.02
    # a crop of up to half of the sides often loses one of the two halves
    cropped = augment(pixels, uniform, said, Augmentation(1.0, crop=0.9))
    spread = cropped[:, 0].std(dim=(1, 2))
    assert (spread[32:] < 0.5).any() and not (spread[:32] < 0.5).any()


def _gradients(weight: torch.Tensor, ranks: Ranks, first: int, count: int) -> torch.Tensor:
    """Gradient of the contrastive loss of samples first..first+count-1 for a shared weight."""
    shared = torch.nn.Parameter(weight.clone())
    rows = slice(first, first + count)
    image = F.normalize(_unit(8, 1)[rows] @ shared, dim=-1)
    text = F.normalize(_unit(8, 2)[rows] @ shared.T, dim=-1)
    weights = torch.tensor([1, 0.5, 0.0, 1, 1, 0.25, 1, 1])[rows]
    cluster = torch.tensor([0, 1, 2, 3, 0, 5, 6, 7])[rows]
    texts = torch.tensor([0, 1, 2, 3, 4, 5, 6, 3])[rows]
    count_all = ranks.sum(weights.sum())
    total = contrastive_sum(image, text, torch.tensor(10.0), weights, cluster, texts, ranks)
    (total / count_all).backward()
    ranks.sum_gradients([shared])
    assert shared.grad is not None
    return shared.grad


SHARES = {"even": [4, 4], "uneven": [3, 5]}


def _rank_main(ranks: Ranks, out: str) -> None:
    rank = ranks.rank
    for name, sizes in SHARES.items():
        torch.manual_seed(0)
        weight, ranks = torch.eye(8) + 0.1 * torch.randn(8, 8), Ranks(rank, 2, name == "even")
        gradient = _gradients(weight, ranks, sum(sizes[:rank]), sizes[rank])
        np.save(f"{out}-{name}-{rank}.npy", gradient.numpy())


def test_two_ranks_have_the_gradient_of_one_big_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = _gradients(torch.eye(8) + 0.1 * torch.randn(8, 8), Ranks(), 0, 8)
    on_two_ranks(_rank_main, tmp_path, str(tmp_path / "gradient"))
    for name in SHARES:
        for rank in range(2):
            found = torch.from_numpy(np.load(tmp_path / f"gradient-{name}-{rank}.npy"))
            torch.testing.assert_close(found, expected)


def test_guess_losses_are_logarithms_of_the_choices() -> None:
    guess = guess_losses(tiny.config(), 64, torch.tensor([0.5, 0.5, 0.5]))
    assert guess["contrastive"] == pytest.approx(math.log(64))
    assert guess["vqa"] == pytest.approx(math.log(len(tiny.LABELS.answers)))
    assert guess["tags"] == pytest.approx(math.log(2))
