"""The curriculum: the surer labels first, all of them in the end, the same on every rank."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from mmcore.train.batches import Batch, make_batch
from mmcore.train.checkpoint import Snapshot, restore
from mmcore.train.curriculum import Curriculum
from mmcore.train.loop import Hooks, Trainer
from mmcore.train.losses import TASKS, Modes, TaskLosses
from mmcore.train.samples import MemorySamples
from mmcore.train.settings import LossWeights
from tests.models import tiny
from tests.train import world
from tests.train.test_loop import snapshot, trainer, weights


def unsure(count: int) -> MemorySamples:
    """Captions, questions and sentiment that are each less sure than the one before."""
    samples = world.training_data(count, seed=3)
    table = samples.table
    sure = np.linspace(1.0, 0.1, count, dtype=np.float32)
    table = replace(
        table,
        caption_weights=table.caption_weights * sure[:, None],
        question_weights=table.question_weights * sure[:, None],
        sentiment_weights=table.sentiment_weights * sure,
        tags=table.tags * sure[:, None],
    )
    return replace(samples, table=table)


def epoch(samples: MemorySamples) -> Batch:
    return make_batch(samples, 0, 0, len(samples), 2)


def test_half_of_the_labels_come_first_and_all_in_the_end() -> None:
    samples = unsure(20)
    batch, made = epoch(samples), Curriculum.of(samples.some_labels(), 0.6)
    for field in ("caption_weight", "tag_weight", "sentiment_weight"):
        before = getattr(batch, field)
        counts = [int((getattr(made(batch, p), field) > 0).sum()) for p in (0.0, 0.3, 0.45, 0.6)]
        assert counts[0] in (10, 11) and counts[1] in (15, 16) and counts[3] == 20
        assert counts == sorted(counts)
        early = getattr(made(batch, 0.0), field) > 0
        if field != "tag_weight":  # tags weigh 1: their confidences are targets
            assert before[early].min() > before[~early].max()
        kept = getattr(made(batch, 0.0), field)[early]
        torch.testing.assert_close(kept, before[early], rtol=0, atol=0)  # or nothing, or all
    questions = made(batch, 0.0).question_weight
    assert 20 <= int((questions > 0).sum()) <= 22
    assert made(batch, 0.9) is batch


def test_labels_that_are_all_alike_are_all_there_from_the_start() -> None:
    samples = world.training_data(12)
    batch = epoch(samples)
    made = Curriculum.of(samples.some_labels(), 1.0)(batch, 0.0)
    for field in ("caption_weight", "question_weight", "tag_weight", "sentiment_weight"):
        torch.testing.assert_close(getattr(made, field), getattr(batch, field))


def test_shares_of_a_batch_are_cut_as_the_whole_is() -> None:
    samples = unsure(24)
    made = Curriculum.of(samples.some_labels(), 1.0)
    whole = made(make_batch(samples, 1, 0, 12, 2), 0.4)
    halves = [made(make_batch(samples, 1, s, s + 6, 2), 0.4) for s in (0, 6)]
    for field in ("caption_weight", "question_weight", "tag_weight", "sentiment_weight"):
        torch.testing.assert_close(
            torch.cat([getattr(h, field) for h in halves]), getattr(whole, field)
        )


def test_a_hidden_label_counts_as_missing_until_it_comes_in() -> None:
    samples = unsure(20)
    batch, made = epoch(samples), Curriculum.of(samples.some_labels(), 0.6)
    losses = TaskLosses(tiny.model(), LossWeights(consistency=1.0), Modes())

    def guessed(seen: Batch) -> float:
        return float(losses.counts(seen)[TASKS.index("consistency")])

    early = made(batch, 0.0)
    hidden = int((early.tag_weight == 0).sum()) + int((early.sentiment_weight == 0).sum())
    assert guessed(early) == hidden >= 18
    assert guessed(made(batch, 0.6)) == 0


def learner(first: int = 0) -> Trainer:
    made = trainer(steps=10, first=first, curriculum=0.8)
    samples = unsure(12)
    return Trainer(made.model, samples, made.settings, seed=3, clock=made.clock)


def test_a_resumed_run_with_a_curriculum_ends_like_an_unbroken_one() -> None:
    whole = learner()
    whole.settings = whole.settings.model_copy(update={"checkpoint_minutes": 1 / 120})
    saved: dict[int, Snapshot] = {}
    whole.fit(Hooks(checkpoint=lambda t: saved.update({t.state.step: snapshot(t)})))
    resumed = learner(first=1)
    resumed.state = restore(saved[5].files(), resumed.model, resumed.ema, resumed.optimizers)
    resumed.fit()
    for name, value in weights(whole).items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=1e-6)
    plain = trainer(steps=10)
    other = Trainer(plain.model, unsure(12), plain.settings, seed=3, clock=plain.clock)
    other.fit()
    changed = [not value.equal(weights(other)[name]) for name, value in weights(whole).items()]
    assert any(changed)  # the curriculum did something
