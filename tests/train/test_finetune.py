"""A few labels: new names are learned, what was known stays, nothing usable is said plainly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcore.errors import UserError
from mmcore.finetune import finetune as finetune_file
from mmcore.models import load_model
from mmcore.models.artifact import load_artifact, save_artifact
from mmcore.models.images import decode_images
from mmcore.models.predictor import Predictor
from mmcore.train.data import build_table
from mmcore.train.finetune import FinetuneSettings, extended, finetune, keep_opinions
from tests.models import tiny
from tests.train import world

COLOURS = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_artifact(tmp_path / "model", tiny.artifact(seed=1))
    return tmp_path / "model"


def test_names_that_are_new_stand_behind_the_known_ones() -> None:
    records = [
        {"tags": [{"tag": "square"}, {"tag": "red"}], "qa": [{"question": "?", "answer": "Two"}]}
    ]
    labels = extended(tiny.LABELS, records)
    assert labels.tags == (*COLOURS, "square") and labels.answers[-1] == "two"
    assert labels.languages == tiny.LABELS.languages
    captions = [{"text": "un carré", "lang": "fr"}, {"text": "?"}, {"text": "x", "lang": "de"}]
    assert extended(tiny.LABELS, [{"captions": captions}]).languages == ("en", "de", "fr")


def test_the_old_opinion_stands_in_for_tags_nobody_speaks_of(folder: Path) -> None:
    start = load_artifact(folder)
    pictures, _ = world.samples(4)
    records = [{"tags": [{"tag": "left"}]} if n % 2 else {} for n in range(4)]
    labels = extended(start.labels, records)
    table = build_table(records, labels, start.tokenizer, 16)
    kept = keep_opinions(table, labels, start, decode_images(pictures, 32), records)
    np.testing.assert_allclose(kept.tags[:, :3], Predictor(start).tags(pictures), atol=1e-6)
    assert kept.tags[:, 3].tolist() == [0, 1, 0, 1]
    assert kept.tag_weights.tolist() == [0, 1, 0, 1]  # no label, no loss
    asked = [{"qa": [{"question": "where is the square?", "answer": "left"}]}] * 4
    table = build_table(asked, start.labels, start.tokenizer, 16)
    kept = keep_opinions(table, start.labels, start, decode_images(pictures, 32), asked)
    np.testing.assert_allclose(kept.tags, Predictor(start).tags(pictures), atol=1e-6)
    assert kept.tag_weights.tolist() == [1, 1, 1, 1]


def test_heads_learn_new_tags_and_answers_while_the_rest_is_frozen(folder: Path) -> None:
    pictures, given = world.samples(12)
    records = [
        {"tags": [{"tag": f"{r['tags'][0]['tag']} thing"}], "qa": r["qa"][:1], "sentiment": None}
        for r in given
    ]
    settings = FinetuneSettings(steps=0, probe_lr=2e-2)
    made = finetune(folder, load_artifact(folder), pictures, records, settings)
    new = made.labels.tags[3:]
    assert new == ("blue thing", "green thing", "red thing")
    before = load_artifact(folder).model.state_dict()
    for name, value in made.model.state_dict().items():
        if name.split(".")[0] not in ("answering", "tagging", "local_tagging", "feeling"):
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    model = Predictor(made)
    likely = model.tags(pictures)[:, 3:].argmax(axis=1)
    assert [new[best] for best in likely] == [r["tags"][0]["tag"] for r in records]
    asked = [r["qa"][0] for r in records]
    said = model.answer(pictures, [pair["question"] for pair in asked])
    assert [answer for answer, _ in said] == [pair["answer"] for pair in asked]


def test_all_weights_move_in_the_second_part_and_runs_repeat(folder: Path) -> None:
    pictures, records = world.samples(6)
    settings = FinetuneSettings(probe_steps=2, steps=3, batch_size=4)
    first, second = (
        finetune(folder, load_artifact(folder), pictures, records, settings) for _ in range(2)
    )
    before = load_artifact(folder).model.state_dict()
    for name, value in first.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], value, rtol=0, atol=0)
    moved = [not value.equal(before[name]) for name, value in first.model.state_dict().items()]
    assert np.mean(moved) > 0.8


def test_captions_of_a_new_language_are_written_in_it(folder: Path) -> None:
    pictures, records = world.samples(6)
    for record in records:
        record["captions"] = [
            {"text": "un carre", "lang": "fr"},
            {"text": "a square", "lang": "en"},
        ]
    before = load_artifact(folder)
    settings = FinetuneSettings(probe_steps=0, steps=150, lr=3e-3)
    made = finetune(folder, before, pictures, records, settings)
    assert made.labels.languages == (*tiny.LABELS.languages, "fr")
    assert set(Predictor(made).caption(pictures, language="fr")) == {"un carre"}
    assert set(Predictor(made).caption(pictures, language="en")) == {"a square"}
    with pytest.raises(UserError, match="writes en, de, not"):
        Predictor(before).caption(pictures[:1], language="fr")
    table = build_table(records, made.labels, made.tokenizer, 16)
    assert table.caption_languages.tolist() == [[2, 0]] * 6


def test_a_model_on_a_frozen_tower_is_refused_with_what_to_choose(folder: Path) -> None:
    start = replace(load_artifact(folder), tower=b"onnx")
    with pytest.raises(UserError, match=r"image\.kind other than tower"):
        finetune(folder, start, *world.samples(2), FinetuneSettings())


def test_a_file_of_labels_becomes_a_model_folder(folder: Path, tmp_path: Path) -> None:
    pictures, records = world.samples(4)
    lines = [
        {"image": f"{n}.png", "tags": [r["tags"][0]["tag"], "square"], "sentiment": "positive"}
        for n, r in enumerate(records)
    ]
    lines[3]["split"] = "test"
    lines[0] |= {"captions": ["un carré"], "lang": "fr-CA"}
    for n, picture in enumerate(pictures):
        (tmp_path / f"{n}.png").write_bytes(picture)
    lines += [{"image": "none.png", "tags": ["x"]}, {"image": "../x.png"}, {"tags": ["x"]}]
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    lines.append({"image": "bad.png", "tags": ["x"]})
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    settings = FinetuneSettings(probe_steps=2, steps=1)
    done = finetune_file(folder, file, tmp_path / "out", settings)
    assert done == {
        "images": 3,
        "left_out": {
            "missing_file": 1,
            "no_image": 1,
            "not_an_image": 1,
            "other_split": 1,
            "outside_folder": 1,
        },
        "new_answers": [],
        "new_tags": ["square"],
        "new_languages": ["fr"],
    }
    labels = load_model(tmp_path / "out").labels
    assert labels.tags == (*COLOURS, "square") and labels.languages == ("en", "de", "fr")
    with pytest.raises(UserError, match="not empty"):
        finetune_file(folder, file, tmp_path / "out", settings)


def test_a_file_without_usable_labels_is_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text('{"image": "none.png", "tags": ["x"]}\n')
    with pytest.raises(UserError, match="fewer than two images"):
        finetune_file(folder, file, tmp_path / "out", FinetuneSettings())
    with pytest.raises(UserError, match="cannot be read"):
        finetune_file(folder, tmp_path / "none.jsonl", tmp_path / "out", FinetuneSettings())
    pictures, _ = world.samples(3)
    with pytest.raises(UserError, match="nothing to learn"):
        finetune(folder, load_artifact(folder), pictures, [{}, {}, {}], FinetuneSettings())
