"""Losses that are off by default: each does what its paper says, and the loop uses it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from mmcore.models import load_model
from mmcore.models.artifact import Artifact, save_artifact
from mmcore.models.config import BOS, EOS, PAD
from mmcore.models.predictor import Predictor
from mmcore.train.augment import Augmentation, Said, augment
from mmcore.train.balance import BIAS, LOG_VARIANCE, add_training_parameters, total_loss
from mmcore.train.batches import make_batch
from mmcore.train.checkpoint import restore, take_snapshot
from mmcore.train.consistency import consistency_sum, unlabelled
from mmcore.train.contrastive import SoftTargets, contrastive_sum
from mmcore.train.loop import Trainer
from mmcore.train.losses import TASKS, Modes, TaskLosses
from mmcore.train.masked_text import hidden_places, masked_text_sum
from mmcore.train.ranks import Ranks
from mmcore.train.settings import LoopSettings, LossWeights
from mmcore.train.vocabulary import answer_tokens
from tests.models import tiny
from tests.train import world
from tests.train.test_loop import trainer

ONLY = dict.fromkeys(TASKS, 0.0)


def _unit(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, 8, generator=generator), dim=-1)


def _contrast(bias: torch.Tensor | None = None, soft: SoftTargets | None = None) -> torch.Tensor:
    """Four pairs, of which the first two are near-duplicates."""
    cluster, text = torch.tensor([0, 0, 2, 3]), torch.arange(4)
    images, texts, scale = _unit(4, 1), _unit(4, 2), torch.tensor(5.0)
    return contrastive_sum(
        images, texts, scale, torch.ones(4), cluster, text, Ranks(), bias=bias, soft=soft
    )


def test_sigmoid_asks_of_every_pair_whether_it_is_one() -> None:
    logits = 5 * _unit(4, 1) @ _unit(4, 2).T + 0.3 - math.log(4)
    expected = torch.zeros(())
    for row in range(4):
        for column in range(4):
            if {row, column} != {0, 1}:  # near-duplicates are not asked about
                sign = 1 if row == column else -1
                expected -= F.logsigmoid(sign * logits[row, column])
    torch.testing.assert_close(_contrast(torch.tensor(0.3)), expected)


def test_soft_targets_mix_the_teachers_opinion_with_the_pairs() -> None:
    teacher = SoftTargets(_unit(4, 3), _unit(4, 4), torch.tensor(9.0), 0.4)
    duplicates = torch.zeros(4, 4, dtype=torch.bool)
    duplicates[0, 1] = duplicates[1, 0] = True
    expected = torch.zeros(())
    for a, b, c, d in ((1, 2, 3, 4), (2, 1, 4, 3)):
        ours = (5 * _unit(4, a) @ _unit(4, b).T).masked_fill(duplicates, -torch.inf)
        theirs = (9 * _unit(4, c) @ _unit(4, d).T).masked_fill(duplicates, -torch.inf)
        target = 0.4 * theirs.softmax(dim=1) + 0.6 * torch.eye(4)
        expected -= (target * ours.log_softmax(dim=1).masked_fill(duplicates, 0)).sum() / 2
    torch.testing.assert_close(_contrast(soft=teacher), expected)
    none = SoftTargets(*teacher[:3], share=0.0)
    torch.testing.assert_close(_contrast(soft=none), _contrast())


def test_the_loop_asks_the_averaged_model_for_soft_targets() -> None:
    made = trainer(steps=4, soft_targets=0.9)
    taught: list[torch.Tensor] = []
    made.ema.model.text_encoder.register_forward_hook(lambda m, i, out: taught.append(out))
    made.fit()
    assert len(taught) == 3  # from the second step on: at the first the share is 0
    assert all(not out.requires_grad for out in taught)


def test_soft_targets_and_sigmoid_are_not_mixed() -> None:
    with pytest.raises(ValidationError, match="soft_targets needs contrastive_loss softmax"):
        LoopSettings(soft_targets=0.4, contrastive_loss="sigmoid")


def test_a_learned_variance_settles_at_its_loss() -> None:
    model = tiny.model()
    add_training_parameters(model, LoopSettings(uncertainty_weighting=True), 3)
    relative, weights = torch.tensor([0.2, 2.0, 7.0]), torch.tensor([1.0, 3.0, 1.0])
    present = torch.tensor([True, True, False])
    optimizer = torch.optim.SGD([model.training_only[LOG_VARIANCE]], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        # a step in two parts pays for the variance once
        for part in (0.3 * relative, 0.7 * relative):
            total_loss(part * present, weights, present, model, 0.5).backward()
        optimizer.step()
    found = model.training_only[LOG_VARIANCE].exp()
    torch.testing.assert_close(found, torch.tensor([0.2, 2.0, 1.0]), rtol=1e-3, atol=0)


def test_fixed_weights_are_a_weighted_sum() -> None:
    relative, weights = torch.tensor([0.5, 2.0]), torch.tensor([1.0, 3.0])
    assert total_loss(relative, weights, torch.ones(2, dtype=torch.bool), tiny.model(), 1) == 6.5


def test_a_task_that_cannot_be_learned_counts_less() -> None:
    made = trainer(steps=60, uncertainty_weighting=True, lr=2e-2, augmentation=0.0)
    rng = np.random.default_rng(0)  # feelings drawn anew for each look are pure noise
    hooked = made._step

    def noisy(batches: list, counts: torch.Tensor, progress: float) -> None:
        for batch in batches:
            batch.sentiment[:] = torch.from_numpy(rng.integers(0, 3, len(batch.sentiment)))
        hooked(batches, counts, progress)

    made._step = noisy  # type: ignore[method-assign]
    made.fit()
    s = made.model.training_only[LOG_VARIANCE]
    assert s[TASKS.index("sentiment")] > s[TASKS.index("vqa")] + 0.3


def test_what_only_a_training_needs_resumes_but_is_not_in_the_artifact(tmp_path: Path) -> None:
    options = {"uncertainty_weighting": True, "contrastive_loss": "sigmoid"}
    made = trainer(steps=6, **options)
    made.fit()
    assert made.model.training_only[BIAS] != 0
    saved = take_snapshot(made.model, made.ema, made.optimizers, made.state).files()
    again = trainer(steps=6, **options)
    restore(saved, again.model, again.ema, again.optimizers)
    for name, value in made.model.training_only.items():
        torch.testing.assert_close(again.model.training_only[name], value)
    save_artifact(tmp_path / "model", Artifact(made.ema.model, tiny.LABELS, tiny.tokenizer()))
    assert not list(load_model(tmp_path / "model").model.training_only)


def test_hidden_words_are_a_seventh_and_never_a_frame() -> None:
    ids = torch.full((4000, 16), 50)
    ids[:, 0], ids[:, 10], ids[:, 11:] = BOS, EOS, PAD
    u = torch.rand(4000, generator=torch.Generator().manual_seed(0))
    hidden = hidden_places(ids, u)
    assert not hidden[:, [0, *range(10, 16)]].any()
    assert hidden[:, 1:10].float().mean() == pytest.approx(0.15, abs=0.01)
    assert hidden_places(ids[:, :12], u).equal(hidden[:, :12])  # padding changes nothing


def test_masked_text_reads_the_rest_of_the_sentence() -> None:
    torch.manual_seed(0)
    model = tiny.model()
    texts = [f"a {c} square on the {p}" for c in tiny.COLOURS for p in tiny.PLACES]
    ids = torch.from_numpy(tiny.tokenizer().encode(texts, 16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(200):
        u = torch.rand(len(ids), generator=generator)
        count = hidden_places(ids, u).sum().clamp_min(1)
        loss = masked_text_sum(model, ids, torch.ones(len(ids)), u) / count
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    # a colour is one of three and a place one of two; all else can be known
    assert np.mean(losses[-10:]) < 0.8 < 4 < losses[0]
    nothing = masked_text_sum(model, ids, torch.zeros(len(ids)), torch.rand(len(ids)))
    assert float(nothing) == 0


def test_consistency_believes_only_what_the_model_is_sure_of() -> None:
    batch = make_batch(world.training_data(8), 0, 0, 8, 2)
    batch.tag_weight[:3] = 0
    batch.sentiment_weight[2:5] = 0
    missing = unlabelled(batch.tag_weight, batch.sentiment_weight, batch.image_weight)
    assert missing.sum(dim=1).tolist() == [3, 3]
    model = tiny.model().eval()
    images = batch.pixels.float() / 64 - 2
    weak = model.encode_image(images)
    said = Said(batch.sides, batch.colours)
    strong = model.encode_image(augment(images, (batch.uniform + 0.5) % 1, said, Augmentation(2.5)))
    assert consistency_sum(model, weak, strong, missing, 0.99) == 0  # a new model is never sure
    with torch.no_grad():  # now it is, and says something else of every picture
        model.tagging.mlp.down.weight.mul_(400)
        model.feeling.mlp.down.weight.mul_(400)
    others = model.encode_image(images.flip(0))
    assert 0 <= consistency_sum(model, weak, weak, missing, 0.99) < 0.1
    assert consistency_sum(model, weak, others, missing, 0.99) > 1
    assert consistency_sum(model, weak, others, torch.zeros_like(missing), 0.99) == 0


def test_consistency_counts_the_labels_that_are_missing() -> None:
    batch = make_batch(world.training_data(8), 0, 0, 8, 2)
    batch.tag_weight[:3] = 0
    losses = TaskLosses(tiny.model(), LossWeights(consistency=1.0), Modes(), threshold=0.51)
    assert losses.counts(batch)[TASKS.index("consistency")] == 3
    assert losses(batch, Augmentation(0.5), Ranks())[TASKS.index("consistency")] > 0
    batch.image_weight[:3] = 0  # unreadable, or here once more for questions only
    assert losses.counts(batch)[TASKS.index("consistency")] == 0
    assert losses(batch, Augmentation(0.5), Ranks())[TASKS.index("consistency")] == 0


def test_the_decoder_learns_to_write_answers() -> None:
    settings = LoopSettings.model_validate(
        {
            "budget_minutes": 4,
            "batch_size": 6,
            "questions": 2,
            "amp": "off",
            "augmentation": 0.0,
            "optimizer": "adamw",
            "lr": 5e-3,
            "validations": 0,
            "loss_weights": {**ONLY, "generative_vqa": 1.0},
            "ema": 0.9,
        }
    )
    ticks = iter(range(10_000))
    made = Trainer(
        tiny.model(),
        world.training_data(6),
        settings,
        0,
        clock=lambda: float(next(ticks)),
        answers=answer_tokens(tiny.LABELS, tiny.tokenizer()),
    )
    made.fit()
    predictor = Predictor(Artifact(made.ema.model, tiny.LABELS, tiny.tokenizer()))
    pictures, records = world.samples(6)
    for place, question in enumerate(("what colour is the square?", "where is the square?")):
        truth = [record["qa"][place]["answer"] for record in records]
        assert predictor.write_answers(pictures, [question] * 6) == truth
    assert len(predictor.write_answers(None, ["where is the square?"])) == 1


def test_answers_are_tokens_and_an_end() -> None:
    tokens = answer_tokens(tiny.LABELS, tiny.tokenizer())
    assert len(tokens) == len(tiny.LABELS.answers)
    assert ((tokens == EOS).sum(dim=1) == 1).all() and not (tokens == BOS).any()
    assert tiny.tokenizer().decode(tokens.tolist()) == list(tiny.LABELS.answers)
