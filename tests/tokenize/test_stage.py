"""The stage: a tokenizer that stays, and the ids of every caption of a day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mmcore.errors import UserError
from mmcore.lake import Dataset, Lake
from mmcore.tokenize.stage import Config, run, run_tokenizer
from mmcore.tokenize.tokenizer import decode, load_tokenizer

pytestmark = pytest.mark.usefixtures("ray_session")
DAY, NEXT = "2026-11-23", "2026-11-24"
CONFIG = Config(vocab_size=400)
CAPTION = pa.struct(
    [(n, pa.string()) for n in ("text", "lang", "role")]
    + [("count", pa.int32()), ("page_url", pa.string())]
)
SCHEMA = pa.schema(
    [
        ("sha256", pa.string()),
        ("cluster", pa.string()),
        ("kept", pa.bool_()),
        ("captions", pa.list_(CAPTION)),
    ]
)


def row(name: str, *texts: str, kept: bool = True) -> dict[str, Any]:
    captions = [
        {"text": text, "lang": "en", "role": "alt", "count": 2, "page_url": "p"} for text in texts
    ]
    return {"sha256": name * 64, "cluster": name * 64, "kept": kept, "captions": captions}


ROWS = [
    row("a", "A red circle", "two red circles"),
    row("b", kept=False),
    row("c", "a blue star on the left"),
    row("d"),
]


def commit(lake: Lake, rows: list[dict[str, Any]], day: str = DAY, parts: int = 2) -> Dataset:
    writer = lake.writer("deduplicated", day)
    chunks = [rows[i::parts] for i in range(parts)]
    tables = [pa.Table.from_pylist(chunk, SCHEMA) for chunk in chunks]
    return writer.commit([writer.write_table(i, t) for i, t in enumerate(tables)], [], {})


def test_every_caption_of_a_kept_image_gets_its_ids(lake: Lake) -> None:
    commit(lake, ROWS)
    tokenizer = run_tokenizer(lake, DAY, CONFIG)
    dataset = run(lake, DAY, CONFIG)
    rows = dataset.read().to_pylist()
    bpe = load_tokenizer(tokenizer.read_file("tokenizer.json"))
    assert sorted(r["text"] for r in rows) == sorted(
        ["A red circle", "two red circles", "a blue star on the left"]
    )
    for r in rows:
        assert decode(bpe, r["ids"]) == r["text"].lower()
        assert r["n_tokens"] == len(r["ids"]) and r["specificity"] > 0
        assert (r["tokenizer"], r["count"], r["role"]) == (tokenizer.digest, 2, "alt")
    assert len(dataset.parts) == 2
    assert dataset.metadata["funnel"] == {
        "images": 2,
        "captions": 3,
        "tokens": sum(r["n_tokens"] for r in rows),
    }


def test_tokenizer_stays_while_the_corpus_grows(lake: Lake) -> None:
    commit(lake, ROWS)
    first = run_tokenizer(lake, DAY, CONFIG)
    commit(lake, [row("e", "something entirely different, again and again")] * 3, NEXT)
    assert run_tokenizer(lake, NEXT, CONFIG).digest == first.digest
    run(lake, NEXT, CONFIG)


def test_tokenizer_is_trained_anew_when_asked_or_when_its_settings_change(lake: Lake) -> None:
    commit(lake, ROWS)
    first = run_tokenizer(lake, DAY, CONFIG)
    commit(lake, [row("e", "different words, different words, different words")] * 9, NEXT)
    retrained = run_tokenizer(lake, NEXT, CONFIG.model_copy(update={"retrain": True}))
    assert retrained.digest != first.digest
    smaller = run_tokenizer(lake, NEXT, Config(vocab_size=262))
    assert load_tokenizer(smaller.read_file("tokenizer.json")).get_vocab_size() == 262


def test_tokenizer_of_an_empty_day_gives_way_to_the_first_real_one(lake: Lake) -> None:
    commit(lake, [], parts=1)
    empty = run_tokenizer(lake, DAY, CONFIG)
    assert empty.metadata["funnel"]["captions"] == 0
    assert run(lake, DAY, CONFIG).rows == 0
    commit(lake, ROWS, NEXT)
    assert run_tokenizer(lake, NEXT, CONFIG).metadata["funnel"]["captions"] == 3


def test_same_input_gives_the_same_bytes(lake: Lake, tmp_path: Path) -> None:
    other = Lake(str(tmp_path / "other"))
    for place in (lake, other):
        commit(place, ROWS)
    assert run_tokenizer(lake, DAY, CONFIG).digest == run_tokenizer(other, DAY, CONFIG).digest
    assert run(lake, DAY, CONFIG).digest == run(other, DAY, CONFIG).digest
    assert run(lake, DAY, CONFIG).manifest == lake.dataset("tokenized", DAY).manifest


def test_missing_input_names_the_dataset(lake: Lake) -> None:
    with pytest.raises(UserError, match="deduplicated@2026-11-23"):
        run_tokenizer(lake, DAY, CONFIG)


def test_training_on_a_sample_of_the_texts_is_bounded(lake: Lake) -> None:
    commit(lake, [row("a", *(f"caption number {i}" for i in range(50)))])
    config = CONFIG.model_copy(update={"max_training_texts": 10})
    assert run_tokenizer(lake, DAY, config).metadata["funnel"]["captions"] <= 10
