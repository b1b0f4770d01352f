"""Broken images by the thousand through the process that decodes: does every one get a reason?

    python benchmarks/data/fuzz_images.py --images FOLDER --mutants 10000

FOLDER holds files of any kind, such as `Tests/images` of python-pillow/Pillow. They go through as
they are, then as mutants: bits flipped, bytes overwritten, pieces cut out, doubled or taken from
another file, ends cut off, and sizes in headers set to extremes, one to eight changes a file. The
seed decides every mutant. Afterwards each row must have an outcome that docs/datasets.md lists,
each `ok` row a JPEG that Pillow opens, and no process may have needed more memory than allowed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import random
import re
import resource
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa

from mmcore.clean.header import sniff
from mmcore.clean.measure import Measure, lost
from mmcore.clean.policy import PixelPolicy
from mmcore.clean.sandbox import Limits, Sandbox

_DOCUMENTED = Path(__file__).parents[2] / "docs/datasets.md"
_LARGEST = 2 << 20  # of a file to mutate: large ones only take time
_EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\1\0\0", b"\0\0\0\1")
_AT_ONCE = 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory-mb", type=int, default=1024)
    chosen = parser.parse_args()
    files = sorted(p for p in chosen.images.rglob("*") if p.is_file())
    originals = [path.read_bytes() for path in files]
    policy = PixelPolicy(svg=True, decode_seconds=5, decode_mb=chosen.memory_mb)
    box = Sandbox(Measure(policy), Limits(5, 60, chosen.memory_mb))
    print(f"{len(files)} files as they are")
    _report(box, iter(originals))
    print(f"\n{chosen.mutants} mutants, seed {chosen.seed}")
    _report(box, mutants(originals, chosen.mutants, random.Random(chosen.seed)))
    box.close()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    print(f"\nlargest decoding process: {peak} MiB resident, {chosen.memory_mb} MiB allowed")


def _report(box: Sandbox, images: Iterator[bytes]) -> None:
    """Measure images and print how often each outcome occurs. SystemExit where a promise breaks."""
    outcomes: Counter[str] = Counter()
    lost_rows: Counter[str] = Counter()
    documented = set(re.findall(r"`(\w+)`", _DOCUMENTED.read_text(encoding="utf-8")))
    start = time.monotonic()
    while rows := list(islice(images, _AT_ONCE)):
        pieces = box.map(_table(rows), lost)
        measured = pa.concat_tables([piece[0] for piece in pieces])
        stored = pa.concat_tables([piece[1] for piece in pieces])
        found = measured["outcome"].to_pylist()
        if len(found) != len(rows) or not documented.issuperset(found):
            raise SystemExit(f"not a documented outcome a row: {sorted(set(found) - documented)}")
        if stored.num_rows != found.count("ok"):
            raise SystemExit("stored images and outcomes differ")
        for image in stored["image"].to_pylist():
            _check(image)
        outcomes.update(found)
        for outcome, detail in zip(found, measured["detail"].to_pylist(), strict=True):
            if outcome in ("decoder_crashed", "decoder_hung", "out_of_memory"):
                lost_rows[f"{outcome}: {detail}"] += 1
    print(f"{time.monotonic() - start:.0f} s")
    for name, count in outcomes.most_common():
        print(f"| {name} | {count} |")
    for name, count in lost_rows.most_common(20):
        print(f"  {count} x {name}")


def _check(image: bytes) -> None:
    from PIL import Image

    with Image.open(io.BytesIO(image), formats=["JPEG"]) as stored:
        stored.load()


def _table(rows: list[bytes]) -> pa.Table:
    return pa.table(
        {
            "sha256": [hashlib.sha256(data).hexdigest() for data in rows],
            "image": pa.array(rows, pa.binary()),
            "bytes": [len(data) for data in rows],
            "url": ["http://fuzz.test/"] * len(rows),
        }
    )


# -- mutants --


def mutants(originals: list[bytes], count: int, choose: random.Random) -> Iterator[bytes]:
    """`count` files, each with one to eight changes to an original."""
    usable = [data for data in originals if sniff(data) and len(data) <= _LARGEST]
    for _ in range(count):
        data = bytearray(choose.choice(usable))
        for _ in range(choose.choice((1, 1, 2, 3, 8))):
            if data:
                choose.choice(_CHANGES)(data, choose.choice(usable), choose)
        yield bytes(data)


def _flip(data: bytearray, other: bytes, choose: random.Random) -> None:
    for _ in range(choose.choice((1, 4, 16))):
        data[_place(data, choose)] ^= 1 << choose.randrange(8)


def _overwrite(data: bytearray, other: bytes, choose: random.Random) -> None:
    at = _place(data, choose)
    length = min(choose.choice((1, 8, 64)), len(data) - at)
    data[at : at + length] = choose.randbytes(length)


def _extreme(data: bytearray, other: bytes, choose: random.Random) -> None:
    """Where headers have sizes and offsets."""
    at = choose.randrange(min(64, len(data)))
    data[at : at + 4] = choose.choice(_EXTREMES)


def _cut_out(data: bytearray, other: bytes, choose: random.Random) -> None:
    at = _place(data, choose)
    del data[at : at + choose.choice((1, 16, 256))]


def _cut_off(data: bytearray, other: bytes, choose: random.Random) -> None:
    del data[choose.randrange(len(data)) :]


def _double(data: bytearray, other: bytes, choose: random.Random) -> None:
    at = _place(data, choose)
    data[at:at] = data[at : at + choose.choice((4, 64, 1024))]


def _splice(data: bytearray, other: bytes, choose: random.Random) -> None:
    at, source = _place(data, choose), choose.randrange(len(other))
    piece = other[source : source + choose.choice((16, 256, 4096))]
    data[at : at + len(piece)] = piece


def _place(data: bytearray, choose: random.Random) -> int:
    """Half of the changes hit the first kilobyte, where the structure is."""
    return choose.randrange(min(1024, len(data)) if choose.random() < 0.5 else len(data))


_CHANGES = (_flip, _overwrite, _extreme, _cut_out, _cut_off, _double, _splice)

if __name__ == "__main__":
    main()
