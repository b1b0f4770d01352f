"""Decode, shrink to 256 and encode: `mmcore.clean` against img2dataset's resizer, on one core.

    python benchmarks/data/resize_images.py corpus --photos FOLDER --drawings FOLDER --out FOLDER
    python benchmarks/data/resize_images.py run --images FOLDER --peer VENV/bin/python --rounds 5

`corpus` cuts large photographs to the sizes that pages carry and stores them as JPEG (every third
progressive), WebP and PNG, beside drawings as they are. `run` gives the same bytes to both sides,
in processes of their own on one core and in alternating order. First each output is compared with
the original, laid on white and shrunk with Pillow's Lanczos filter: both sides must reach a mean
SSIM of .98 at the same JPEG quality. `codecs` is a bound: the bare decoders over whole files
(libjpeg-turbo to the smallest fraction that we allow ourselves, libwebp and libpng at full size),
then libjpeg-turbo on an image of the right size that is already there. Nothing is resized.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SIDE = 256
QUALITY = 95  # img2dataset's default, for both
KINDS = ("jpg", "webp", "png")
WIDTHS = (400, 480, 500, 640, 640, 720, 800, 800, 1024, 1024, 1200, 1600, 2048)


# -- the corpus --


def make_corpus(photos: Path, drawings: Path, out: Path, count: int) -> None:
    """`count` files: seven in ten JPEG, the rest WebP, PNG and drawings."""
    from PIL import Image, ImageFile

    Image.MAX_IMAGE_PIXELS = None
    ImageFile.MAXBLOCK = 1 << 24  # a progressive JPEG is written in one go
    choose = random.Random(1)
    large = {p.resolve() for p in photos.rglob("*") if p.suffix in (".jpg", ".png") and p.is_file()}
    sources = sorted(p for p in large if min(Image.open(p).size) >= 1000)
    drawn = sorted(p for p in drawings.rglob("*.png") if _pixels(p) < 10_000_000)
    out.mkdir(parents=True)
    for number in range(count):
        kind = choose.choices(("jpg", "webp", "png", "drawing"), (70, 14, 6, 10))[0]
        if kind == "drawing":
            (out / f"{number:05}.png").write_bytes(choose.choice(drawn).read_bytes())
            continue
        with Image.open(choose.choice(sources)) as photo:
            photo.draft("RGB", (2600, 2600))
            cut = _cut(photo.convert("RGB"), choose)
        options: dict[str, Any] = {"webp": {"quality": 80}, "png": {}}.get(kind) or {
            "quality": choose.choice((75, 80, 85, 90, 95)),
            "progressive": choose.random() < 1 / 3,
            "subsampling": choose.choice((2, 2, 2, 0)),
        }
        cut.save(out / f"{number:05}.{kind}", **({} if kind == "png" else options))


def _cut(photo: Any, choose: random.Random) -> Any:
    """A part of a photograph, at one of the WIDTHS."""
    from PIL import Image

    width = choose.choice(WIDTHS)
    across = int(photo.width * choose.uniform(0.5, 1))
    down = min(photo.height, int(across * choose.choice((0.56, 0.66, 0.75, 1))))
    left, top = choose.randint(0, photo.width - across), choose.randint(0, photo.height - down)
    part = photo.crop((left, top, left + across, top + down))
    return part.resize((width, max(1, round(width * down / across))), Image.Resampling.LANCZOS)


def _pixels(path: Path) -> int:
    from PIL import Image

    with Image.open(path) as image:
        return int(image.width * image.height)


# -- the sides, each in its own interpreter --


def ours() -> Callable[[bytes], bytes]:
    from mmcore.clean.header import open_image
    from mmcore.clean.images import normalize
    from mmcore.clean.policy import PixelPolicy

    policy = PixelPolicy(shorter_side=SIDE, longer_side=16384, quality=QUALITY)
    return lambda data: normalize(data, *open_image(data), policy).encoded


def measured() -> Callable[[bytes], bytes]:
    """As `ours`, with everything that the stage measures of an image."""
    import pyarrow as pa

    from mmcore.clean.measure import Measure
    from mmcore.clean.policy import PixelPolicy

    measure = Measure(PixelPolicy(shorter_side=SIDE, longer_side=16384, quality=QUALITY))

    def one(data: bytes) -> bytes:
        row = {"sha256": ["0"], "image": [data], "bytes": [len(data)], "url": ["u"]}
        stored: bytes = measure(pa.table(row))[1]["image"][0].as_py()
        return stored

    return one


def peer() -> Callable[[bytes], bytes]:
    from img2dataset.resizer import Resizer

    resize = Resizer(SIDE, "keep_ratio", resize_only_if_bigger=True, encode_quality=QUALITY)
    return lambda data: resize(io.BytesIO(data))[0]


def codecs() -> Callable[[bytes], bytes]:
    import cv2
    import numpy as np
    import simplejpeg

    from mmcore.clean.header import open_image
    from mmcore.clean.images import normalize, target_size
    from mmcore.clean.policy import PixelPolicy

    cv2.setNumThreads(1)
    policy = PixelPolicy(shorter_side=SIDE, longer_side=16384, quality=QUALITY)
    ready: dict[bytes, tuple[Any, int, int]] = {}

    def one(data: bytes) -> bytes:
        if data not in ready:  # in the warm-up, outside the measurement
            image, header = open_image(data)
            size = target_size(header.width, header.height, policy)
            pixels = normalize(data, image, header, policy).pixels.copy()
            times = min(header.width // size[0], header.height // size[1])
            fraction = next((s for s in (8, 4, 2) if s <= times), 1)
            ready[data] = pixels, header.width // fraction, header.height // fraction
        pixels, width, height = ready[data]
        if data[:2] == b"\xff\xd8":
            simplejpeg.decode_jpeg(data, min_width=width, min_height=height, fastupsample=True)
        else:
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        encoded: bytes = simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorsubsampling="420")
        return encoded

    return one


SIDES = {"peer": peer, "ours": ours, "measured": measured, "codecs": codecs}


def work(side: str, images: Path, out: Path) -> None:
    """One side over all images: CPU seconds by kind to standard output, the images to `out`."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    run = SIDES[side]()
    seconds = {}
    for kind in KINDS:
        files = sorted(images.glob(f"*.{kind}"))
        data = [file.read_bytes() for file in files]
        for one in data if side == "codecs" else data[:20]:
            run(one)
        start = time.process_time()
        results = [run(one) for one in data]
        seconds[kind] = time.process_time() - start
        for file, result in zip(files, results, strict=True):
            (out / f"{file.name}.jpg").write_bytes(result)
    print(json.dumps(seconds))


# -- the gate --


def similarity(image: Path, result: Path) -> float:
    """Mean SSIM (Wang et al. 2004) of a result's luma to a Lanczos resize of the original."""
    import cv2
    import numpy as np
    from PIL import Image

    with Image.open(image) as original, Image.open(result) as made:
        rgba = original.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        white.alpha_composite(rgba)
        scale = min(1.0, SIDE / min(rgba.size))
        size = (round(rgba.width * scale), round(rgba.height * scale))
        if made.size != size:
            return 0.0
        wanted = white.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        a, b = (np.asarray(i.convert("L"), np.float64) for i in (wanted, made))

    def blur(x: Any) -> Any:
        return cv2.GaussianBlur(x, (11, 11), 1.5)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return float((value / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


# -- the comparison --


def compare(images: Path, python: Path, rounds: int) -> None:
    interpreters = {side: Path(sys.executable) for side in SIDES} | {"peer": python}
    seconds: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    counts = {kind: len(list(images.glob(f"*.{kind}"))) for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for side in list(SIDES) if number % 2 == 0 else reversed(SIDES):
                out = Path(folder, side)
                out.mkdir(exist_ok=True)
                command = [str(interpreters[side]), __file__, "work", "--side", side]
                command += ["--images", str(images), "--out", str(out)]
                quiet = {"OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
                done = subprocess.run(
                    command, check=True, stdout=subprocess.PIPE, env={**os.environ, **quiet}
                )
                seconds[side].append(json.loads(done.stdout))
        alike = {side: _alike(images, Path(folder, side)) for side in ("peer", "ours")}
        same = _digest(Path(folder, "ours")) == _digest(Path(folder, "measured"))
    for side, values in alike.items():
        if statistics.mean(values) < 0.98:
            raise SystemExit(f"{side} does not reach SSIM .98: {statistics.mean(values):.4f}")
    print(f"{sum(counts.values())} images, {rounds} rounds, medians; same bytes measured: {same}\n")
    for side, values in alike.items():
        print(f"SSIM {side}: mean {statistics.mean(values):.4f}, lowest {min(values):.4f}")
    print("\n| | " + " | ".join(f"{k} ({counts[k]})" for k in KINDS) + " | all | ratio |")
    print("|---" * (len(KINDS) + 3) + "|")
    total = {
        side: statistics.median(sum(run.values()) for run in runs) for side, runs in seconds.items()
    }
    for side, runs in seconds.items():
        rates = [counts[k] / statistics.median(run[k] for run in runs) for k in KINDS]
        cells = [f"{rate:.0f}" for rate in (*rates, sum(counts.values()) / total[side])]
        cells.append(f"{total['peer'] / total[side]:.2f}")
        print(f"| {side} | " + " | ".join(cells) + " |")


def _alike(images: Path, results: Path) -> list[float]:
    return [similarity(i, results / f"{i.name}.jpg") for i in sorted(images.iterdir())]


def _digest(folder: Path) -> str:
    parts: Iterable[bytes] = (p.read_bytes() for p in sorted(folder.iterdir()))
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    corpus = commands.add_parser("corpus")
    for name in ("photos", "drawings", "out"):
        corpus.add_argument(f"--{name}", type=Path, required=True)
    corpus.add_argument("--count", type=int, default=600)
    side = commands.add_parser("work")
    side.add_argument("--side", choices=SIDES, required=True)
    side.add_argument("--images", type=Path, required=True)
    side.add_argument("--out", type=Path, required=True)
    run = commands.add_parser("run")
    run.add_argument("--images", type=Path, required=True)
    run.add_argument("--peer", type=Path, required=True, help="Python that has img2dataset 1.47.0")
    run.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    if chosen.command == "corpus":
        make_corpus(chosen.photos, chosen.drawings, chosen.out, chosen.count)
    elif chosen.command == "work":
        work(chosen.side, chosen.images, chosen.out)
    else:
        compare(chosen.images, chosen.peer, chosen.rounds)


if __name__ == "__main__":
    main()
