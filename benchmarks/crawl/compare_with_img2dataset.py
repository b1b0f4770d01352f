"""mmcore beside img2dataset: the same list of image URLs to the same WebDataset of pairs.

    python benchmarks/crawl/compare_with_img2dataset.py run --work FOLDER --photos FOLDER \
        --drawings FOLDER --peer PEER/bin/img2dataset [--mix hard] [--count N] [--rounds 3]

Both get a Parquet of `url, caption`, fetch over loopback, shrink to a shorter side of 256 pixels
(never enlarged), encode JPEG of quality 90 and write tars. The server has core 0, the tool under
test core 1. img2dataset runs in an environment of its own (`pip install img2dataset==1.47.0`).

What mmcore does more and is counted: robots.txt, limits per host, outcomes of every URL, lossless
originals in `raw`, image statistics, hashes and text rules of `clean`.

CPU seconds are of the whole process tree, user and system: what the kernel accounted to waited-for
descendants, or the last samples of all processes seen (Ray's raylet ignores SIGCHLD, so its
workers' time never reaches a parent), whichever is more. Memory is the peak of the tree's summed
proportional set size (PSS). Results go to FOLDER/results-MIX.json and, as a table, to stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from image_server import HOSTS, host_of_image, make_files, nginx_config
from PIL import Image

SIDE, QUALITY, PER_SHARD, DAY = 256, 90, 1000, "2026-01-01"
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_TICK = os.sysconf("SC_CLK_TCK")
_SSIM_FLOOR = 0.95


# -- measuring one command --


def measure(command: list[str], report: Path) -> int:
    """Run a command, wait for every process it leaves behind, write what it took as JSON."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans come to this process
    begin = time.monotonic()
    root = subprocess.Popen(command)
    seen: dict[tuple[int, int], float] = {}
    peak, wall, next_memory = 0, 0.0, 0.0
    while True:
        now = time.monotonic()
        tree = _descendants()
        seen.update({(pid, start): seconds for pid, start, seconds in tree})
        if now >= next_memory:
            peak = max(peak, sum(_pss(pid) for pid, _, _ in tree))
            next_memory = now + 1
        if root.poll() is not None:
            wall = wall or time.monotonic() - begin
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if not _descendants() or time.monotonic() - begin > wall + 30:
                break
        time.sleep(0.05)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    waited, sampled = used.ru_utime + used.ru_stime, sum(seen.values())
    report.write_text(
        json.dumps(
            {
                "rc": root.returncode,
                "wall_s": wall,
                "cpu_s": max(waited, sampled),
                "cpu_waited_s": waited,
                "cpu_sampled_s": sampled,
                "peak_pss_mb": peak / 1024,
                "processes": len(seen),
            }
        )
    )
    return root.returncode


def _descendants() -> list[tuple[int, int, float]]:
    """(pid, start tick, CPU seconds) of every process below this one; see proc(5)."""
    stats: dict[int, tuple[int, int, float]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                used = (int(fields[11]) + int(fields[12])) / _TICK
                stats[int(name)] = (int(fields[1]), int(fields[19]), used)
    below = {os.getpid()}
    while True:
        more = {pid for pid, (parent, _, _) in stats.items() if parent in below} - below
        if not more:
            break
        below |= more
    return [(pid, *stats[pid][1:]) for pid in below - {os.getpid()}]


def _pss(pid: int) -> int:
    """Proportional set size in KiB; 0 for a process that has just ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


# -- servers --


@contextlib.contextmanager
def served(mix: str, files: Path, work: Path, port: int) -> Iterator[None]:
    """The corpus on every host, by nginx or by the hard-mix server, on core 0."""
    folder = work / "server"
    folder.mkdir(parents=True, exist_ok=True)
    if mix == "clean":
        config = folder / "nginx.conf"
        config.write_text(nginx_config(files, folder, HOSTS, port))
        command = ["nginx", "-p", str(folder), "-e", str(folder / "start.log"), "-c", str(config)]
    else:
        command = [sys.executable, str(Path(__file__).with_name("image_server.py"))]
        command += ["--files", str(files), "--port", str(port), "--mix", mix]
        command += ["--log", str(work / "requests.jsonl")]
    process = subprocess.Popen(["taskset", "-c", "0", *command])
    try:
        _await_port(process, port)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(100):
        if process.poll() is not None:
            raise SystemExit("The server ended at once; see its error log.")
        with contextlib.suppress(OSError), socket.create_connection((HOSTS[-1], port), 1):
            return
        time.sleep(0.1)
    raise SystemExit("The server does not answer.")


def free_port() -> int:
    """A TCP port that is free on all addresses now."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


# -- the two tools --


@dataclass(frozen=True)
class Bench:
    """One comparison: what is fetched, from where, and how each tool is called."""

    work: Path
    mix: str
    port: int
    rows: list[dict[str, str]]
    """`url` and `caption`, by image number."""
    peer: str
    threads: int
    processes: int
    retries: int
    per_shard: int
    rate: float | None
    source: str

    @property
    def list_file(self) -> Path:
        return self.work / "list.parquet"

    def command(self, tool: str, out: Path) -> list[str]:
        """The command line of a tool, on core 1."""
        return ["taskset", "-c", "1", *(self._peer(out) if tool == "peer" else self._ours(out))]

    def _peer(self, out: Path) -> list[str]:
        options = {
            "url_list": self.list_file,
            "input_format": "parquet",
            "url_col": "url",
            "caption_col": "caption",
            "output_folder": out,
            "output_format": "webdataset",
            "image_size": SIDE,
            "resize_mode": "keep_ratio",
            "resize_only_if_bigger": True,
            "encode_quality": QUALITY,
            "processes_count": self.processes,
            "thread_count": self.threads,
            "number_sample_per_shard": self.per_shard,
            "retries": self.retries,
            "enable_wandb": False,
            "extract_exif": False,
        }
        return [self.peer, *(f"--{key}={value}" for key, value in options.items())]

    def _ours(self, out: Path) -> list[str]:
        recipe = out.with_suffix(".recipe.json")
        recipe.write_text(json.dumps(self.recipe()))  # JSON is YAML
        return [sys.executable, __file__, "ours", str(recipe), str(out)]

    def recipe(self) -> dict[str, Any]:
        """The recipe of our run."""
        source: dict[str, Any] = {
            "kind": "urls",
            "path": str(self.list_file),
            "url_column": "url",
            "text_column": "caption",
            "allow_private": list(HOSTS),
        }
        if self.source == "site":
            start = [f"http://{host}:{self.port}/{host}.html" for host in HOSTS]
            source = {"kind": "site", "start": start, "allow_private": True}
        crawl = {"requests_per_second": self.rate, "connections_per_host": 8}
        clean = {"shorter_side": SIDE, "longer_side": 16384, "quality": QUALITY}
        return {"sources": [source], "crawl": crawl, "clean": clean, "cluster": {"cpus": 1}}


def ours(recipe_file: Path, out: Path) -> None:
    """Crawl, clean, and tars straight from both: one process, as `mmcore run all` would be."""
    from mmcore import graph
    from mmcore.cluster import connect
    from mmcore.lake import Lake
    from mmcore.recipe import load_recipe

    lake = Lake(str(out / "lake"))
    job = graph.Job(load_recipe(recipe_file), lake, DAY)
    with connect(job.recipe.cluster):
        for stage in ("crawl", "clean"):
            begin = time.monotonic()
            graph.run_stage(stage, job)
            print(f"{stage}: {time.monotonic() - begin:.1f} s", flush=True)
    begin = time.monotonic()
    write_tars(lake, out)
    print(f"tars: {time.monotonic() - begin:.1f} s", flush=True)


def write_tars(lake: Any, out: Path) -> None:
    """One sample a stored image, with the text and URL of its first occurrence."""
    from mmcore.shards.index import ShardName
    from mmcore.shards.writer import Sample, pack_shard, sample_key

    columns = ["sha256", "image_url", "caption", "alt"]
    first: dict[str, tuple[str, str]] = {}
    for part in lake.dataset("crawled", DAY).iter_parts(columns):
        for sha, url, caption, alt in zip(
            *(part[name].to_pylist() for name in columns), strict=True
        ):
            first.setdefault(sha, (url, caption or alt or ""))
    waiting: list[Sample] = []
    shards = 0
    for part in [*lake.dataset("normalized", DAY).iter_parts(), None]:
        if part is not None:
            for sha, jpeg in zip(
                part["sha256"].to_pylist(), part["image"].to_pylist(), strict=True
            ):
                url, text = first[sha]
                waiting.append(Sample(sample_key(sha), jpeg, text, {"url": url, "sha256": sha}))
        while len(waiting) >= PER_SHARD or (part is None and waiting):
            name = ShardName("train", shards)
            tar, _ = pack_shard(name, waiting[:PER_SHARD])
            (out / f"{shards:05d}.tar").write_bytes(tar)
            waiting, shards = waiting[PER_SHARD:], shards + 1


# -- are the pairs right? --


@dataclass(frozen=True)
class Checked:
    """What the tars of one run hold."""

    pairs: int
    wrong_text: int
    undecodable: int
    unknown_url: int
    repeated: int
    jpeg_bytes_mean: float
    size_differs: int
    ssim_median: float
    ssim_min: float
    abs_difference_mean: float

    @property
    def right(self) -> bool:
        faults = self.wrong_text + self.undecodable + self.unknown_url + self.repeated
        return faults + self.size_differs == 0 and self.ssim_median >= _SSIM_FLOOR


def check(out: Path, bench: Bench, files: list[Path], decode_every: int) -> Checked:
    """Read every pair; decode each `decode_every`th; compare 50 with a Lanczos resize."""
    numbers = {row["url"]: number for number, row in enumerate(bench.rows)}
    compared = set(range(0, len(files), max(1, len(files) // 50)))
    count: Counter[str] = Counter()
    seen: set[int] = set()
    scores, differences, sizes = [], [], []
    for url, jpeg, text in _samples(out):
        number = numbers.get(url, -1)
        count["unknown_url"] += number < 0
        count["repeated"] += number in seen
        seen.add(number)
        if number < 0:
            continue
        count["wrong_text"] += text != bench.rows[number]["caption"]
        sizes.append(len(jpeg))
        if number not in compared and len(sizes) % decode_every:
            continue
        try:
            with Image.open(io.BytesIO(jpeg)) as image:
                pixels = np.asarray(image.convert("RGB"))
        except Exception:  # whatever a decoder raises, the pair is unusable
            count["undecodable"] += 1
            continue
        if number in compared:
            wanted = _reference(files[number])
            if wanted.shape != pixels.shape:
                count["size_differs"] += 1
                continue
            scores.append(ssim(wanted, pixels))
            differences.append(float(np.abs(wanted.astype(float) - pixels).mean()))
    return Checked(
        len(seen - {-1}),
        count["wrong_text"],
        count["undecodable"],
        count["unknown_url"],
        count["repeated"],
        float(np.mean(sizes or [0])),
        count["size_differs"],
        float(np.median(scores or [0])),
        min(scores, default=0.0),
        float(np.mean(differences or [0])),
    )


def _samples(out: Path) -> Iterator[tuple[str, bytes, str]]:
    """(URL, JPEG, text) of every sample in a folder of tars."""
    for path in sorted(out.glob("*.tar")):
        members: dict[str, dict[str, bytes]] = {}
        with tarfile.open(path) as tar:
            for info in tar:
                key, _, extension = info.name.partition(".")
                file = tar.extractfile(info)
                members.setdefault(key, {})[extension] = file.read() if file else b""
        for sample in members.values():
            if "jpg" in sample:
                labels = json.loads(sample["json"])
                yield labels["url"], sample["jpg"], sample.get("txt", b"").decode("utf-8")


def _reference(file: Path) -> npt.NDArray[np.uint8]:
    """The original on white, shrunk to the shorter side with Pillow's Lanczos filter."""
    with Image.open(file) as image:
        rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    flat = Image.alpha_composite(white, rgba).convert("RGB")
    scale = min(1.0, SIDE / min(flat.size))
    size = (round(flat.width * scale), round(flat.height * scale))
    return np.asarray(flat if size == flat.size else flat.resize(size, Image.Resampling.LANCZOS))


def ssim(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Mean structural similarity (Wang et al. 2004) of two images' luma, 8x8 uniform windows."""
    x, y = (np.asarray(Image.fromarray(i).convert("L"), dtype=np.float64) for i in (a, b))
    ux, uy = _box(x), _box(y)
    vx, vy, cov = _box(x * x) - ux**2, _box(y * y) - uy**2, _box(x * y) - ux * uy
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * ux * uy + c1) * (2 * cov + c2) / ((ux**2 + uy**2 + c1) * (vx + vy + c2))
    return float(value.mean())


def _box(a: npt.NDArray[np.float64], n: int = 8) -> npt.NDArray[np.float64]:
    """Means of all n x n windows."""
    s = np.pad(a.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    total: npt.NDArray[np.float64] = s[n:, n:] - s[:-n, n:] - s[n:, :-n] + s[:-n, :-n]
    return total / n**2


# -- the comparison --


def compare(arguments: argparse.Namespace) -> None:
    """Run both tools in turn, check every run's pairs, print the table of medians."""
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    port = free_port()
    made = make_files(arguments.photos, arguments.drawings, work, arguments.count)
    rows = [
        {
            "url": f"http://{host_of_image(n, HOSTS, arguments.mix)}:{port}/{row['file']}",
            "caption": row["caption"],
        }
        for n, row in enumerate(made)
    ]
    pq.write_table(pa.Table.from_pylist(rows), work / "list.parquet")
    bench = Bench(
        work, arguments.mix, port, rows, str(arguments.peer), arguments.threads,
        arguments.processes, arguments.retries, PER_SHARD, arguments.rate, "urls",
    )  # fmt: skip
    files = [work / row["file"] for row in made]
    results: dict[str, list[dict[str, Any]]] = {"peer": [], "ours": []}
    tools = arguments.tools.split(",")
    for number in range(arguments.rounds):
        for tool in tools if number % 2 == 0 else tools[::-1]:
            results[tool].append(_one_run(bench, tool, number, files))
            print(json.dumps({"tool": tool, "round": number} | results[tool][-1]), flush=True)
    (work / f"results-{bench.mix}.json").write_text(json.dumps(results, indent=1))
    print(_table(results, bench))


def _one_run(bench: Bench, tool: str, number: int, files: list[Path]) -> dict[str, Any]:
    out = bench.work / f"{bench.mix}-{tool}-{number}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    report = out.with_suffix(".usage.json")
    server = served(bench.mix, bench.work, bench.work, bench.port)
    with server, out.with_suffix(".log").open("wb") as log:
        measuring = [sys.executable, __file__, "measure", str(report)]
        command = [*measuring, *bench.command(tool, out)]
        subprocess.run(command, stdout=log, stderr=log, check=False)
    used = json.loads(report.read_text())
    checked = check(out, bench, files, decode_every=20)
    found = used | asdict(checked) | {"right": checked.right}
    if bench.mix == "hard":
        found |= _requests(bench.work / "requests.jsonl")
    shutil.rmtree(out)
    return found


def _requests(log: Path) -> dict[str, int]:
    """Requests, and the most that any host was sent within one second."""
    times: dict[str, list[float]] = {}
    for record in map(json.loads, log.read_text().splitlines()):
        times.setdefault(record["host"], []).append(record["t"])
    most = 0
    for moments in times.values():
        ordered = np.sort(np.array(moments))
        within = np.searchsorted(ordered, ordered + 1.0) - np.arange(len(ordered))
        most = max(most, int(within.max()))
    return {"requests": sum(map(len, times.values())), "most_in_a_second": most}


def _table(results: dict[str, list[dict[str, Any]]], bench: Bench) -> str:
    """Medians over the rounds, as Markdown."""

    def median(tool: str, name: str) -> float:
        return statistics.median(run[name] for run in results[tool]) if results[tool] else 0.0

    lines = ["| | img2dataset | mmcore | ratio |", "|---|---|---|---|"]
    for title, value in (
        ("images a second", lambda t: median(t, "pairs") / max(median(t, "wall_s"), 1e-9)),
        ("images a CPU-second", lambda t: median(t, "pairs") / max(median(t, "cpu_s"), 1e-9)),
        ("CPU-seconds per 1,000", lambda t: 1e3 * median(t, "cpu_s") / max(median(t, "pairs"), 1)),
        ("peak memory, MiB", lambda t: median(t, "peak_pss_mb")),
        (f"pairs of {len(bench.rows):,}", lambda t: median(t, "pairs")),
        ("median SSIM", lambda t: median(t, "ssim_median")),
        ("wall seconds", lambda t: median(t, "wall_s")),
    ):
        peer, mine = value("peer"), value("ours")
        ratio = f"{mine / peer:.2f}" if peer else "-"
        lines.append(f"| {title} | {peer:,.2f} | {mine:,.2f} | {ratio} |")
    if bench.mix == "hard":
        for title, name in (("requests", "requests"), ("most in a second", "most_in_a_second")):
            lines.append(
                f"| {title} | {median('peer', name):,.0f} | {median('ours', name):,.0f} | |"
            )
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1] == "measure":
        sys.exit(measure(sys.argv[3:], Path(sys.argv[2])))
    if sys.argv[1] == "ours":
        ours(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", choices=["run"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--peer", type=Path, required=True, help="img2dataset's program")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--drawings", type=Path, required=True)
    parser.add_argument("--mix", choices=["clean", "hard"], default="clean")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tools", default="peer,ours")
    parser.add_argument("--threads", type=int, default=32, help="of img2dataset")
    parser.add_argument("--processes", type=int, default=1, help="of img2dataset")
    parser.add_argument("--retries", type=int, default=0, help="of img2dataset")
    parser.add_argument("--rate", type=float, default=None, help="requests a second to a host")
    compare(parser.parse_args())


if __name__ == "__main__":
    main()
