"""What Dagster shows: the assets, how they hang together, the check and the schedule."""

from __future__ import annotations

import base64
import io
import re
from datetime import UTC, datetime

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from mmcore.cluster import numbers
from mmcore.train.contact_sheet import Card, Said, draw_sheet
from pipelines.definitions import defs
from pipelines.defs.data.checks import no_leakage_between_splits
from pipelines.defs.data.pictures import labeling_functions
from pipelines.defs.results import contact_sheet, markdown
from pipelines.defs.training.checks import good_enough_to_promote
from pipelines.defs.training.following import Observed
from pipelines.defs.training.pictures import (
    DIALOG,
    fitted,
    panels,
    training_curves,
    validation_table,
)
from tests.train.test_loop import trainer

# Each asset with what it is made from: the data flow of docs/datasets.md.
GRAPH = {
    "crawled": set(),
    "cleaned": {"crawled"},
    "deduplicated": {"cleaned", "crawled"},
    "tokenizer": {"deduplicated"},
    "tokenized": {"deduplicated", "tokenizer"},
    "pairs": {"cleaned", "deduplicated", "tokenized"},
    "shards": {"cleaned", "crawled", "pairs", "tokenized"},
    "candidate": {"shards", "tokenizer"},
    "evaluation": {"candidate", "crawled", "deduplicated", "shards"},
    "champion": {"candidate", "evaluation"},
}


def graph() -> dict[str, set[str]]:
    assets = defs.resolve_asset_graph()
    return {
        key.to_user_string(): {parent.to_user_string() for parent in assets.get(key).parent_keys}
        for key in assets.get_all_asset_keys()
    }


def test_the_assets_are_joined_as_the_data_flows() -> None:
    assert graph() == GRAPH


@pytest.mark.parametrize("name", sorted(set(GRAPH) - {"tokenizer"}))
def test_data_and_training_are_partitioned_by_day(name: str) -> None:
    definition = defs.resolve_asset_graph().get(dg.AssetKey(name)).partitions_def
    assert isinstance(definition, dg.DailyPartitionsDefinition)
    now = datetime(2026, 3, 4, 12, tzinfo=UTC)
    assert definition.get_partition_keys(current_time=now)[-1] == "2026-03-04"


def test_the_tokenizer_is_one_asset_for_all_days() -> None:
    assert defs.resolve_asset_graph().get(dg.AssetKey("tokenizer")).partitions_def is None


def test_the_gate_blocks_the_champion() -> None:
    (spec,) = good_enough_to_promote.check_specs
    assert spec.asset_key == dg.AssetKey("evaluation")
    assert spec.blocking


def test_the_schedule_retrains_every_night_for_the_day_that_just_began() -> None:
    schedule = defs.resolve_schedule_def("nightly_retraining")
    tick = datetime(2026, 3, 4, 2, tzinfo=UTC)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=tick,
            repository_def=defs.get_repository_def(),
        )
        (request,) = schedule.evaluate_tick(context).run_requests
    assert request.partition_key == "2026-03-04"


def test_two_trainings_share_a_pool() -> None:
    assets = defs.resolve_asset_graph()
    assert assets.get(dg.AssetKey("candidate")).pools == {"training"}


def test_a_funnel_becomes_a_table_a_person_can_read() -> None:
    table = markdown({"funnel": {"urls": 10, "a|b": 0.25}})
    assert "| funnel › urls | 10 |" in table
    assert "| funnel › a\\|b | 0.25 |" in table


def test_rows_of_equal_keys_become_columns() -> None:
    table = markdown({"alt": {"votes": 3, "accuracy": None}, "url": {"votes": 1, "accuracy": 0.5}})
    assert table.splitlines()[0] == "|  | votes | accuracy |"
    assert table.splitlines()[2:] == ["| alt | 3 |  |", "| url | 1 | 0.5 |"]


def test_labeling_functions_become_a_picture() -> None:
    row = {"coverage": 0.5, "overlap": 0.2, "conflict": 0.0, "accuracy": None}
    png = labeling_functions({"tag/alt": row, "tag/url": row | {"accuracy": 0.9}})
    assert png is not None
    with Image.open(io.BytesIO(png)) as picture:
        narrow = picture.size
    many = labeling_functions({f"tag/{i}": row for i in range(30)})
    assert many is not None
    with Image.open(io.BytesIO(many)) as picture:
        assert picture.size[0] == narrow[0] and picture.size[1] > 3 * narrow[1]
    assert labeling_functions({}) is None


def test_no_images_give_no_picture() -> None:
    assert contact_sheet([]) is None


def test_leakage_between_splits_blocks_the_training() -> None:
    (spec,) = no_leakage_between_splits.check_specs
    assert spec.asset_key == dg.AssetKey("shards")
    assert spec.blocking


TRAINING = {
    "history": [
        {
            "samples": 64 * step,
            "losses": {"vqa": 1 / step, "caption": 0.5},
            "gradient_norm": {"mean": 2.0, "max": 3.0},
            "samples_per_second": 99.0,
        }
        for step in (1, 2, 3)
    ],
    "validations": [{"samples": 128, "scores": {"vqa": 0.4, "score": 0.4}}],
    "final_validation": {"vqa": 0.51234, "score": 0.5},
    "samples_seen": 192,
}


def test_a_training_becomes_curves_and_a_table() -> None:
    png = training_curves(TRAINING)
    assert png is not None and png == training_curves(TRAINING)
    more = {"losses": {f"task {i}": 1.0 for i in range(8)}, "samples": 64, "samples_per_second": 1}
    taller = training_curves({**TRAINING, "history": [more]})
    assert taller is not None
    with Image.open(io.BytesIO(png)) as first, Image.open(io.BytesIO(taller)) as second:
        assert first.size[0] == second.size[0] and first.size[1] < second.size[1]
    assert validation_table(TRAINING) == {
        "128 samples": {"vqa": 0.4, "score": 0.4},
        "at the end": {"vqa": 0.5123, "score": 0.5},
    }


def test_pictures_fit_into_a_dialog_of_dagster() -> None:
    sink = io.BytesIO()
    Image.new("RGB", (2 * DIALOG, 600)).save(sink, "PNG")
    with Image.open(io.BytesIO(fitted(sink.getvalue()))) as small:
        assert small.size == (DIALOG, 300)
    curves = training_curves(TRAINING)
    assert curves is not None and fitted(curves) == curves


def test_a_training_without_a_line_has_no_curves() -> None:
    empty = {"history": [], "validations": [], "final_validation": {}, "samples_seen": 8}
    assert training_curves(empty) is None
    assert validation_table(empty) == {}


def test_the_plots_show_what_a_training_reports() -> None:
    history = trainer(steps=4, log_seconds=1.0).fit().history
    shown = panels({**TRAINING, "history": history})
    drawn = {points[-1][1] for lines in shown.values() for points in lines.values()}
    missing = {name for name, value in numbers(history[-1]).items() if value not in drawn}
    # the axis and what goes along with it; a spread that is told in the line's mean
    assert missing <= {"seconds", "progress", "step", "samples", "eta_seconds", "refused",
                       "gradient_norm/max"}  # fmt: skip
    assert list(shown["share of the time"]) == ["busy", "waiting for data", "waiting for messages"]
    assert [samples for samples, _ in shown["tokens per second"][""]] == [12, 18, 24]


def _sheet(samples: int) -> bytes:
    """A picture of predictions as large in bytes as it can be: photographs of noise."""
    rng = np.random.default_rng(samples)
    said, cards = Said("a red square on the left", "a red square", 0.9), []
    for _ in range(8):
        sink = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(sink, "PNG")
        tags = (("red", 0.9, True), ("square", 0.4, False))
        cards.append(Card(sink.getvalue(), said, "what colour is it?", said, tags, said))
    return draw_sheet(f"after {samples} samples", cards)


def test_a_training_is_observed_while_it_runs() -> None:
    seen_inside: list[int] = []
    sheet = _sheet(30)

    @dg.asset(name="candidate", partitions_def=dg.DailyPartitionsDefinition("2026-03-01"))
    def training(context) -> None:  # Dagster does not read annotations that are strings
        with Observed(context)("run", {}) as listen:
            for number in range(1, 31):
                listen({"progress": number / 30, "samples": number, "losses": {"vqa": 0.5}})
            listen({"validation": {"score": 0.4}, "samples": 30})
            listen({"predictions": sheet, "samples": 30})
            found = context.instance.fetch_observations(dg.AssetKey("candidate"), limit=99)
            seen_inside.append(len(found.records))

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([training], instance=instance, partition_key="2026-03-02")
        found = instance.fetch_observations(dg.AssetKey("candidate"), limit=99).records
    # two records in thirty, the validation, and the picture that was drawn after it
    assert seen_inside == [4] and len(found) == 4
    picture, validation = (record.asset_observation for record in found[:2])
    assert validation is not None and validation.partition == "2026-03-02"
    assert validation.metadata["validation/score"].value == 0.4
    assert picture is not None and picture.metadata["samples"].value == 30
    _shows(str(picture.metadata["predictions"].value), sheet)


def _shows(shown: str, sheet: bytes) -> None:
    """The markdown holds a small copy of the picture, as a browser would read it."""
    found = re.fullmatch(r"!\[predictions\]\(data:image/webp;base64,([A-Za-z0-9+/=]+)\)", shown)
    assert found is not None and len(shown) < 300_000 < len(sheet)
    copy = Image.open(io.BytesIO(base64.b64decode(found[1])))
    original = Image.open(io.BytesIO(sheet)).convert("RGB").resize(copy.size)
    assert copy.format == "WEBP" and copy.width == DIALOG
    apart = np.abs(np.asarray(copy.convert("RGB"), float) - np.asarray(original, float))
    assert apart.mean() < 12
