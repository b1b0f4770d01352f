"""Samples from memory and from the shards: the same arrays, and bad ones left out, not replaced."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcore.lake import Dataset, Lake
from mmcore.shards.order import SampleOrder, Visits
from mmcore.shards.reader import Problem, SampleStore, Skipped
from mmcore.train.augment import Augmentation
from mmcore.train.batches import Batch, make_batch
from mmcore.train.loading import Data, training_samples
from mmcore.train.losses import TASKS, Modes, TaskLosses
from mmcore.train.pictures import Pictures
from mmcore.train.pixels import Neighbours
from mmcore.train.ranks import Ranks
from mmcore.train.samples import MemorySamples, Samples, StreamedSamples, count_visits
from mmcore.train.settings import LossWeights, TaskVisits, TrainSettings
from tests.models import tiny
from tests.train import world

DAY = "2026-11-23"


@pytest.fixture
def shards(lake: Lake) -> Dataset:
    return world.write_shards(lake, DAY, train=20, val=2)


def samples_of(shards: Dataset, problems: list[Problem], **changes: object) -> Samples:
    settings = TrainSettings.model_validate({"shuffle_window": 6, **changes})
    store = SampleStore.open([shards], "train")
    skipped = Skipped(problems.append)
    pictures = Pictures(tiny.config().image)
    data = Data(store, tiny.LABELS, tiny.tokenizer(), tiny.config(), settings, 1, skipped, pictures)
    return training_samples(data, Neighbours("test-samples"))


def damage(shards: Dataset, labels: bool = False) -> None:
    """Spoil the picture of the first train sample and, if asked, the labels of the last."""
    path = Path(next(p for p in shards.paths() if p.endswith("train-000000.tar")))
    data = path.read_bytes()
    data = data.replace(b"\x89PNG", b"xxxx", 1)
    if labels:
        head, _, tail = data.rpartition(b'{"captions"')
        data = head + b'["captions"' + tail
    path.write_bytes(data)


def equal(a: Batch, b: Batch) -> bool:
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Batch))


def test_streamed_batches_are_those_from_memory_bit_for_bit(shards: Dataset) -> None:
    memory = samples_of(shards, [])
    streamed = samples_of(shards, [], image_cache_mb=0)
    assert isinstance(memory, MemorySamples) and isinstance(streamed, StreamedSamples)
    for start in (0, 7, 33):
        batches = [make_batch(s, 1, start, start + 9, 2) for s in (memory, streamed)]
        assert equal(*batches)
        assert len(batches[0].answer) and batches[0].image_weight.all()
    np.testing.assert_array_equal(memory.tag_rates(), streamed.tag_rates())


@pytest.mark.parametrize("cache_mb", [0, 100])
def test_bad_samples_are_reported_once_and_count_for_nothing(
    shards: Dataset, cache_mb: int
) -> None:
    whole = samples_of(shards, [])
    damage(shards, labels=True)
    problems: list[Problem] = []
    samples = samples_of(shards, problems, image_cache_mb=cache_mb)
    for start in (0, 20, 40):
        batch = make_batch(samples, 1, start, start + 20, 2)
        sound = make_batch(whole, 1, start, start + 20, 2)
        good = batch.image_weight > 0
        assert int(good.sum()) == 18
        assert not batch.caption_weight[~good].any() and not batch.tag_weight[~good].any()
        assert torch.equal(batch.pixels[good], sound.pixels[good])
        assert torch.equal(batch.caption_weight[good], sound.caption_weight[good])
        assert good[batch.question_image].all()
    assert sorted(p.reason for p in problems) == ["bad_json", "decode_error"]


def test_a_skipped_sample_changes_no_loss(shards: Dataset) -> None:
    damage(shards)
    samples = samples_of(shards, [])
    batch = make_batch(samples, 1, 0, 20, 2)
    assert not batch.image_weight.all()
    other = Batch(**{f.name: getattr(batch, f.name).clone() for f in fields(Batch)})
    other.pixels[batch.image_weight == 0] = 200
    losses = TaskLosses(tiny.model(), LossWeights(reconstruction=0), Modes())
    assert losses.counts(batch)[0] == 19
    with torch.no_grad():
        sums = [losses(b, Augmentation(0.0), Ranks()) for b in (batch, other)]
    torch.testing.assert_close(sums[0], sums[1], rtol=1e-5, atol=1e-5)


def test_extra_visits_train_their_task_alone(shards: Dataset) -> None:
    visits = {"questions": 3, "tags": 2}
    samples = samples_of(shards, [], task_visits=visits)
    assert samples.order.epoch_length == 60
    batch = make_batch(samples, 1, 0, 60, 2)
    assert int((batch.caption_weight > 0).sum()) == 20 == int(batch.image_weight.sum())
    assert int((batch.tag_weight > 0).sum()) == 40
    assert len(batch.question_image.unique()) == 60
    assert int((batch.sentiment_weight > 0).sum()) == 20
    counts = TaskLosses(tiny.model(), LossWeights(), Modes()).counts(batch)
    assert counts[TASKS.index("sentiment")] == pytest.approx(20 * 0.8)


def test_samples_without_a_label_are_not_visited_again_for_it() -> None:
    records = [
        {"qa": [{"question": "q", "answer": "a"}]},
        {"qa": []},
        {"sentiment": {"label": "x"}},
    ]
    assert count_visits(records, TaskVisits(questions=4)).tolist() == [4, 1, 1]
    assert count_visits(records, TaskVisits()) is None


def test_a_visit_stands_at_its_own_place_however_the_stream_is_cut(shards: Dataset) -> None:
    samples = samples_of(shards, [], image_cache_mb=0)
    order = SampleOrder(np.array([20]), 1, 6)
    whole = samples.read(order.slice(5, 15))
    part = samples.read(Visits(*(column[3:7] for column in order.slice(5, 15))))
    assert np.array_equal(whole.pixels[3:7], part.pixels)
    assert np.array_equal(whole.labels.clusters[3:7], part.labels.clusters)
