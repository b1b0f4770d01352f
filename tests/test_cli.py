"""The command line: what each command prints, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from mmcore.cli import cli, run_command
from mmcore.lake import Lake
from mmcore.recipe import load_recipe
from tests.models import tiny

DAY = "2026-03-01"


def run(*arguments: str) -> int:
    return run_command(lambda **options: cli.main(args=list(arguments), **options))


@pytest.fixture
def filled(lake: Lake) -> Lake:
    writer = lake.writer("crawled", DAY)
    part = writer.write_table(0, pa.table({"sha256": ["a", "b"]}))
    writer.commit([part], [], {"depth": 1}, {"funnel": {"urls": 3, "ok": 2}})
    return lake


def test_init_writes_a_recipe_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "recipe.yaml"
    assert run("init", str(file), "--name", "shop") == 0
    assert load_recipe(file).name == "shop"
    assert run("init", str(file)) == 2
    assert "--force" in capsys.readouterr().err


def test_datasets_show_and_path_tell_what_there_is(
    filled: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("datasets", "--root", filled.root) == 0
    assert f"crawled@{DAY}" in capsys.readouterr().out
    assert run("show", f"crawled@{DAY}", "--root", filled.root) == 0
    shown = capsys.readouterr().out
    assert filled.dataset("crawled", DAY).digest in shown
    assert "urls" in shown
    assert run("path", f"crawled@{DAY}", "--root", filled.root) == 0
    assert capsys.readouterr().out.split() == filled.dataset("crawled", DAY).paths()


@pytest.mark.parametrize("command", [("datasets",), ("show", f"crawled@{DAY}")])
def test_listings_have_json(
    filled: Lake, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert run(*command, "--root", filled.root, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    row = found[0] if isinstance(found, list) else found
    assert (row["dataset"], row["rows"]) == (f"crawled@{DAY}", 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "crawled@2020-01-01"), "There is no dataset crawled@2020-01-01"),
        (("show", "Bad Name@1"), "is not a dataset name"),
        (("run", "crwl", "--recipe", "x.yaml"), "There is no stage 'crwl'"),
        (("run", "crawl", "--recipe", "missing.yaml"), "There is no recipe missing.yaml"),
        (("run", "crawl", "--day", "soon", "--recipe", "RECIPE"), "'soon' is not a day"),
        (("predict", "champion", "--task", "caption"), "There is no model champion"),
        (("evaluate", "champion", "--on", "nowhere"), "There is no model champion"),
        (("nonsense",), "No such command"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_exit_code_2(
    lake: Lake,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    says: str,
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("sources: [{kind: folder, path: photos}]\n")
    given = [str(recipe) if part == "RECIPE" else part for part in arguments]
    root = () if arguments == ("nonsense",) else ("--root", lake.root)
    assert run(*given, *root) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_no_models_yet_is_said_kindly(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "--root", lake.root) == 0
    assert "No models" in capsys.readouterr().out


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mmcore.models.artifact import Artifact, save_artifact

    folder = tmp_path_factory.mktemp("predicting")
    labels = tiny.LABELS.model_copy(update={"writes_answers": True})
    save_artifact(folder / "taught", Artifact(tiny.model(seed=2).eval(), labels, tiny.tokenizer()))
    save_artifact(folder / "untaught", tiny.artifact(seed=2))
    (folder / "red.png").write_bytes(tiny.picture("red", "left"))
    return folder


def _predict(
    folder: Path, capsys: pytest.CaptureFixture[str], *options: str, model: str = "taught"
) -> dict[str, object]:
    assert run("predict", str(folder / model), *options, "--json") == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_captions_are_written_as_the_options_say(
    model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmcore.models import load_model
    from mmcore.models.decoding import Search

    image = model_folder / "red.png"
    model, picture = load_model(model_folder / "taught"), [image.read_bytes()]
    asked = ("--task", "caption", "--image", str(image))
    for options, search in (
        ((), None),
        (("--num-beams", "3"), Search(kind="beam", beams=3)),
        (("--top-p", "0.8", "--seed", "4"), Search(kind="nucleus", top_p=0.8, seed=4)),
        (("--temperature", "2"), Search(kind="nucleus", temperature=2.0)),
    ):
        expected = model.caption(picture, search=search)
        assert _predict(model_folder, capsys, *asked, *options) == {"caption": expected[0]}
    [german] = model.caption(picture, language="de")
    assert _predict(model_folder, capsys, *asked, "--language", "de") == {"caption": german}


def test_a_question_is_answered_without_a_picture_and_in_own_words(
    model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--task", "vqa", "--text", "where is the square?")
    guess = _predict(model_folder, capsys, *asked)
    assert guess["answer"] in tiny.LABELS.answers and guess.keys() == {"answer", "confidence"}
    assert _predict(model_folder, capsys, *asked, "--write", "--num-beams", "2").keys() == {
        "answer"
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--task", "caption"), "Task caption needs --image"),
        (("--task", "vqa", "--image", "IMAGE"), "Task vqa needs --text"),
        (("--task", "vqa", "--text", "?", "--write"), "not known to write answers"),
        (("--task", "tags", "--text", "?", "--write"), "--write is for task vqa"),
        (
            ("--task", "vqa", "--text", "?", "--num-beams", "2"),
            "task caption, and vqa with --write",
        ),
        (("--task", "tags", "--text", "?", "--language", "de"), "--language is for task caption"),
        (
            ("--task", "caption", "--image", "IMAGE", "--num-beams", "2", "--top-p", "0.9"),
            "either --num-beams",
        ),
        (("--task", "caption", "--image", "IMAGE", "--seed", "1"), "give --top-p or --temperature"),
        (("--task", "caption", "--image", "IMAGE", "--top-p", "0"), "--top-p"),
        (("--task", "caption", "--image", "IMAGE", "--language", "fr"), "writes en, de, not 'fr'"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    model_folder: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    says: str,
) -> None:
    given = [str(model_folder / "red.png") if part == "IMAGE" else part for part in options]
    assert run("predict", str(model_folder / "untaught"), *given) == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error


def test_every_setting_of_finetune_is_an_option_with_its_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmcore.commands.models import finetune
    from mmcore.train.finetune import FinetuneSettings

    options = {option.name: option.default for option in finetune.params}
    for name, field in FinetuneSettings.model_fields.items():
        assert options[name] == field.default
    given = ("--labels", str(tmp_path), "--out", str(tmp_path / "out"), "--batch-size", "1")
    assert run("finetune", str(tmp_path), *given) == 2
    assert "--batch-size: Input should be greater than or equal to 2" in capsys.readouterr().err
