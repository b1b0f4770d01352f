"""The train stage on Ray: shards in, a candidate out, warm starts, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import save_file

import mmcore.train.loading as loading
from mmcore.cluster import Listener, Record
from mmcore.errors import MmcoreError, UserError
from mmcore.lake import Lake
from mmcore.models import load_model
from mmcore.models.artifact import save_artifact
from mmcore.models.config import load_preset
from mmcore.models.fusion_model import FusionModel
from mmcore.models.labels import Labels
from mmcore.train.brought import Pretrained, bring_weights
from mmcore.train.pixels import Neighbours
from mmcore.train.rank import Callbacks, Job, fitted, train_rank
from mmcore.train.ranks import Ranks
from mmcore.train.run_folder import RunFolder
from mmcore.train.settings import TrainSettings
from mmcore.train.stage import Config, run
from mmcore.train.warm_start import warm_start
from tests.models import tiny
from tests.models.onnx_file import onnx_pooling
from tests.train import world

DAY, NEXT = "2026-11-23", "2026-11-24"


def _config(**changes: object) -> Config:
    values = {"max_epochs": 1.0, "batch_size": 8, "min_tags": 1, "min_answers": 1, **changes}
    return Config.model_validate(values)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"audio": {}}}, "shards hold no sound"),
        (
            {"model": {"image": {"kind": "tower", "tower": {"sha256": "0" * 64}}}},
            r"given by train\.tower",
        ),
        (
            {"model": {"image": {"size": 32}}, "tower": {"file": "tower.onnx"}},
            "leave image out of model",
        ),
    ],
    ids=["audio", "tower in the model", "tower and encoder"],
)
def test_a_model_of_what_shards_do_not_hold_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        _config(**changes)


def test_masked_text_is_refused_where_no_token_reads_another() -> None:
    bag = {"text": {"kind": "bag"}}
    with pytest.raises(ValidationError, match=r"loss_weights\.masked_text needs a text encoder"):
        _config(model=bag, loss_weights={"masked_text": 0.5})
    assert _config(model=bag).model == bag


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ("vocab_size", r"tokenize\.vocab_size"),
        ("answers", r"train\.max_answers"),
        ("tags", r"train\.max_tags"),
        ("languages", "captions"),
    ],
)
def test_a_size_that_data_gives_is_refused_with_what_decides_it(size: str, says: str) -> None:
    with pytest.raises(ValidationError, match=f"leave {size} out of model: .*{says}"):
        _config(model={size: 100})


def test_written_answers_are_refused_where_texts_are_too_short_for_them() -> None:
    short = {"text": {"max_tokens": 10}}
    with pytest.raises(
        ValidationError, match=r"generative_vqa .* model\.text\.max_tokens above 10"
    ):
        _config(model=short, loss_weights={"generative_vqa": 0.5})
    assert _config(model=short).model == short
    _config(model={"text": {"max_tokens": 11}}, loss_weights={"generative_vqa": 0.5})


@pytest.mark.slow
def test_two_ray_workers_train_a_candidate_once(
    lake: Lake, ray_session: None, tmp_path: Path
) -> None:
    world.write_shards(lake, DAY, train=16, val=6)
    heard: list[Record] = []

    @contextmanager
    def follow(name: str, inputs: dict[str, Any]) -> Iterator[Listener]:
        assert name.startswith("test-") and inputs["seed"] == 1
        yield heard.append

    first = run(lake, DAY, _config(), seed=1, run_name="test", followers=[follow])
    assert any("validation" in record for record in heard)
    assert heard[-2]["predictions"] == first.read_file("predictions.png")
    assert heard[-1] == {"candidate": first.digest}
    assert sorted(p.file for p in first.parts) == [
        "config.json",
        "labels.json",
        "model.safetensors",
        "predictions.png",
        "tokenizer.json",
        "training.json",
    ]
    folder = first.download(tmp_path / "first")
    record = json.loads((folder / "training.json").read_text())
    assert record["samples_seen"] == 16 and record["steps"] == 2 and record["workers"] == 2
    model = load_model(folder)
    assert model.labels.answers == ("left", "right", "green", "red", "blue")
    assert np.isfinite(model.encode_images([tiny.picture("red", "left")])).all()
    assert lake.storage.folders("runs") == []
    count = len(heard)
    again = run(lake, DAY, _config(), seed=1, run_name="test", followers=[follow])
    assert again.digest == first.digest and len(heard) == count  # there was nothing to follow


@pytest.mark.slow
def test_a_recipe_trains_on_a_frozen_tower(lake: Lake, ray_session: None, tmp_path: Path) -> None:
    world.write_shards(lake, DAY, train=16, val=6)
    file = tmp_path / "tower.onnx"
    tower = {"file": str(file), "size": 32}
    with pytest.raises(UserError, match=r"train\.tower\.file: .* cannot be read"):
        run(lake, DAY, _config(tower=tower))
    file.write_bytes(onnx_pooling(8))
    with pytest.raises(UserError, match=r"raise train\.image_cache_mb, which is 0"):
        run(lake, DAY, _config(tower=tower, image_cache_mb=0))
    found = run(lake, DAY, _config(tower=tower))
    assert found.read_file("tower.onnx") == file.read_bytes()
    assert {p.label for p in found.manifest.parents} >= {"tower"}
    record = json.loads(found.read_file("training.json"))
    assert record["samples_seen"] == 16 and "retrieval" in record["final_validation"]
    assert record["settings"]["loss_weights"]["reconstruction"] == 0  # there are no colours
    assert found.read_file("predictions.png").startswith(b"\x89PNG")
    model = load_model(found.download(tmp_path / "model"))
    assert np.isfinite(model.encode_images([tiny.picture("red", "left")])).all()
    moved = file.rename(tmp_path / "elsewhere.onnx")
    again = run(lake, DAY, _config(tower={**tower, "file": str(moved)}))
    assert again.digest == found.digest  # the same tower, wherever it lies


VIT = {
    "kind": "transformers",
    "size": 32,
    "patch": 8,
    "widths": [32],
    "depths": [1],
    "backbone": {
        "family": "vit",
        "options": {
            "image_size": 32,
            "patch_size": 8,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 64,
        },
    },
}


def test_a_backbone_starts_from_the_weights_that_the_recipe_brings(
    lake: Lake, tmp_path: Path
) -> None:
    world.write_shards(lake, DAY, train=16, val=0)
    theirs = tiny.model(seed=5, image=VIT)
    state = theirs.image_encoder.backbone.state_dict()
    save_file(
        {name: value.contiguous() for name, value in state.items()}, tmp_path / "w.safetensors"
    )
    with pytest.raises(UserError, match=r"train\.pretrained\.image: .* cannot be read"):
        bring_weights(lake, Pretrained(image=str(tmp_path / "none.safetensors")))
    job = Job(
        lake.up_to("shards", DAY),
        tiny.tokenizer().json_text,
        tiny.config(image=VIT),
        TrainSettings(max_epochs=1, batch_size=8, min_tags=1, min_answers=1, amp="off"),
        1,
        None,
        pretrained=bring_weights(lake, Pretrained(image=str(tmp_path / "w.safetensors"))),
    )
    said: list[str] = []
    folder, neighbours = RunFolder(lake.storage, "run"), Neighbours("test-pretrained")
    train_rank(job, folder, Ranks(), neighbours, torch.device("cpu"), Callbacks(said.append))
    count = len(state)
    assert f"starting from pretrained weights: image {count} of {count} tensors" in said
    with pytest.raises(ValidationError, match=r"pretrained\.text needs model\.text\.kind transf"):
        _config(pretrained={"text": "folder"})
    with pytest.raises(ValidationError, match="give image, text or both"):
        _config(pretrained={})


def test_days_without_shards_and_bad_settings_are_refused(lake: Lake) -> None:
    with pytest.raises(UserError, match="no shards up to"):
        run(lake, DAY, _config())
    world.write_shards(lake, DAY, train=8, val=0)
    with pytest.raises(UserError, match=r"multiple of train\.accumulate"):
        run(lake, DAY, _config(batch_size=9, accumulate=2))
    with pytest.raises(UserError, match=r"at least train\.workers x train\.accumulate \(12 x 1\)"):
        run(lake, DAY, _config(batch_size=9, workers={"max": 12}))
    with pytest.raises(ValidationError, match="min 3 must not be above max 2"):
        _config(workers={"min": 3, "max": 2})
    with pytest.raises(ValidationError, match="must be 1 or more"):
        _config(workers=0)
    with pytest.raises(UserError, match="not a model folder"):
        run(lake, DAY, _config(), init_from=Path("/nowhere"))
    with pytest.raises(ValueError, match="nano"):
        _config(preset="enormous")


def _train(
    lake: Lake,
    name: str,
    day: str = DAY,
    init_from: Path | None = None,
    **changes: object,
) -> tuple[list[str], RunFolder]:
    """One rank without Ray; returns the lines it said and the run's folder."""
    said: list[str] = []
    settings = {"max_epochs": 2, "batch_size": 8, "min_tags": 1, "min_answers": 1, "amp": "off"}
    settings |= {"budget_minutes": 1e6}  # the learning rate shall follow the visits, not the clock
    job = Job(
        lake.up_to("shards", day),
        tiny.tokenizer().json_text,
        tiny.config(),
        TrainSettings.model_validate({**settings, **changes}),
        1,
        str(init_from) if init_from else None,
    )
    run, neighbours = RunFolder(lake.storage, name), Neighbours("test-train-rank")
    assert train_rank(job, run, Ranks(), neighbours, torch.device("cpu"), Callbacks(said.append))
    return said, run


def _record(run: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.result()["training.json"])
    return found


def test_a_failed_worker_goes_on_from_its_checkpoint(lake: Lake) -> None:
    world.write_shards(lake, DAY, train=16, val=6)
    _train(lake, "run", max_epochs=1)
    said, run = _train(lake, "run")
    assert any(line.startswith("resuming at step 2, sample 16") for line in said)
    record = _record(run)
    assert record["samples_seen"] == 32
    assert set(record["final_validation"]) == {"retrieval", "vqa", "tags", "sentiment", "score"}


def test_a_model_remembers_whether_it_was_taught_to_write_answers(lake: Lake) -> None:
    world.write_shards(lake, DAY, train=8, val=2)
    for weight in (0.0, 1.0):
        weights = {"generative_vqa": weight}
        _, run = _train(lake, f"run-{weight}", max_epochs=1, loss_weights=weights)
        labels = Labels.model_validate_json(run.result()["labels.json"])
        assert labels.writes_answers == (weight > 0)


def test_the_next_day_goes_on_from_the_champion_with_all_days(lake: Lake) -> None:
    world.write_shards(lake, DAY, train=16, val=2)
    _, first = _train(lake, "first", max_epochs=1)
    world.write_shards(lake, NEXT, train=4, val=2, first=40)
    champion = Path(first.location) / "result"
    said, _ = _train(lake, "second", NEXT, champion, max_epochs=1)
    assert said[0].startswith("20 images")
    assert said[1].startswith("starting from the champion: all weights, 5 of 5 answers")


def test_with_days_latest_an_epoch_is_the_new_day_and_a_share_of_the_earlier(lake: Lake) -> None:
    world.write_shards(lake, DAY, train=40, val=2)
    settings = {"days": "latest", "replay": 0.5, "max_epochs": 3}
    _, alone = _train(lake, "alone", **settings)  # a first day has nothing to replay
    assert _record(alone)["samples_seen"] == 120
    world.write_shards(lake, NEXT, train=16, val=2, first=40)
    said, both = _train(lake, "both", NEXT, **settings)
    assert said[0].startswith("56 images")  # the names of all days are known
    assert _record(both)["samples_seen"] == 3 * (16 + 8)
    _, streamed = _train(lake, "streamed", NEXT, image_cache_mb=0, **settings)
    assert _record(streamed)["samples_seen"] == 3 * (16 + 8)
    with pytest.raises(MmcoreError, match="days or replay"):
        _train(lake, "both", NEXT, **{**settings, "replay": 0.25})


def test_a_newest_day_without_training_images_is_refused_for_days_latest(lake: Lake) -> None:
    world.write_shards(lake, DAY, train=8, val=0)
    world.write_shards(lake, NEXT, train=0, val=2, first=8)
    with pytest.raises(UserError, match=r"nothing new to train on: shards@2026-11-24"):
        run(lake, NEXT, _config(days="latest"))


def test_pictures_beyond_the_cache_are_decoded_per_batch(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write_shards(lake, DAY, train=8, val=0)
    monkeypatch.delattr(loading, "cached_pixels")  # must not be needed
    _, run = _train(lake, "out", image_cache_mb=0, max_epochs=1)
    assert "model.safetensors" in run.result()


def test_streamed_training_gives_the_weights_of_one_in_memory(lake: Lake) -> None:
    world.write_shards(lake, DAY, train=24, val=0)
    saved = [
        _train(lake, name, image_cache_mb=cache, max_epochs=2, shuffle_window=8)[1].result()
        for name, cache in (("memory", 100), ("streamed", 0))
    ]
    assert saved[0]["model.safetensors"] == saved[1]["model.safetensors"]


def test_a_bad_sample_is_skipped_counted_and_said_once(lake: Lake) -> None:
    shards = world.write_shards(lake, DAY, train=16, val=0)
    path = Path(next(p for p in shards.paths() if p.endswith("train-000000.tar")))
    path.write_bytes(path.read_bytes().replace(b"\x89PNG", b"xxxx", 1))
    said, run = _train(lake, "out", max_epochs=3, image_cache_mb=0)
    assert sum("decode_error" in line for line in said) == 1
    record = _record(run)
    assert record["skipped_samples"] == 1 and record["samples_seen"] == 48


def test_a_checkpoint_of_another_order_is_refused(lake: Lake) -> None:
    world.write_shards(lake, DAY, train=16, val=0)
    _train(lake, "run", max_epochs=1)
    with pytest.raises(MmcoreError, match="other shards"):
        _train(lake, "run", shuffle_window=4)


def test_a_warm_start_matches_answers_and_tags_by_name(tmp_path: Path) -> None:
    save_artifact(tmp_path, tiny.artifact(seed=1))
    old = tiny.artifact(seed=1)
    labels = Labels(
        answers=("blue", "purple", "red"), tags=("green",), languages=("de", "en", "fr")
    )
    torch.manual_seed(2)
    model = FusionModel(fitted(tiny.config(), labels, tiny.tokenizer()))
    fresh = model.answering.mlp.down.weight[1].detach().clone()
    said = warm_start(model, labels, tiny.tokenizer(), tmp_path)
    assert said.startswith("starting from the champion: all weights, ")
    for part in ("2 of 3 answers", "1 of 1 tags", "2 of 3 languages"):
        assert part in said
    rows, earlier = model.answering.mlp.down.weight, old.model.answering.mlp.down.weight
    torch.testing.assert_close(rows[0], earlier[2])
    torch.testing.assert_close(rows[2], earlier[0])
    torch.testing.assert_close(rows[1], fresh)
    torch.testing.assert_close(
        model.captioning.language.weight[0], old.model.captioning.language.weight[1]
    )
    torch.testing.assert_close(model.token_embedding.weight, old.model.token_embedding.weight)


def test_another_architecture_starts_from_scratch_and_says_so(tmp_path: Path) -> None:
    save_artifact(tmp_path, tiny.artifact())
    model = tiny.model(seed=5, fusion="concat")
    before = model.token_embedding.weight.detach().clone()
    said = warm_start(model, tiny.LABELS, tiny.tokenizer(), tmp_path)
    assert said == "starting from scratch: the champion has another architecture (fusion)"
    torch.testing.assert_close(model.token_embedding.weight, before)


def test_what_has_no_weights_may_change_from_night_to_night(tmp_path: Path) -> None:
    save_artifact(tmp_path, tiny.artifact())
    config = tiny.config()
    text = config.text.model_copy(update={"word_dropout": 0.3})
    model = FusionModel(config.model_copy(update={"text": text, "dropout": 0.2}))
    said = warm_start(model, tiny.LABELS, tiny.tokenizer(), tmp_path)
    assert said.startswith("starting from the champion: all weights")


@pytest.mark.parametrize("value", ["on", "off", "auto"])
def test_a_switch_may_be_written_as_yaml_reads_it(value: str) -> None:
    assert _config(**yaml.safe_load(f"amp: {value}")).amp == value


def test_the_default_recipe_fits_the_demo() -> None:
    assert Config().preset == "nano" and Config().workers == 2
    assert Config().batch_size % (Config().workers * Config().accumulate) == 0
    assert load_preset("nano").image.size == 64
