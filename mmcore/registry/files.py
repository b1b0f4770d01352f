"""The files of a registered version as a local folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mmcore.errors import MmcoreError
from mmcore.registry.settings import Location

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_FILES = "candidate"


def local_folder(client: MlflowClient, location: Location, run_id: str) -> Path:
    """The model files of a run: in place where they are local, else fetched once into the cache."""
    uri = f"{client.get_run(run_id).info.artifact_uri}/{MODEL_FILES}"
    path = _local_path(uri)
    if path is not None:
        if not path.is_dir():
            raise MmcoreError(f"The files of a registered model are gone: {path}.")
        return path
    folder = location.cache / run_id
    if not folder.is_dir():
        fetch(client, run_id, folder)
    return folder


def _local_path(uri: str) -> Path | None:
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(uri) if not parts.scheme else None


def fetch(client: MlflowClient, run_id: str, folder: Path) -> None:
    """Download aside, then rename: a broken download is never taken for a whole one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(mkdtemp(dir=folder.parent, prefix=".fetching-"))
    try:
        got = client.download_artifacts(run_id, MODEL_FILES, str(fresh))
        try:
            os.rename(got, folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
