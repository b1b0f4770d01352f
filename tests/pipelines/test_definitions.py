"""What Dagster shows: the assets, how they hang together, the check and the schedule."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import dagster as dg
import pytest
from PIL import Image

from pipelines.definitions import defs
from pipelines.defs.data.checks import no_leakage_between_splits
from pipelines.defs.data.pictures import labeling_functions
from pipelines.defs.results import contact_sheet, markdown
from pipelines.defs.training.checks import good_enough_to_promote

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
