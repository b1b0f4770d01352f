"""The training sample: bounded, balanced, and the same however the corpus is cut."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from mmcore.tokenize.sample import BalancedSample, language_quotas

COUNTS = {"en": 900_000, "de": 90_000, "fi": 9_000, "is": 90}


def test_all_texts_are_taken_where_there_is_room() -> None:
    assert language_quotas(COUNTS, 10**6, 0.5) == COUNTS


def test_the_total_is_bounded_and_small_languages_are_heard() -> None:
    quotas = language_quotas(COUNTS, 10_000, 0.5)
    assert 9_990 <= sum(quotas.values()) <= 10_000
    assert quotas["en"] / quotas["de"] == pytest.approx(10**0.5, rel=0.01)
    assert quotas["is"] > 10_000 * 90 / sum(COUNTS.values()) * 10


def test_alpha_one_takes_texts_as_they_come_and_zero_the_same_of_every_language() -> None:
    natural = language_quotas(COUNTS, 9_990, 1.0)
    assert natural["en"] == pytest.approx(9_000, abs=5)
    even = language_quotas(COUNTS, 9_990, 0.0)
    assert even["is"] == 90 and even["en"] == even["de"] == even["fi"] == 3_300


def test_fewer_texts_than_languages_do_not_overrun_the_bound() -> None:
    assert sum(language_quotas({f"l{i}": 5 for i in range(10)}, 3, 0.5).values()) <= 3
    assert language_quotas({}, 10, 0.5) == {}


def draw(rows: list[tuple[str | None, str]], part: int, quotas: dict[str, int]) -> pa.Table:
    sample = BalancedSample(quotas)
    for start in range(0, len(rows), part):
        langs, texts = zip(*rows[start : start + part], strict=True)
        sample.add(pa.array(langs, pa.string()), pa.array(texts))
    return sample.table()


def test_the_sample_does_not_depend_on_order_parts_or_repetition() -> None:
    rows = [(lang, f"text {i} in {lang}") for i in range(500) for lang in ("en", "de")]
    rows += [(None, f"no language {i}") for i in range(50)]
    quotas = {"en": 100, "de": 30, "und": 10}
    first = draw(rows, 1050, quotas)
    shuffled = random.Random(1).sample(rows * 2, len(rows) * 2)
    for part in (7, 100, 5000):
        assert draw(shuffled, part, quotas).equals(first)
    langs = first["lang"].to_pylist()
    assert {name: langs.count(name) for name in quotas} == quotas
    assert len(set(first["text"].to_pylist())) == 140


def test_the_sample_is_spread_over_the_corpus() -> None:
    rows = [("en", f"text {i:05d}") for i in range(2000)]
    taken = sorted(int(t[5:]) for t in draw(rows, 100, {"en": 400})["text"].to_pylist())
    quarters = [sum(start <= t < start + 500 for t in taken) for start in range(0, 2000, 500)]
    assert min(quarters) > 60  # 100 expected each; a prefix or suffix would leave one empty


def test_a_language_without_a_quota_is_left_out() -> None:
    assert draw([("en", "a"), ("xx", "b")], 2, {"en": 5})["text"].to_pylist() == ["a"]
