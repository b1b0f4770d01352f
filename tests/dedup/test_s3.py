"""Nights of dedup on S3: what a lake on a local disk has, to the byte."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mmcore.cluster import ClusterSettings, connect
from mmcore.lake import Lake
from tests.dedup.signatures import Shown, by_image, night

DAYS = ("2026-11-23", "2026-11-24")


def _nights(lake: Lake) -> list[str]:
    """Two nights; of the second one image is new, one a copy of its own day, one of yesterday's."""
    first = [Shown(1), Shown(1, 1, side=300), Shown(2), Shown(3)]
    second = [Shown(4), Shown(4, 2, side=300), Shown(2, 1)]
    said = [(shown, f"A kite with {shown.picture} tails over the hill") for shown in first]
    night(lake, DAYS[0], first, said=said)
    found = night(lake, DAYS[1], second, said=said[:1])
    assert [row["reason"] for row in by_image(found, second)] == [
        "ok",
        "near_duplicate",
        "seen_before",
    ]
    names = ("deduplicated", "image_index", "text_index")
    return [lake.dataset(name, day).digest for name in names for day in DAYS]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_nights_on_s3_have_the_digests_of_nights_on_a_disk(s3_lake: Lake, lake: Lake) -> None:
    # Ray's workers know the server from their environment, and the session's are older than it.
    command = [sys.executable, "-m", "tests.dedup.test_s3", s3_lake.root]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout.splitlines()[-1]) == _nights(lake)
    files = [key for key in s3_lake.storage.keys("datasets") if "index" not in key]
    assert sorted({key.rsplit(".", 1)[-1] for key in files}) == ["json", "parquet"]  # no scratch


if __name__ == "__main__":
    with connect(ClusterSettings(cpus=2)):
        print(json.dumps(_nights(Lake(sys.argv[1]))))
