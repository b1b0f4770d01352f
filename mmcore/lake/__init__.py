"""Immutable datasets named by their content, on a local path or S3."""

from mmcore.lake.dataset import Dataset, DatasetWriter
from mmcore.lake.lake import Lake
from mmcore.lake.manifest import Manifest, Part
from mmcore.lake.storage import Conflict, Storage, open_storage, sha256_hex

__all__ = [
    "Conflict",
    "Dataset",
    "DatasetWriter",
    "Lake",
    "Manifest",
    "Part",
    "Storage",
    "open_storage",
    "sha256_hex",
]
