"""Two ranks that divide the weights train the model that one rank trains, and one rank goes on
from their checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from pydantic import ValidationError
from safetensors.torch import load

import mmcore.train.augment as augment_module
from mmcore.lake import Lake
from mmcore.models import load_model
from mmcore.models.fusion_model import normalise_pixels
from mmcore.train.batches import Batch
from mmcore.train.checkpoint import RunState, restore
from mmcore.train.loop import Trainer
from mmcore.train.pixels import Neighbours
from mmcore.train.rank import Callbacks, Job, train_rank
from mmcore.train.ranks import Ranks
from mmcore.train.run_folder import RunFolder
from mmcore.train.settings import LoopSettings, TrainSettings
from mmcore.train.sharding import own_piece
from tests.models import tiny
from tests.train import world
from tests.train.test_loop import snapshot
from tests.train.two_ranks import on_two_ranks

# matching draws its negatives from a rank's own share, and the image loss is relative to its
# colours: with these two the number of ranks changes the loss, whoever holds the weights
LOSSES = {"matching": 0.0, "reconstruction": 0.0}
VIT = {"kind": "vit", "size": 32, "patch": 4, "widths": (32,), "depths": (2,), "heads": 2}
# a model and settings that dividing must survive
CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    (
        {"image": VIT, "dropout": 0.0},
        {
            "activation_checkpointing": True,
            "accumulate": 2,
            "gradient_cache": True,
            "soft_targets": 0.4,
        },
    ),
    (
        {"text": {"kind": "gru", "depth": 1}},
        {
            "freeze": {"image_encoder": 0.4},
            "loss_weights": {**LOSSES, "consistency": 0.5, "generative_vqa": 0.5},
        },
    ),
]
IDS = ["residual", "vit-recomputed-in-parts", "recurrent-thawing"]
STEPS = 3
DAY = "2026-11-23"


def _double_pixels(pixels: torch.Tensor) -> torch.Tensor:
    return normalise_pixels(pixels).double()


def _trainer(case: int, ranks: Ranks, sharding: str = "none") -> Trainer:
    """In float64, so that the order of a sum does not show."""
    augment_module.normalise_pixels = _double_pixels  # the test's own process or its fixture
    architecture, changes = CASES[case]
    values = {
        "batch_size": 8,
        "questions": 2,
        "amp": "off",
        "optimizer": "adamw",
        "loss_weights": LOSSES,
        "sharding": sharding,
        **changes,
    }
    return Trainer(
        tiny.model(**architecture).double(),
        world.training_data(16, seed=3),
        LoopSettings.model_validate(values),
        3,
        ranks,
        clock=lambda: 0.0,
        answers=torch.tensor([[5, 2], [6, 2], [7, 2], [8, 2], [9, 2]]),
    )


def _only_first(batch: Batch, rows: int) -> Batch:
    """The batch with the questions about its first pictures only."""
    asked = batch.question_image < rows
    names = ("question_text", "question_image", "answer", "question_weight")
    return replace(batch, **{name: getattr(batch, name)[asked] for name in names})


def _step(made: Trainer) -> None:
    """One step of the run's first few, in which only the first half of a batch is asked."""
    made.model.train()
    batches = made._batches_at(made.state.cursor)
    size = sum(len(batch.pixels) for batch in batches)
    if len(batches) == 1:
        half = size // 2 if made.ranks.world == 1 else size * (1 - made.ranks.rank)
        batches = [_only_first(batches[0], half)]
    agreed = made._agree(0.0, False, False, batches)
    made._step(batches, agreed.counts, made.state.step / 5)


@pytest.fixture(autouse=True)
def _float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment_module, "normalise_pixels", _double_pixels)


def _rank_main(ranks: Ranks, folder: str) -> None:
    rank = ranks.rank
    for case in range(len(CASES)):
        made = _trainer(case, ranks, "fsdp")
        for _ in range(STEPS):
            _step(made)
        saved = snapshot(made)
        averaged = made.averaged()
        if rank == 0:
            (Path(folder) / f"{case}").mkdir()
            for name, data in saved.files().items():
                (Path(folder) / f"{case}" / name).write_bytes(data)
            torch.save(averaged.state_dict(), f"{folder}/averaged-{case}.pt")
        held = sum(own_piece(p).numel() for p in made.model.parameters())
        torch.save(held, f"{folder}/held-{case}-{rank}.pt")
        # and back: what was whole is divided again, and goes on as one rank does
        again = _trainer(case, ranks, "fsdp")
        dist.barrier()
        again.state = _restored(Path(folder) / f"{case}", again)
        _step(again)
        tensors = snapshot(again).tensors
        if rank == 0:
            torch.save(tensors, f"{folder}/resumed-{case}.pt")


def _restored(folder: Path, made: Trainer) -> RunState:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return restore(files, made.model, made.ema, made.optimizers)


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two gloo ranks train every case; the folder of what they wrote."""
    folder = tmp_path_factory.mktemp("divided")
    on_two_ranks(_rank_main, folder, str(folder))
    return folder


def _close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=1e-5, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("case", range(len(CASES)), ids=IDS)
def test_divided_weights_train_as_whole_ones(divided: Path, case: int) -> None:
    alone = _trainer(case, Ranks())
    start = {k: v.clone() for k, v in alone.model.state_dict().items()}
    for _ in range(STEPS):
        _step(alone)
    resumed = _trainer(case, Ranks())
    resumed.state = _restored(divided / f"{case}", resumed)
    _close(
        snapshot(resumed).tensors,
        snapshot(alone).tensors,
    )
    assert not alone.model.state_dict()["fusion.join.weight"].equal(start["fusion.join.weight"])
    averaged = torch.load(divided / f"averaged-{case}.pt")
    _close(averaged, alone.ema.model.state_dict())


@pytest.mark.parametrize("case", range(len(CASES)), ids=IDS)
def test_a_checkpoint_goes_on_alike_on_one_rank_and_divided_on_two(
    divided: Path, case: int
) -> None:
    alone = _trainer(case, Ranks())
    alone.state = _restored(divided / f"{case}", alone)
    written = torch.load(divided / f"averaged-{case}.pt")
    for name, tensor in alone.ema.model.state_dict().items():
        assert tensor.equal(written[name])  # nothing was lost on the way
    _step(alone)
    _close(
        torch.load(divided / f"resumed-{case}.pt"),
        snapshot(alone).tensors,
    )


def test_each_rank_holds_its_share_of_the_blocks_only(divided: Path) -> None:
    for case in range(len(CASES)):
        model = _trainer(case, Ranks()).model
        parts = (model.image_encoder, model.text_encoder, model.fusion, model.captioning)
        shared = sum(p.numel() for part in parts for p in part.parameters())
        rest = sum(p.numel() for p in model.parameters()) - shared
        held = [torch.load(divided / f"held-{case}-{rank}.pt") for rank in range(2)]
        assert sum(held) == shared + 2 * rest
        assert max(held) < rest + 0.6 * shared


def _whole_run(ranks: Ranks, lake: Lake) -> None:
    settings = TrainSettings(
        max_epochs=2, batch_size=8, min_tags=1, min_answers=1, checkpoint_minutes=1e-6,
        optimizer="adamw", sharding="fsdp", freeze={"text_encoder": 0.5}, validations=2,
    )  # fmt: skip
    shards = lake.up_to("shards", DAY)
    job = Job(shards, tiny.tokenizer().json_text, tiny.config(), settings, 1, None)

    neighbours = Neighbours("test-sharded-run", ranks.rank, 2, dist.barrier)
    run, callbacks = RunFolder(lake.storage, "divided"), Callbacks(lambda line: None)
    assert train_rank(job, run, ranks, neighbours, torch.device("cpu"), callbacks)


def test_a_divided_run_ends_with_a_whole_model(lake: Lake, tmp_path: Path) -> None:
    world.write_shards(lake, DAY, train=16, val=6)
    on_two_ranks(_whole_run, tmp_path, lake)
    files = RunFolder(lake.storage, "divided").result()
    record = json.loads(files["training.json"])
    assert record["steps"] == 4 and len(record["validations"]) == 2
    weights = load(files["model.safetensors"])
    assert record["parameters"] == sum(w.numel() for w in weights.values())
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    model = load_model(tmp_path)
    assert np.isfinite(model.encode_images([tiny.picture("red", "left")])).all()


def test_what_divided_weights_cannot_do_is_refused() -> None:
    with pytest.raises(ValidationError, match="sharding fsdp needs optimizer adamw"):
        LoopSettings(sharding="fsdp")
    with pytest.raises(ValidationError, match="leave compile at auto"):
        LoopSettings(sharding="fsdp", optimizer="adamw", compile="on")
