"""One reader on one task, measured in a process of its own; runs in the peer's environment.

    python benchmarks/shards/read_with.py READER FOLDER MODE WORKERS [--check]
    python benchmarks/shards/read_with.py READER FOLDER write

MODE: `raw` gives image, text and labels as bytes; `64` and `224` give uint8 pictures of that size
in batches of 64, by Pillow in the peers, as their documentation does it; `64s` and `224s` give the
peers our decoder. Two epochs, shuffled in each library's own way. The clock and the CPU time start
when everything is imported (and Ray is up) and include making the reader. `--check` reads one epoch
and prints a digest of what came instead.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

BATCH = 64
SEED = 0
Batch = dict[
    str, Any
]  # key: list of str; raw: jpg, txt, json: lists of bytes; decoded: x [B,S,S,3]


def pillow(data: bytes, size: int) -> np.ndarray:
    """A picture of size x size, by Pillow."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        rgb = image.convert("RGB")
        if rgb.size != (size, size):
            rgb = rgb.resize((size, size), Image.Resampling.BOX)
        return np.asarray(rgb)


def turbo(data: bytes, size: int) -> np.ndarray:
    """The same pixels, as `mmcore.models.images` gets them."""
    import simplejpeg
    from PIL import Image

    pixels = simplejpeg.decode_jpeg(data, "RGB")
    if pixels.shape[:2] == (size, size):
        return pixels
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX)
    return np.asarray(image)


class Prepare:
    """What a peer does with one sample; picklable, as its workers ask."""

    def __init__(self, mode: str) -> None:
        self.size = 0 if mode == "raw" else int(mode.rstrip("s"))
        self.decode = turbo if mode.endswith("s") else pillow

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        if not self.size:
            return sample
        return {"key": sample["key"], "x": self.decode(sample["jpg"], self.size)}


def collate(samples: list[dict[str, Any]]) -> Batch:
    """Lists of bytes, or one tensor of pictures."""
    import torch

    batch: Batch = {name: [s[name] for s in samples] for name in samples[0]}
    if "x" in batch:
        batch["x"] = torch.from_numpy(np.stack(batch["x"]))
    return batch


# --- one function a reader: (folder, mode, workers, epochs) -> batches ---


def read_mmcore(folder: Path, mode: str, workers: int, epochs: int) -> Iterator[Batch]:
    import torch

    from mmcore.lake import Lake
    from mmcore.models.images import decode_image
    from mmcore.shards.order import SampleOrder, Visits
    from mmcore.shards.reader import SampleStore, Skipped, read_raw, read_shares

    store = SampleStore.open(Lake(str(folder / "lake")).up_to("shards", "2026-01-01"), "train")
    order = SampleOrder(store.sizes, SEED)
    skipped = Skipped(print)
    size = 0 if mode == "raw" else int(mode.rstrip("s"))

    def work(visits: Visits) -> Batch:
        found = [sample for _, sample in read_raw(store, visits.samples.tolist(), skipped)]
        keys = [sample.key for sample in found]
        if not size:
            return {
                "key": keys,
                "jpg": [sample.image for sample in found],
                "txt": [sample.text for sample in found],
                "json": [sample.json for sample in found],
            }
        pixels = np.empty((len(found), size, size, 3), np.uint8)
        for row, sample in enumerate(found):
            pixels[row] = decode_image(sample.image, size)
        return {"key": keys, "x": torch.from_numpy(pixels)}

    stop = epochs * len(store)
    shares = read_shares(order, work, 0, BATCH, threads=workers)
    for share in shares:
        rest = BATCH - max(0, share.next_cursor - stop)  # the stream goes on in the next epoch
        yield {name: column[:rest] for name, column in share.result.items()}
        if share.next_cursor >= stop:
            return


def tars(folder: Path) -> list[str]:
    """The tars of the train split."""
    return sorted(str(p) for p in (folder / "lake").rglob("train-*.tar"))


def read_webdataset(folder: Path, mode: str, workers: int, epochs: int) -> Iterator[Batch]:
    import webdataset as wds

    prepare = Prepare(mode)

    def rename(s: dict[str, Any]) -> dict[str, Any]:
        return prepare({"key": s["__key__"], "jpg": s["jpg"], "txt": s["txt"], "json": s["json"]})

    dataset = wds.WebDataset(tars(folder), shardshuffle=100, seed=SEED).shuffle(1000).map(rename)
    dataset = dataset.batched(BATCH, collation_fn=collate)
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=workers)
    for _ in range(epochs):
        yield from loader


def read_litdata(folder: Path, mode: str, workers: int, epochs: int) -> Iterator[Batch]:
    from litdata import StreamingDataLoader, StreamingDataset

    prepare = Prepare(mode)

    class Prepared(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, index: Any) -> Any:
            # bytes come as memoryviews, which cannot leave a worker
            item = super().__getitem__(index).items()
            return prepare({k: bytes(v) if isinstance(v, memoryview) else v for k, v in item})

    dataset = Prepared(str(folder / "litdata"), shuffle=True, seed=SEED)
    loader = StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers, collate_fn=collate)
    for _ in range(epochs):
        yield from loader


def read_mosaicml(folder: Path, mode: str, workers: int, epochs: int) -> Iterator[Batch]:
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    prepare = Prepare(mode)

    class Prepared(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, index: Any) -> Any:
            return prepare(super().__getitem__(index))

    dataset = Prepared(
        local=str(folder / "mosaicml"), shuffle=True, batch_size=BATCH, shuffle_seed=SEED
    )
    loader: Any = DataLoader(dataset, batch_size=BATCH, num_workers=workers, collate_fn=collate)
    for _ in range(epochs):
        yield from loader


def read_ray(folder: Path, mode: str, workers: int, epochs: int) -> Iterator[Batch]:
    import ray

    prepare = Prepare(mode)

    def batch_of(rows: Any) -> dict[str, Any]:
        images = rows["jpg"].to_pylist()
        return {
            "key": np.array(rows["__key__"].to_pylist(), object),
            "x": np.stack([prepare.decode(data, prepare.size) for data in images]),
        }

    dataset = ray.data.read_webdataset(tars(folder), decoder=None, shuffle="files")
    if prepare.size:
        dataset = dataset.map_batches(batch_of, batch_size=BATCH, batch_format="pyarrow")
    for _ in range(epochs):
        for rows in dataset.iter_batches(batch_size=BATCH, local_shuffle_buffer_size=1000):
            if prepare.size:
                import torch

                yield {"key": list(rows["key"]), "x": torch.from_numpy(np.array(rows["x"]))}
            else:
                names = {"__key__": "key", "jpg": "jpg", "txt": "txt", "json": "json"}
                yield {new: list(rows[old]) for old, new in names.items()}


READERS: dict[str, Callable[[Path, str, int, int], Iterator[Batch]]] = {
    "mmcore": read_mmcore,
    "webdataset": read_webdataset,
    "litdata": read_litdata,
    "mosaicml": read_mosaicml,
    "ray": read_ray,
}


# --- writing the peers' own formats ---


def tar_samples(folder: Path) -> Iterator[dict[str, Any]]:
    """The samples of the tars, by Python's tarfile."""
    import tarfile

    for path in tars(folder):
        with tarfile.open(path) as archive:
            sample: dict[str, Any] = {}
            for member in archive:
                key, extension = member.name.split(".", 1)
                if sample and sample["key"] != key:
                    yield sample
                    sample = {}
                file = archive.extractfile(member)
                assert file is not None
                sample |= {"key": key, extension: file.read()}
            yield sample


def write_litdata(folder: Path) -> None:
    """Chunks of 64 MB, the library's recommended size."""
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(folder / "litdata"), chunk_bytes=64 << 20)
    for number, sample in enumerate(tar_samples(folder)):
        writer[number] = sample
    writer.done()
    writer.merge()


def write_mosaicml(folder: Path) -> None:
    """Shards of 64 MB, the library's default."""
    from streaming import MDSWriter

    columns = {"key": "str", "jpg": "bytes", "txt": "bytes", "json": "bytes"}
    with MDSWriter(out=str(folder / "mosaicml"), columns=columns) as writer:
        for sample in tar_samples(folder):
            writer.write(sample)


# --- measuring ---


def import_everything(reader: str) -> None:
    """What a program would have imported before it reads."""
    import torch

    torch.set_num_threads(1)
    if reader == "mmcore":
        import mmcore.lake
        import mmcore.models.images
        import mmcore.shards.reader  # noqa: F401
    elif reader == "webdataset":
        import webdataset  # noqa: F401
    elif reader == "litdata":
        import litdata  # noqa: F401
    elif reader == "mosaicml":
        import streaming  # noqa: F401
    from PIL import Image

    Image.init()


def cpu_seconds() -> float:
    """User and system time of this process and of its descendants, ended or not."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def measure(reader: str, folder: Path, mode: str, workers: int) -> dict[str, float]:
    """Two epochs."""
    began, cpu, first, count = time.monotonic(), cpu_seconds(), 0.0, 0
    for batch in READERS[reader](folder, mode, workers, 2):
        first = first or time.monotonic() - began
        count += len(batch["key"])
    return {
        "samples": count,
        "wall_s": time.monotonic() - began,
        "cpu_s": cpu_seconds() - cpu,
        "first_s": first,
    }


def check(reader: str, folder: Path, mode: str, workers: int) -> dict[str, Any]:
    """A digest of one epoch that does not depend on its order."""
    total, keys = 0, set()
    for batch in READERS[reader](folder, mode, workers, 1):
        for row, key in enumerate(batch["key"]):
            if "x" in batch:
                content = batch["x"][row].numpy().tobytes()
            else:
                content = b"\0".join(bytes(batch[name][row]) for name in ("jpg", "txt", "json"))
            digest = hashlib.sha256(key.encode() + content).digest()
            total = (total + int.from_bytes(digest[:8], "big")) % 2**64
            keys.add(key)
    return {"samples": len(keys), "digest": f"{total:016x}"}


def main() -> None:
    """Run one task and print one line of JSON."""
    reader, folder, mode = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if mode == "write":
        {"litdata": write_litdata, "mosaicml": write_mosaicml}[reader](folder)
        return
    workers = int(sys.argv[4])
    import_everything(reader)
    if reader == "ray":
        import ray

        os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
        ray.init(
            num_cpus=workers,
            object_store_memory=512 << 20,
            include_dashboard=False,
            log_to_driver=False,
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        ray.get(ray.remote(lambda: 1).remote())
    found = check if "--check" in sys.argv else measure
    print(json.dumps(found(reader, folder, mode, workers)), flush=True)


if __name__ == "__main__":
    main()
