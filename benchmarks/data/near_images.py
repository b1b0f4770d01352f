"""Near-duplicate images: `mmcore.clean` and `mmcore.dedup` against imagededup's PHash, on one core.

    python benchmarks/data/near_images.py corpus --photos FOLDER --out FOLDER --originals 2500
    python benchmarks/data/near_images.py run --images FOLDER --out FOLDER --peer VENV/bin/python
        [--data-juicer VENV/bin/python]

`corpus` makes, of each original, one copy by each of the TRANSFORMS, and hard negatives: generated
scenes and the same scenes with one thing changed (a colour, a count), as pictures of one product
line differ. Photographs are the members of the `.tar` files in FOLDER (flickr8k: 224 pixels wide).
Files are named ORIGINAL-TRANSFORM.EXT, so the names are the truth.

`run` gives both sides the same files and asks for all pairs. Ours is what the stages do: measure
every image (which also makes the JPEG that is stored, and the attributes), candidates by band,
verified on thumbnails. Imagededup decodes and hashes with one worker, as documented
(`encode_images`), then searches with its default method at each of the thresholds. Data-Juicer's
`image_deduplicator` keeps one image of each imagededup hash: it says that images of one hash are
the same, and that it kept the first of them is checked. A pair is right
where both files come from one original. Every original is compared with its copies for recall;
precision counts all pairs that were found. CPU seconds are those of the process and its children.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

TRANSFORMS = (
    "jpeg",
    "webp",
    "half",
    "larger",
    "darker",
    "brighter",
    "crop5",
    "crop10",
    "bar",
    "flip",
)
GATED = ("jpeg", "webp", "half", "larger", "darker", "brighter")  # re-encode, resize, brightness
_LINES = 5  # of one scene: itself and variants


# -- the corpus --


def make_corpus(photos: Path, out: Path, originals: int) -> None:
    """Photographs with their copies, and one hard negative for every four photographs."""
    out.mkdir(parents=True)
    choose = random.Random(3)
    for number, data in enumerate(_photos(photos, originals)):
        (out / f"photo{number:05d}-original.jpg").write_bytes(data)
        for name in TRANSFORMS:
            copy, kind = _transformed(data, name, choose)
            (out / f"photo{number:05d}-{name}.{kind}").write_bytes(copy)
    for number, data in enumerate(_product_lines(originals // 4)):
        (out / f"scene{number:05d}-original.jpg").write_bytes(data)


def _photos(folder: Path, count: int) -> Iterator[bytes]:
    left = count
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                source = tar.extractfile(member) if member.name.endswith(".jpg") else None
                if source is not None and left:
                    left -= 1
                    yield source.read()


def _transformed(data: bytes, name: str, choose: random.Random) -> tuple[bytes, str]:
    """One copy of an image, and the extension of its file."""
    from PIL import Image, ImageEnhance, ImageOps

    image = Image.open(io.BytesIO(data)).convert("RGB")
    w, h = image.size
    lanczos = Image.Resampling.LANCZOS
    if name == "half":
        image = image.resize((w // 2, h // 2), lanczos)
    elif name == "larger":
        image = image.resize((w * 8 // 5, h * 8 // 5), Image.Resampling.BICUBIC)
    elif name in ("darker", "brighter"):
        factor = choose.uniform(0.75, 0.9) if name == "darker" else choose.uniform(1.1, 1.25)
        image = ImageEnhance.Brightness(image).enhance(factor)
    elif name.startswith("crop"):
        share = int(name.removeprefix("crop")) / 100  # of each side's length, from a random edge
        x, y = choose.random() * share, choose.random() * share
        box = (x * w, y * h, (x + 1 - share) * w, (y + 1 - share) * h)
        left, top, right, bottom = (round(v) for v in box)
        image = image.crop((left, top, right, bottom))
    elif name == "bar":
        image = ImageOps.expand(image, (0, 0, 0, round(h * 0.12)), "white")
    elif name == "flip":
        image = ImageOps.mirror(image)
    quality = choose.choice((40, 60, 75)) if name in ("jpeg", "webp") else 85
    kind = "webp" if name == "webp" else "jpg"
    out = io.BytesIO()
    image.save(out, "WEBP" if kind == "webp" else "JPEG", quality=quality)
    return out.getvalue(), kind


def _product_lines(count: int) -> Iterator[bytes]:
    """Generated scenes, and the same with one colour or one count changed."""
    from dataclasses import replace

    from mmcore.samplesite import SiteConfig, render, scenes

    made = 0
    for scene in scenes(SiteConfig(seed=5, images=max(40, -(-count // _LINES)))):
        main = scene.main
        colours = [c for c in ("red", "blue", "green", "yellow") if c != main.colour]
        line = [scene, *(replace(scene, main=replace(main, colour=c)) for c in colours[:2])]
        counts = [n for n in (1, 2, 3, 4) if n != main.count]
        line += [replace(scene, main=replace(main, count=n)) for n in counts[:2]]
        for one in line[: count - made]:
            made += 1
            yield render(one, image_format="jpeg", quality=85)


# -- the sides, each in its own interpreter --


def ours(files: list[Path], thresholds: list[int]) -> dict[str, Any]:
    import numpy as np
    import pyarrow as pa

    from mmcore.clean.images import PixelPolicy
    from mmcore.clean.measure import measure
    from mmcore.dedup import bands, verify
    from mmcore.dedup.history import thumbs_of
    from mmcore.dedup.stage import Config

    start = time.process_time()
    tables = []
    for low in range(0, len(files), 256):
        data = [file.read_bytes() for file in files[low : low + 256]]
        names = [file.name for file in files[low : low + 256]]
        raw = {"sha256": names, "image": pa.array(data, pa.binary()), "url": names}
        rows, _ = measure(pa.table({**raw, "bytes": [len(d) for d in data]}), PixelPolicy())
        tables.append(rows.select(["sha256", "phash", "thumb"]))
    rows = pa.concat_tables(tables).combine_chunks()
    encoded = time.process_time() - start
    limits = Config().limits
    hashes, at = rows["phash"].to_numpy(), np.arange(rows.num_rows)
    thumbs = thumbs_of(rows["thumb"].chunk(0))
    left, right = [], []
    for band in bands.bands(limits.max_hamming):
        run = [bands.band_run(hashes, at, band)]
        found = bands.candidates(run, hashes, at, band, limits.max_hamming, limits.bucket_cap)
        for low in range(0, len(found.query), 10_000):
            a, b = found.query[low : low + 10_000], found.found[low : low + 10_000]
            same, _ = verify.same_picture(thumbs[a], thumbs[b], limits.max_mean, limits.max_local)
            left.append(a[same])
            right.append(b[same])
    pairs = [np.concatenate(side).tolist() for side in (left, right)]
    searched = time.process_time() - start - encoded
    found_pairs = [[files[a].name, files[b].name] for a, b in zip(*pairs, strict=True)]
    return {"encode": encoded, "search": searched, "pairs": {"ours": found_pairs}}


def peer(files: list[Path], thresholds: list[int]) -> dict[str, Any]:
    from imagededup.methods import PHash

    start = _cpu()
    method = PHash(verbose=False)
    encodings = method.encode_images(image_dir=files[0].parent, num_enc_workers=0)
    encoded = _cpu() - start
    result: dict[str, Any] = {"encode": encoded, "pairs": {}}
    for threshold in thresholds:
        start = _cpu()
        found = method.find_duplicates(
            encoding_map=encodings, max_distance_threshold=threshold, num_dist_workers=0
        )
        result["search"] = result.get("search", {}) | {str(threshold): _cpu() - start}
        pairs = {tuple(sorted((a, b))) for a, others in found.items() for b in others}
        result["pairs"][f"imagededup {threshold}"] = sorted(pairs)
    return result


def data_juicer(files: list[Path], _thresholds: list[int]) -> dict[str, Any]:
    from data_juicer.core.data import NestedDataset
    from data_juicer.ops.deduplicator.image_deduplicator import ImageDeduplicator
    from data_juicer.utils.constant import HashKeys
    from datasets import Dataset

    start = _cpu()
    method = ImageDeduplicator(method="phash")
    rows = NestedDataset(Dataset.from_dict({"images": [[str(file)] for file in files]}))
    hashed = rows.map(method.compute_hash, num_proc=1)
    encoded = _cpu() - start
    kept, _ = method.process(hashed)
    searched = _cpu() - start - encoded
    alike: dict[str, list[str]] = {}
    for file, found in zip(files, hashed[HashKeys.imagehash], strict=True):
        alike.setdefault(found, []).append(file.name)
    first = [names[0] for names in alike.values()]
    if [Path(paths[0]).name for paths in kept["images"]] != first:
        raise SystemExit("Data-Juicer kept other images than the first of each hash")
    pairs = [pair for names in alike.values() for pair in combinations(names, 2)]
    return {"encode": encoded, "search": searched, "pairs": {"Data-Juicer": pairs}}


def _cpu() -> float:
    """CPU seconds of this process and its finished children."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


SIDES: dict[str, Callable[[list[Path], list[int]], dict[str, Any]]] = {
    "ours": ours,
    "peer": peer,
    "data-juicer": data_juicer,
}


def work(side: str, images: Path, out: Path, thresholds: list[int]) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    out.write_text(json.dumps(SIDES[side](sorted(images.iterdir()), thresholds)))


# -- the comparison --


def compare(
    images: Path, interpreters: dict[str, Path], out: Path, rounds: int, thresholds: list[int]
) -> None:
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in interpreters}
    for number in range(rounds):
        for side in list(runs) if number % 2 == 0 else reversed(runs):
            file = out / f"{side}.json"
            command = [str(interpreters[side]), __file__, "work", "--side", side]
            command += ["--images", str(images), "--out", str(file)]
            command += ["--thresholds", *map(str, thresholds)]
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            runs[side].append(json.loads(file.read_text()))
    names = [file.name for file in sorted(images.iterdir())]
    print(f"{len(names)} images, {rounds} rounds\n")
    print("| | precision | " + " | ".join(TRANSFORMS) + " | gated recall | look-alikes merged |")
    print("|---" * (len(TRANSFORMS) + 4) + "|")
    for side in runs:
        for method, pairs in runs[side][0]["pairs"].items():
            print(f"| {method} | " + " | ".join(_scores(names, pairs)) + " |")
    print()
    _print_costs(runs, len(names))


def _scores(names: list[str], pairs: list[list[str]]) -> list[str]:
    """Precision, recall of each transform, recall of the gated ones, scenes merged."""
    found = {tuple(sorted(pair)) for pair in pairs}
    right = sum(a.split("-")[0] == b.split("-")[0] for a, b in found)
    scenes = sum(a.startswith("scene") and b.startswith("scene") for a, b in found)
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        original, kind = name.rsplit(".", 1)[0].split("-")
        groups.setdefault(original, {})[kind] = name
    photos = [group for group in groups.values() if len(group) > 1]
    hits = {
        kind: [tuple(sorted((g["original"], g[kind]))) in found for g in photos]
        for kind in TRANSFORMS
    }
    recall = [sum(hits[kind]) / len(photos) for kind in TRANSFORMS]
    gated = [hit for kind in GATED for hit in hits[kind]]
    values = [right / max(1, len(found)), *recall, sum(gated) / len(gated)]
    return [*(f"{value:.4f}" for value in values), str(scenes)]


def _print_costs(runs: dict[str, list[dict[str, Any]]], images: int) -> None:
    def median(values: list[float]) -> float:
        return sorted(values)[len(values) // 2]

    encode = {side: median([run["encode"] for run in done]) for side, done in runs.items()}
    ours_search = median([run["search"] for run in runs["ours"]])
    print("| | encode s | search s | images/s in all | ratio |\n|---|---|---|---|---|")
    total = encode["ours"] + ours_search
    print(f"| ours | {encode['ours']:.1f} | {ours_search:.2f} | {images / total:.0f} | 1 |")
    for threshold in map(int, runs["peer"][0]["search"]):
        search = median([run["search"][str(threshold)] for run in runs["peer"]])
        whole = encode["peer"] + search
        print(
            f"| imagededup {threshold} | {encode['peer']:.1f} | {search:.2f} "
            f"| {images / whole:.0f} | {whole / total:.2f} |"
        )
    if "data-juicer" in runs:
        search = median([run["search"] for run in runs["data-juicer"]])
        whole = encode["data-juicer"] + search
        print(
            f"| Data-Juicer | {encode['data-juicer']:.1f} | {search:.2f} "
            f"| {images / whole:.0f} | {whole / total:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    corpus = commands.add_parser("corpus")
    corpus.add_argument("--photos", type=Path, required=True)
    corpus.add_argument("--out", type=Path, required=True)
    corpus.add_argument("--originals", type=int, default=2500)
    side = commands.add_parser("work")
    side.add_argument("--side", choices=SIDES, required=True)
    run = commands.add_parser("run")
    run.add_argument("--peer", type=Path, required=True, help="Python that has imagededup 0.3")
    run.add_argument("--data-juicer", type=Path, help="Python that has it and imagededup")
    run.add_argument("--rounds", type=int, default=3)
    for command in (side, run):
        command.add_argument("--images", type=Path, required=True)
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--thresholds", type=int, nargs="+", default=[10])  # its default
    chosen = parser.parse_args()
    if chosen.command == "corpus":
        make_corpus(chosen.photos, chosen.out, chosen.originals)
    elif chosen.command == "work":
        work(chosen.side, chosen.images, chosen.out, chosen.thresholds)
    else:
        chosen.out.mkdir(parents=True, exist_ok=True)
        interpreters = {"ours": Path(sys.executable), "peer": chosen.peer}
        if chosen.data_juicer:
            interpreters["data-juicer"] = chosen.data_juicer
        compare(chosen.images, interpreters, chosen.out, chosen.rounds, chosen.thresholds)


if __name__ == "__main__":
    main()
