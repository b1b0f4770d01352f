"""The stage: a tokenizer that stays, and the ids of every caption of a day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer, models, pre_tokenizers

from mmcore.cli import cli
from mmcore.errors import UserError
from mmcore.lake import Dataset, Lake
from mmcore.tokenize.stage import Config, run, run_tokenizer
from mmcore.tokenize.tokenizer import (
    SPECIAL_TOKENS,
    TokenizerSettings,
    decode,
    load_tokenizer,
    train_tokenizer,
)

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


def row(name: str, *texts: str, kept: bool = True, lang: str | None = "en") -> dict[str, Any]:
    captions = [
        {"text": text, "lang": lang, "role": "alt", "count": 2, "page_url": "p"} for text in texts
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
    assert dataset.manifest.columns["ids"] == "list<item: uint16>"
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


def test_training_is_on_a_bounded_sample_of_distinct_texts_of_every_language(lake: Lake) -> None:
    english = [row("a", *(f"caption number {i}" for i in range(50)))] * 2
    others = [row("b", "eine Bildunterschrift", lang="de"), row("c", "no language", lang=None)]
    commit(lake, english + others)
    config = CONFIG.model_copy(update={"max_training_texts": 12})
    found = run_tokenizer(lake, DAY, config).metadata
    assert found["funnel"]["captions"] <= 12
    assert set(found["languages"]) == {"en", "de", "und"} and found["languages"]["en"] >= 8
    assert found["exact_round_trips"] == 1.0 and found["kind"] == "bpe"


def test_a_corpus_cut_otherwise_gives_the_same_tokenizer(lake: Lake, tmp_path: Path) -> None:
    other = Lake(str(tmp_path / "other"))
    config = CONFIG.model_copy(update={"max_training_texts": 20})
    rows = [row(name, *(f"caption {i} of {name}" for i in range(9))) for name in "abcdef"]
    commit(lake, rows, parts=1)
    commit(other, rows[::-1], parts=4)
    assert run_tokenizer(lake, DAY, config).digest == run_tokenizer(other, DAY, config).digest


def test_unigram_is_an_option(lake: Lake) -> None:
    commit(lake, ROWS)
    tokenizer = run_tokenizer(lake, DAY, CONFIG.model_copy(update={"kind": "unigram"}))
    library = load_tokenizer(tokenizer.read_file("tokenizer.json"))
    assert type(library.model).__name__ == "Unigram"
    rows = run(lake, DAY, CONFIG).read(["text", "ids"]).to_pylist()
    assert len(rows) == 3
    assert all(decode(library, r["ids"]) == r["text"].lower() for r in rows)


def test_an_earlier_version_stays_readable_by_the_digest_on_its_rows(lake: Lake) -> None:
    commit(lake, ROWS)
    first = run_tokenizer(lake, DAY, CONFIG)
    tokenized = run(lake, DAY, CONFIG)
    commit(lake, [row("e", "entirely different words, different words, words")] * 9, NEXT)
    second = run_tokenizer(lake, NEXT, CONFIG.model_copy(update={"retrain": True}))
    run(lake, NEXT, CONFIG)
    assert lake.dataset("tokenizer").digest == second.digest != first.digest
    for r in tokenized.read().to_pylist():
        version = lake.version("tokenizer", None, r["tokenizer"])
        library = load_tokenizer(version.read_file("tokenizer.json"))
        assert decode(library, r["ids"]) == r["text"].lower()
    later = lake.dataset("tokenized", NEXT).read(["tokenizer"])["tokenizer"].to_pylist()
    assert set(later) == {second.digest}


def test_a_night_in_a_new_language_suggests_retraining_and_retrains_nothing(lake: Lake) -> None:
    config = CONFIG.model_copy(update={"drift": CONFIG.drift.model_copy(update={"min_texts": 5})})
    commit(lake, [row("a", *(f"a red circle number {i}" for i in range(20)))])
    first = run_tokenizer(lake, DAY, config)
    assert run(lake, DAY, config).metadata["drift"]["suggest_retraining"] is False
    commit(lake, [row("b", *(f"ένας κύκλος {i}" for i in range(20)), lang="el")], NEXT)
    assert run_tokenizer(lake, NEXT, config).digest == first.digest
    drift = run(lake, NEXT, config).metadata["drift"]
    assert drift["suggest_retraining"] is True and "not trained on" in drift["because"]["el"]
    assert drift["languages"]["el"]["texts"] == 20
    shown = CliRunner().invoke(cli, ["show", f"tokenized@{NEXT}", "--root", lake.root])
    assert "suggest_retraining" in shown.output and "was not trained on" in shown.output


def test_other_drift_rules_change_the_report_and_not_the_ids(lake: Lake) -> None:
    commit(lake, [row("a", *(f"a red circle number {i}" for i in range(20)))])
    run_tokenizer(lake, DAY, CONFIG)
    commit(lake, [row("b", *(f"ένας κύκλος {i}" for i in range(20)), lang="el")], NEXT)
    calm = run(lake, NEXT, CONFIG)
    strict = CONFIG.model_copy(update={"drift": CONFIG.drift.model_copy(update={"min_texts": 5})})
    assert run_tokenizer(lake, NEXT, strict).digest == lake.dataset("tokenizer").digest
    alarmed = run(lake, NEXT, strict)
    assert calm.metadata["drift"]["suggest_retraining"] is False
    assert alarmed.metadata["drift"]["suggest_retraining"] is True
    assert alarmed.digest == calm.digest


def test_a_tokenizer_of_the_users_own_is_used_until_its_file_changes(
    lake: Lake, tmp_path: Path
) -> None:
    commit(lake, ROWS)
    path = tmp_path / "mine.json"
    mine = TokenizerSettings(vocab_size=300, lowercase=False)
    path.write_bytes(train_tokenizer([["My Own Words"] * 9], mine))
    config = CONFIG.model_copy(update={"file": str(path)})
    first = run_tokenizer(lake, DAY, config)
    library = load_tokenizer(first.read_file("tokenizer.json"))
    assert library.get_vocab() == load_tokenizer(path).get_vocab()
    assert first.metadata["kind"] == "given"
    rows = run(lake, DAY, config).read(["text", "ids", "specificity"]).to_pylist()
    assert all(decode(library, r["ids"]) == r["text"] and r["specificity"] > 0 for r in rows)
    commit(lake, ROWS[:1], NEXT)
    assert run_tokenizer(lake, NEXT, config).digest == first.digest
    path.write_bytes(train_tokenizer([["Other Words"] * 9], mine))
    assert run_tokenizer(lake, NEXT, config).digest != first.digest


def test_a_given_tokenizer_that_cannot_be_used_says_what_to_change(
    lake: Lake, tmp_path: Path
) -> None:
    commit(lake, ROWS)
    path = tmp_path / "mine.json"
    config = CONFIG.model_copy(update={"file": str(path)})
    with pytest.raises(UserError, match=r"mine.json cannot be read \(No such file"):
        run_tokenizer(lake, DAY, config)
    path.write_text("no JSON")
    with pytest.raises(UserError, match=r"mine.json holds no tokenizer.json"):
        run_tokenizer(lake, DAY, config)
    large = train_tokenizer(
        [[f"{a}{b}{a} {b}" for a in "abcdef" for b in "ghijk"] * 9],
        TokenizerSettings(vocab_size=450),
    )
    path.write_bytes(large)
    with pytest.raises(UserError, match=r"vocab_size allows 270: raise it to \d+"):
        run_tokenizer(lake, DAY, config.model_copy(update={"vocab_size": 270}))


def test_large_vocabularies_get_ids_of_four_bytes(lake: Lake, tmp_path: Path) -> None:
    commit(lake, ROWS)
    vocabulary = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
    vocabulary |= {f"w{number}": number for number in range(4, 70_000)} | {"circle": 70_000}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="w4"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    path = tmp_path / "mine.json"
    path.write_text(words.to_str())
    config = CONFIG.model_copy(update={"file": str(path), "vocab_size": 100_000})
    run_tokenizer(lake, DAY, config)
    dataset = run(lake, DAY, config)
    assert dataset.manifest.columns["ids"] == "list<item: uint32>"
    rows = {r["text"]: r["ids"] for r in dataset.read(["text", "ids"]).to_pylist()}
    assert rows["A red circle"] == [4, 4, 70_000]
