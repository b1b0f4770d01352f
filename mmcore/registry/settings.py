"""Where the registry lives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from mmcore.errors import UserError
from mmcore.lake import Lake


class RegistrySettings(BaseModel):
    """Where MLflow keeps runs, versions and files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tracking_uri: str | None = Field(
        None,
        description="MLflow tracking URI; default: a SQLite file below the root. Needed where the "
        "root is s3://.",
    )
    artifact_location: str | None = Field(
        None, description="Where model files go: a folder or s3:// URI; default: below the root."
    )
    cache: str | None = Field(
        None, description="Local folder for models that are fetched from a remote store."
    )


@dataclass(frozen=True)
class Location:
    """A registry's settings with every default filled in for one root."""

    tracking_uri: str
    artifact_location: str | None
    """None: the MLflow server decides."""
    cache: Path


def locate(settings: RegistrySettings, lake: Lake) -> Location:
    """Fill in the defaults; creates the local folder of the SQLite file."""
    root = lake.root
    remote = "://" in root and not root.startswith("file://")
    if remote and settings.tracking_uri is None:
        raise UserError(
            f"The root {root} is remote and SQLite cannot live there: set registry.tracking_uri to "
            "an MLflow server or a PostgreSQL URI."
        )
    base = root.rstrip("/") if remote else str(_local(root))
    tracking = settings.tracking_uri
    if tracking is None:
        folder = Path(base) / "mlflow"
        folder.mkdir(parents=True, exist_ok=True)
        tracking = f"sqlite:///{folder / 'mlflow.db'}"
    served = tracking.startswith(("http://", "https://"))
    artifacts = settings.artifact_location or (None if served else f"{base}/mlflow/artifacts")
    cache = settings.cache or (
        str(Path.home() / ".cache" / "mmcore" / "models") if remote else f"{base}/mlflow/cache"
    )
    return Location(tracking, artifacts, Path(cache))


def _local(root: str) -> Path:
    return Path(root.removeprefix("file://")).absolute()
