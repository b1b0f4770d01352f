"""Checks of the production dagster.yaml and workspace.yaml with Dagster's own loaders."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import sqlalchemy
from dagster import DagsterError
from dagster._config import process_config, validate_config
from dagster._core.instance.config import dagster_instance_config
from dagster._core.storage.config import pg_config
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster_postgres.utils import pg_url_from_config

# The parts of dagster.yaml that name a class.
_CLASSES = ("compute_logs", "run_launcher", "run_coordinator")


def instance_problems(folder: Path) -> list[str]:
    """What Dagster would stumble over when it starts with `folder`/dagster.yaml.

    The variables that the file reads must be set; nothing is connected to.
    """
    try:
        config, _ = dagster_instance_config(str(folder))
    except DagsterError as error:
        return [" ".join(str(error).split())]
    found = _storage_problems(config.get("storage", {}))
    for part in _CLASSES:
        found += _class_problems(part, config.get(part))
    return found


def _storage_problems(storage: Any) -> list[str]:
    """Whether SQLAlchemy has a driver for the database that the file describes."""
    if "postgres" not in storage:
        return ["storage: runs and events must be in Postgres"]
    result = process_config(pg_config(), storage["postgres"])
    if result.value is None:
        return [f"storage: {error.message}" for error in result.errors or []]
    try:
        sqlalchemy.create_engine(pg_url_from_config(result.value))
    except ModuleNotFoundError as error:
        return [f"storage: {error}"]
    return []


def _class_problems(part: str, config: Any) -> list[str]:
    """Whether the class of a part can be imported and accepts its configuration."""
    if config is None:
        return [f"{part} is missing"]
    try:
        cls = getattr(importlib.import_module(config["module"]), config["class"])
    except (ImportError, AttributeError) as error:
        return [f"{part}: {error}"]
    result = validate_config(cls.config_type(), config.get("config", {}))
    return [f"{part}: {error.message}" for error in result.errors or []]


def workspace_origins(path: Path) -> Any:
    """Code locations of a workspace file, as Dagster loads them; raises DagsterError."""
    return location_origins_from_yaml_paths([str(path)])
