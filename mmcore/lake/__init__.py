"""Immutable datasets named by their content, on a local path or S3."""

from mmcore.lake.dataset import Dataset, DatasetWriter
from mmcore.lake.erase import erase_in_part, publish_erased
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
    "erase_in_part",
    "open_storage",
    "publish_erased",
    "sha256_hex",
]
