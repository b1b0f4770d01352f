"""MLflow, quiet: imported when first used, without telemetry, migration logs or links."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from typing import TYPE_CHECKING

from mmcore.errors import MmcoreError
from mmcore.registry.settings import Location

if TYPE_CHECKING:
    from mlflow import MlflowClient

_QUIET = {
    # Usage statistics would leave the machine.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_NOISY = ("alembic", "mlflow.store.db.utils", "mlflow.tracking")


@lru_cache(maxsize=8)
def open_client(location: Location) -> MlflowClient:
    """A client of the registry; makes the SQLite file on first use. MmcoreError if unreachable."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(
            tracking_uri=location.tracking_uri, registry_uri=location.tracking_uri
        )
        # MLflow sets its own log levels while it makes the tables.
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.WARNING)
        client.search_registered_models(max_results=1)
    except MlflowException as error:
        first = str(error).splitlines()[0]
        raise MmcoreError(
            f"The registry at {without_password(location.tracking_uri)} does not answer: {first}"
        ) from error
    return client


def without_password(uri: str) -> str:
    """A URI that may be shown."""
    scheme, found, rest = uri.partition("://")
    if not found or "@" not in rest.split("/", 1)[0]:
        return uri
    return f"{scheme}://…@{rest.split('@', 1)[1]}"
