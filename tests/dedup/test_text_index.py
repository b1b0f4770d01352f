"""The index of texts across nights, on Ray: one text over all days, counted, repaired."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mmcore.clean.images import PixelPolicy
from mmcore.clean.measure import measure
from mmcore.dedup import stage_text_index
from mmcore.dedup.stage import Config, run
from mmcore.dedup.stage_protect import Protect
from mmcore.dedup.text_index import TextHistory
from mmcore.lake import Dataset, Lake
from tests.dedup.signatures import Shown, night

NAME = "text_index"
TEMPLATE = "A red kite over the old harbour of the town, photograph number"
Said = list[tuple[Shown, str]]


def _day(number: int) -> str:
    return f"2026-11-{number:02d}"


def _night(lake: Lake, number: int, said: Said, **options: object) -> Dataset:
    return night(lake, _day(number), [image for image, _ in said], said=said, **options)


def _captions(found: Dataset) -> list[str]:
    return sorted(c["text"] for row in found.read().to_pylist() for c in row["captions"] or [])


def _index(lake: Lake, number: int) -> TextHistory:
    return stage_text_index.opened(lake, lake.dataset(NAME, _day(number)))


def _texts(seed: int, count: int) -> list[str]:
    """Texts of 20 words that are not alike."""
    words = np.random.default_rng(seed).integers(0, 10**6, (count, 20))
    return [" ".join(f"w{word}" for word in row) for row in words.tolist()]


def _partition(history: TextHistory) -> set[frozenset[int]]:
    members = defaultdict(set)
    for part in history.parts("seen"):
        for key, cluster in zip(part["key"].to_pylist(), part["id"].to_pylist(), strict=True):
            members[cluster].add(key)
    return {frozenset(some) for some in members.values()}


@pytest.mark.usefixtures("ray_session")
class TestNights:
    def test_a_template_is_left_out_from_the_night_it_is_under_too_many_images(
        self, lake: Lake
    ) -> None:
        config = Config(max_caption_clusters=2)
        nights = [
            _night(lake, n, [(Shown(n), f"{TEMPLATE} {n}")], config=config) for n in range(1, 5)
        ]
        assert [len(_captions(found)) for found in nights] == [1, 1, 0, 0]
        assert nights[3].metadata["captions"]["under_too_many_clusters"] == 1
        assert nights[3].metadata["texts"]["near_earlier"] == 1
        (one,) = _partition(_index(lake, 4))
        assert len(one) == 4

    def test_a_picture_that_is_seen_every_night_counts_once(self, lake: Lake) -> None:
        config = Config(max_caption_clusters=2)
        for number in range(1, 4):
            _night(lake, number, [(Shown(1), TEMPLATE)], config=config)
        assert _captions(_night(lake, 4, [(Shown(2), TEMPLATE)], config=config)) == [TEMPLATE]
        assert _captions(_night(lake, 5, [(Shown(3), TEMPLATE)], config=config)) == []

    def test_nights_find_the_clusters_of_one_run_when_leaders_come_first(
        self, lake: Lake, tmp_path: Path
    ) -> None:
        long = [
            *_texts(1, 40),
            "猫が窓辺で静かに眠っている写真ですねこ",
            "Harbour seagulls",
            "!!! ???",
        ]
        near = [text.rsplit(" ", cut)[0] for text in long[:40] for cut in (1, 2)]
        near += ["猫が窓辺で静かに眠っている写真ですね", "Harbour seagull"]
        days = [long[::3], long[1::3], long[2::3], *(near[at::4] for at in range(4))]
        said = []
        for number, texts in enumerate(days, 1):
            said += [(Shown(100 * number + at), text) for at, text in enumerate(texts)]
            _night(lake, number, [pair for pair in said if pair[0].picture // 100 == number])
        whole = Lake(str(tmp_path / "whole"))
        _night(whole, 1, said)
        found = _partition(_index(lake, len(days)))
        assert found == _partition(_index(whole, 1))
        assert sorted(len(some) for some in found) == [1, *[2] * 2, *[3] * 40]
        held = lake.dataset(NAME, _day(len(days))).metadata
        assert max(held["runs"].values()) <= 6 < len(days)
        assert (held["clusters"], held["texts"]) == (43, 125)

    def test_a_night_writes_what_is_new_and_not_the_history(self, lake: Lake) -> None:
        old = [(Shown(n), text) for n, text in enumerate(_texts(2, 200), 1)]
        _night(lake, 1, old)
        _night(lake, 2, [*old, (Shown(900), "A ship in the harbour of the old town at noon")])
        index = lake.dataset(NAME, _day(2))
        assert index.metadata["texts"] == 201
        # one new text: a row in each of 18 bands, `seen`, `leaders`, `counts`
        assert index.metadata["written_rows"] == 21

    def test_a_day_run_again_gives_the_same_however_it_is_cut_and_whatever_came_later(
        self, lake: Lake
    ) -> None:
        texts = _texts(3, 12)
        said: list[Said] = [
            [(Shown(100 * n + at), text) for at, text in enumerate(texts[: 8 + n])] for n in (1, 2)
        ]
        for number, some in enumerate(said, 1):
            _night(lake, number, some)
        before = [lake.dataset(NAME, _day(n)).digest for n in (1, 2)]
        for number, some in enumerate(said, 1):
            _night(lake, number, some, rows_per_part=3, config=Config(bucket_cap=999))
        assert [lake.dataset(NAME, _day(n)).digest for n in (1, 2)] == before

    def test_an_index_that_is_missing_is_made_again_the_same(self, lake: Lake) -> None:
        for number, text in enumerate([TEMPLATE, "!", TEMPLATE + " one"], 1):
            _night(lake, number, [(Shown(number), text), (Shown(50), TEMPLATE)])
        before = lake.dataset(NAME, _day(3)).digest
        lake.storage.delete(f"datasets/{NAME}")
        run(lake, _day(3), Config())
        assert lake.dataset(NAME, _day(3)).digest == before

    def test_an_earlier_day_that_changed_is_known_as_it_is_now(self, lake: Lake) -> None:
        config = Config(max_caption_clusters=1)
        _night(lake, 1, [(Shown(1), TEMPLATE)], config=config)
        _night(lake, 2, [(Shown(2), "Something else of five words")], config=config)
        _night(lake, 1, [(Shown(1), "Quite another text than before")], config=config)
        last = [(Shown(3), TEMPLATE), (Shown(4), "Something else of five words")]
        assert _captions(_night(lake, 3, last, config=config)) == [TEMPLATE]
        assert len(_partition(_index(lake, 3))) == 3

    def test_texts_compared_in_another_way_are_compared_again(self, lake: Lake) -> None:
        _night(lake, 1, [(Shown(1), TEMPLATE)])
        _night(lake, 2, [(Shown(2), TEMPLATE + " two")])
        assert len(_partition(_index(lake, 2))) == 1
        _night(lake, 3, [(Shown(3), TEMPLATE)], config=Config(min_text_similarity=1))
        assert len(_partition(_index(lake, 3))) == 2

    def test_texts_of_an_evaluation_set_are_not_remembered(
        self, lake: Lake, tmp_path: Path
    ) -> None:
        held = tmp_path / "set.jsonl"
        held.write_text(json.dumps({"captions": [TEMPLATE]}))
        protect = Protect((held,), partial(measure, policy=PixelPolicy()))
        said = [(Shown(1), TEMPLATE + " one"), (Shown(2), "Something else of five words")]
        _night(lake, 1, said, protect=protect)
        assert lake.dataset(NAME, _day(1)).metadata["texts"] == 1
        # A set that comes later bars what earlier nights know.
        _night(lake, 2, [(Shown(3), TEMPLATE)])
        found = _night(lake, 3, [(Shown(4), TEMPLATE)], protect=protect)
        assert _captions(found) == []
