"""Which code made a dataset: a digest of the package's own sources."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import mmcore


@cache
def code_version() -> str:
    """Package version and a short digest of every source file of mmcore.

    A git commit would miss uncommitted edits and is not there in an image; the sources are.
    """
    folder = Path(mmcore.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return f"{mmcore.__version__}+{digest.hexdigest()[:12]}"
