"""A batch of raw images to two tables: what was measured, and what is stored."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cv2.typing import MatLike

from mmcore.blocklist import Blocklist
from mmcore.clean import attributes
from mmcore.clean.detect import Detector, detector
from mmcore.clean.header import Header, Refused, open_image
from mmcore.clean.images import Normalized, normalize
from mmcore.clean.policy import PixelPolicy
from mmcore.clean.textlike import text_likeness

MEASURED = pa.schema(
    [
        ("sha256", pa.string()),
        ("outcome", pa.string()),  # `ok`, or the reason why there are no pixels
        ("detail", pa.string()),  # the decoder's own words
        ("format", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("aspect", pa.float32()),
        ("bytes", pa.int64()),
        ("entropy", pa.float32()),
        ("sharpness", pa.float32()),
        ("saturation", pa.float32()),
        ("deviation", pa.float32()),
        ("text_likeness", pa.float32()),
        ("unsafe", pa.float32()),
        ("faces", pa.int32()),
        ("animated", pa.bool_()),
        ("phash", pa.uint64()),
        ("thumb", pa.binary(attributes.THUMB * attributes.THUMB * 3)),
        ("pixels", pa.string()),  # SHA-256 of the stored image: equal pixels, equal digest
        ("url", pa.string()),
    ]
)
NORMALIZED = pa.schema([("sha256", pa.string()), ("image", pa.binary())])


@dataclass
class _Batch:
    """Per-image results, in the order of the rows; `decoded` are the rows that have pixels."""

    outcome: list[str] = field(default_factory=list)
    detail: list[str | None] = field(default_factory=list)
    headers: list[Header | None] = field(default_factory=list)
    sizes: list[tuple[int, int] | None] = field(default_factory=list)
    decoded: list[int] = field(default_factory=list)
    stored: list[bytes] = field(default_factory=list)
    reduced: list[MatLike] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    deviation: list[float] = field(default_factory=list)
    text_likeness: list[float] = field(default_factory=list)
    unsafe: list[float | None] = field(default_factory=list)
    faces: list[int | None] = field(default_factory=list)
    histograms: list[MatLike] = field(default_factory=list)

    def refuse(self, refused: Refused, header: Header | None) -> None:
        """Record an image without pixels; a header that could be read is kept."""
        self.outcome.append(refused.reason)
        self.detail.append(refused.detail)
        self.headers.append(header)
        self.sizes.append((header.width, header.height) if header else None)

    def accept(self, header: Header, image: Normalized) -> None:
        """Record a decoded image and drop its pixels."""
        self.decoded.append(len(self.outcome))
        self.outcome.append("ok")
        self.detail.append(None)
        self.headers.append(header)
        self.sizes.append((image.width, image.height))
        grey = cv2.cvtColor(image.pixels, cv2.COLOR_RGB2GRAY)
        self.stored.append(image.encoded)
        self.reduced.append(attributes.reduced(image.pixels))
        self.sharpness.append(attributes.sharpness(grey))
        self.deviation.append(attributes.deviation(image.pixels))
        self.histograms.append(attributes.histogram(grey))
        self.text_likeness.append(text_likeness(grey))
        self.unsafe.append(image.found.unsafe if image.found else None)
        self.faces.append(len(image.found.faces) if image.found else None)


@dataclass(frozen=True)
class Measure:
    """What rows are measured with. Picklable, so that a process of its own can do it."""

    policy: PixelPolicy
    blocklist: Blocklist = field(default_factory=Blocklist)
    hamming: int = 0
    """Bits in which a perceptual hash may differ from a listed one."""

    def __call__(
        self, raw: pa.Table, started: Callable[[], None] = lambda: None
    ) -> tuple[pa.Table, pa.Table]:
        """Raw rows (`sha256, image, bytes, url`) to a MEASURED row each and a NORMALIZED row for
        each that could be decoded, in the same order. Bad images become outcomes, never exceptions;
        `started` is called before each row. An image that is null was erased: it is `blocklisted`.
        """
        batch = _Batch()
        model = detector() if self.policy.finds_objects else None
        listed = self.blocklist.has_each(raw["sha256"]).to_pylist()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the outcome column says it anyway
            for data, known in zip(raw["image"], listed, strict=True):
                started()
                if known or not data.is_valid:
                    batch.refuse(_blocklisted(), None)
                else:
                    _look_at(data.as_py(), self.policy, model, batch)
        return self._without_listed(*_tables(raw, batch))

    def _without_listed(self, measured: pa.Table, stored: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Nothing is left of an image whose perceptual hash is listed, not even its thumbnail."""
        decoded = np.flatnonzero(measured["phash"].is_valid())
        hashes = measured["phash"].drop_null().to_numpy()
        near = self.blocklist.near(hashes, self.hamming)
        if not near.any():
            return measured, stored
        hit = np.zeros(measured.num_rows, dtype=bool)
        hit[decoded[near]] = True
        gone = unmeasured(measured.filter(pa.array(hit)), _blocklisted())
        kept = measured.filter(pa.array(~hit))
        order = np.argsort(np.concatenate([np.flatnonzero(~hit), np.flatnonzero(hit)]))
        return pa.concat_tables([kept, gone]).take(order), stored.filter(pa.array(~near))


def measure(raw: pa.Table, policy: PixelPolicy) -> tuple[pa.Table, pa.Table]:
    """As `Measure` does, in this process and with nothing blocked."""
    return Measure(policy)(raw)


def unmeasured(rows: pa.Table, why: Refused) -> pa.Table:
    """MEASURED rows of images (`sha256, bytes, url`) of which nothing is known but `why`."""
    batch = _Batch()
    for _ in range(rows.num_rows):
        batch.refuse(why, None)
    return _measured(rows, batch)


def lost(rows: pa.Table, reason: str, detail: str) -> tuple[pa.Table, pa.Table]:
    """The two tables of rows that no process survived."""
    return unmeasured(rows, Refused(reason, detail)), NORMALIZED.empty_table()


def _blocklisted() -> Refused:
    # Always the same words: a second run finds the bytes erased and must come to the same table.
    return Refused("blocklisted", "its hash is on the blocklist")


def _look_at(data: bytes, policy: PixelPolicy, model: Detector | None, batch: _Batch) -> None:
    header = None
    try:
        image, header = open_image(data, policy.svg)
        batch.accept(header, normalize(data, image, header, policy, model))
    except Refused as refused:
        batch.refuse(refused, header)


def _tables(raw: pa.Table, batch: _Batch) -> tuple[pa.Table, pa.Table]:
    keys = raw["sha256"].take(pa.array(batch.decoded, pa.int64()))
    stored = pa.table([keys, pa.array(batch.stored, pa.binary())], schema=NORMALIZED)
    return _measured(raw, batch), stored


def _measured(raw: pa.Table, batch: _Batch) -> pa.Table:
    n = raw.num_rows
    minis = attributes.miniatures(batch.reduced)
    grey = np.array(batch.histograms, dtype=np.float32).reshape(-1, 256)
    small = attributes.thumbs(minis)
    width = pa.array([size and size[0] for size in batch.sizes], pa.int64())
    height = pa.array([size and size[1] for size in batch.sizes], pa.int64())

    def spread(values: npt.NDArray[np.generic] | list[object], kind: pa.DataType) -> pa.Array:
        """Values of the decoded rows, null on the others."""
        where = np.full(n, -1, dtype=np.int64)
        where[batch.decoded] = np.arange(len(batch.decoded))
        rows = pa.array(where, mask=where < 0)
        return pa.array(values, kind).take(rows)

    columns = {
        "sha256": raw["sha256"],
        "outcome": pa.array(batch.outcome, pa.string()),
        "detail": pa.array(batch.detail, pa.string()),
        "format": pa.array([h and h.format for h in batch.headers], pa.string()),
        "width": width,
        "height": height,
        "aspect": _aspect(batch.sizes),
        "bytes": raw["bytes"],
        "entropy": spread(attributes.entropy(grey), pa.float32()),
        "sharpness": spread(np.array(batch.sharpness, dtype=np.float32), pa.float32()),
        "saturation": spread(attributes.saturation(minis), pa.float32()),
        "deviation": spread(np.array(batch.deviation, dtype=np.float32), pa.float32()),
        "text_likeness": spread(np.array(batch.text_likeness, dtype=np.float32), pa.float32()),
        "unsafe": spread(list(batch.unsafe), pa.float32()),
        "faces": spread(list(batch.faces), pa.int32()),
        "animated": pa.array([h and h.animated for h in batch.headers], pa.bool_()),
        "phash": spread(attributes.phash(minis), pa.uint64()),
        "thumb": spread([t.tobytes() for t in small], MEASURED.field("thumb").type),
        "pixels": spread([hashlib.sha256(j).hexdigest() for j in batch.stored], pa.string()),
        "url": raw["url"],
    }
    return pa.table(columns, schema=MEASURED)


def _aspect(sizes: list[tuple[int, int] | None]) -> pa.Array:
    """Longer side over shorter side, so 1 is square and 3 is long, whichever way it lies."""
    ratios = [max(s) / min(s) if s and min(s) > 0 else None for s in sizes]
    return pa.array(ratios, pa.float32())
