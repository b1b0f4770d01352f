"""Using a saved model: the same answers after loading, missing modalities, clear refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcore.errors import UserError
from mmcore.models import load_model
from mmcore.models.artifact import save_artifact
from mmcore.models.config import SPECIAL_TOKENS
from mmcore.models.decoding import Search
from mmcore.models.predictor import Predictor
from tests.models import tiny

PICTURES = [tiny.picture(c, p) for c in tiny.COLOURS for p in tiny.PLACES]
TEXTS = [f"a {c} square on the {p}" for c in tiny.COLOURS for p in tiny.PLACES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("model")
    save_artifact(target, tiny.artifact())
    return target


def test_a_loaded_model_says_what_the_saved_one_said(folder: Path) -> None:
    before, after = Predictor(tiny.artifact()), load_model(folder)
    np.testing.assert_array_equal(before.encode_images(PICTURES), after.encode_images(PICTURES))
    np.testing.assert_array_equal(before.encode_texts(TEXTS), after.encode_texts(TEXTS))
    np.testing.assert_array_equal(before.match(PICTURES, TEXTS), after.match(PICTURES, TEXTS))
    np.testing.assert_array_equal(before.tags(PICTURES), after.tags(PICTURES))
    assert before.caption(PICTURES) == after.caption(PICTURES)
    assert before.answer(PICTURES, TEXTS) == after.answer(PICTURES, TEXTS)


def test_saving_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    save_artifact(tmp_path, tiny.artifact())
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_results_do_not_depend_on_the_chunk(folder: Path) -> None:
    whole, chunked = load_model(folder), load_model(folder)
    chunked.batch_size = 4
    np.testing.assert_allclose(
        whole.encode_images(PICTURES), chunked.encode_images(PICTURES), atol=1e-5
    )
    np.testing.assert_allclose(
        whole.match(PICTURES, TEXTS), chunked.match(PICTURES, TEXTS), atol=1e-5
    )
    assert whole.caption(PICTURES) == chunked.caption(PICTURES)


def test_texts_drawn_by_chance_do_not_depend_on_the_chunk(folder: Path) -> None:
    whole, chunked = load_model(folder), load_model(folder)
    chunked.batch_size = 4
    drawn, questions = Search(kind="nucleus", temperature=2.0), ["where is the square?"] * 6
    same = [PICTURES[0]] * 6
    captions = whole.caption(same, search=drawn)
    assert len(set(captions)) > 1 and chunked.caption(same, search=drawn) == captions
    answers = whole.write_answers(same, questions, drawn)
    assert len(set(answers)) > 1 and chunked.write_answers(same, questions, drawn) == answers


def test_shapes_dtypes_and_ranges(folder: Path) -> None:
    model = load_model(folder)
    images = model.encode_images(PICTURES)
    assert images.shape == (6, 16) and images.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
    assert model.tags(PICTURES).shape == (6, 3)
    np.testing.assert_allclose(model.sentiment(PICTURES).sum(axis=1), 1, atol=1e-5)
    for answer, confidence in model.answer(PICTURES, ["where is the square?"] * 6):
        assert answer in tiny.LABELS.answers and 0 < confidence <= 1


def test_no_inputs_give_empty_results(folder: Path) -> None:
    model = load_model(folder)
    assert model.encode_images([]).shape == (0, 16)
    assert model.tags([]).shape == (0, 3)
    assert model.caption([]) == [] and model.answer(None, []) == []


def test_either_modality_may_be_missing(folder: Path) -> None:
    model = load_model(folder)
    blind = model.answer(None, ["where is the square?"] * 2)
    assert blind[0][0] == blind[1][0] and blind[0][1] == pytest.approx(blind[1][1])
    assert model.tags(None, TEXTS).shape == (6, 3)
    assert model.sentiment(PICTURES, TEXTS).shape == (6, 3)
    with pytest.raises(UserError, match="images, texts or both"):
        model.tags(None, None)
    with pytest.raises(UserError, match="6 images but 1 texts"):
        model.match(PICTURES, TEXTS[:1])


def test_pictures_may_be_decoded_once_for_several_tasks(folder: Path) -> None:
    model = load_model(folder)
    pixels = model.decode(PICTURES)
    assert pixels.dtype == torch.uint8 and tuple(pixels.shape) == (6, 3, 32, 32)
    np.testing.assert_array_equal(model.encode_images(pixels), model.encode_images(PICTURES))


def test_a_damaged_picture_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="Image 1"):
        load_model(folder).encode_images([PICTURES[0], b"not a picture", PICTURES[1]])


def test_another_size_of_the_same_picture_looks_the_same(folder: Path) -> None:
    model = load_model(folder)
    near, far = model.decode([tiny.picture("red", "left"), tiny.picture("red", "left", size=64)])
    assert (near.int() - far.int()).abs().float().mean() < 8


def test_a_language_that_was_not_learned_is_refused(folder: Path) -> None:
    model = load_model(folder)
    assert len(model.caption(PICTURES, language="de")) == 6
    with pytest.raises(UserError, match="writes en, de, not 'fr'"):
        model.caption(PICTURES, language="fr")


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "labels.json", "tokenizer.json"]
)
@pytest.mark.parametrize("damage", ["missing", "garbage"])
def test_a_missing_or_damaged_file_is_refused(
    folder: Path, tmp_path: Path, name: str, damage: str
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if damage == "missing":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(b"\x80\x04garbage")
    with pytest.raises(UserError, match=name.split(".")[0] + "|tokenizer"):
        load_model(tmp_path)


def test_a_model_of_before_there_was_sound_or_a_word_on_written_answers_still_loads(
    folder: Path, tmp_path: Path
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    del config["audio"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    labels = json.loads((folder / "labels.json").read_text())
    del labels["writes_answers"]
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    found, expected = load_model(tmp_path), load_model(folder)
    np.testing.assert_array_equal(found.encode_images(PICTURES), expected.encode_images(PICTURES))


def test_files_of_two_models_are_refused(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    labels = json.loads((folder / "labels.json").read_text())
    labels["answers"].append("purple")
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(UserError, match="do not belong together"):
        load_model(tmp_path)


def test_a_text_that_spells_a_special_token_is_only_text() -> None:
    tokenizer = tiny.tokenizer()
    [ids] = tokenizer.ids(["a red [EOS] square"])
    assert not set(ids) & set(SPECIAL_TOKENS.values())
