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
import html
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from check_pairs import SIDE, check
from image_server import HOSTS, host_of_image, make_files, nginx_config

QUALITY, PER_SHARD, DAY = 90, 1000, "2026-01-01"
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_TICK = os.sysconf("SC_CLK_TCK")


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
    job = graph.Job(load_recipe(recipe_file), lake, DAY, uuid.uuid4().hex[:8])
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


# -- rounds --


def prepare(given: argparse.Namespace) -> tuple[Bench, list[Path]]:
    """Images, the list, and a page per host for `--source site`; returns the files by number."""
    work = given.work.resolve()
    files = work / "files"
    made = make_files(given.photos, given.drawings, files, given.count)
    port = free_port()
    hosts = [host_of_image(number, HOSTS, given.mix) for number in range(given.count)]
    rows = [
        {"url": f"http://{host}:{port}/{row['file']}", "caption": row["caption"]}
        for host, row in zip(hosts, made, strict=True)
    ]
    bench = Bench(
        work,
        given.mix,
        port,
        rows,
        given.peer,
        given.threads,
        given.processes,
        given.retries,
        given.per_shard,
        given.rate,
        given.source,
    )
    pq.write_table(pa.Table.from_pylist(rows), bench.list_file)
    for host in HOSTS if given.source == "site" else ():
        shown = [row for row, where in zip(rows, hosts, strict=True) if where == host]
        figures = (
            f'<figure><img src="{row["url"]}" alt="">'
            f"<figcaption>{html.escape(row['caption'])}</figcaption></figure>\n"
            for row in shown
        )
        (files / f"{host}.html").write_text(
            "<!doctype html><meta charset=utf-8>" + "".join(figures)
        )
    return bench, [files / row["file"] for row in made]


def one_run(tool: str, number: int, bench: Bench, files: list[Path], every: int) -> dict[str, Any]:
    """Run a tool once against a fresh server; what it took and whether its pairs are right."""
    out = bench.work / f"out-{bench.mix}-{number}-{tool}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    report, log = out.with_suffix(".measure.json"), out.with_suffix(".log")
    command = bench.command(tool, out)
    with served(bench.mix, files[0].parents[1], bench.work, bench.port), log.open("w") as output:
        helper = ["taskset", "-c", "0", sys.executable, __file__, "measure", str(report)]
        subprocess.run([*helper, *command], stdout=output, stderr=subprocess.STDOUT)
    took = json.loads(report.read_text())
    if took["rc"]:
        raise SystemExit(f"{tool} ended with {took['rc']}; see {log}.")
    checked = check(out, bench.rows, files, every)
    pairs = max(1, checked.pairs)
    result = {"tool": tool, **took, **asdict(checked), "right": checked.right}
    result |= {
        "cpu_ms_per_pair": 1000 * took["cpu_s"] / pairs,
        "pairs_per_s": pairs / took["wall_s"],
    }
    if bench.mix == "hard":
        result |= manners(bench.work / "requests.jsonl", checked.numbers)
    del result["numbers"]
    shutil.rmtree(out)
    return result


def manners(log: Path, stored: list[int]) -> dict[str, Any]:
    """From the server's log: requests, the fastest second of any host, what came of each kind."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    times: dict[str, list[float]] = {}
    busy: dict[int, float] = {}
    early = 0
    for row in rows:
        times.setdefault(row["host"], []).append(row["t"])
        early += row["n"] in busy and row["t"] < busy[row["n"]] + 1
        if row["status"] == 429:
            busy[row["n"]] = row["t"]
    fastest = max(busiest_second(each) for each in times.values())
    asked = Counter(behaviour(n) for n in {row["n"] for row in rows if row["n"] >= 0})
    got = Counter(map(behaviour, stored))
    recovered = {
        f"{kind}_pairs": f"{got[kind]}/{asked[kind]}" for kind in ("busy", "drip", "short")
    }
    return {
        "requests": len(rows),
        "busiest_second": fastest,
        "before_retry_after": early,
        **recovered,
    }


def busiest_second(times: list[float]) -> int:
    """Most events in any window of one second."""
    ordered = np.sort(np.asarray(times))
    return int((np.searchsorted(ordered, ordered + 1, "left") - np.arange(len(ordered))).max())


_ROWS = (
    ("wall, s", "wall_s", 1),
    ("CPU, s", "cpu_s", 1),
    ("CPU per pair, ms", "cpu_ms_per_pair", 2),
    ("pairs per s", "pairs_per_s", 1),
    ("peak PSS, MB", "peak_pss_mb", 0),
    ("pairs", "pairs", 0),
    ("mean JPEG, bytes", "jpeg_bytes_mean", 0),
    ("SSIM with Lanczos, median", "ssim_median", 4),
    ("SSIM with Lanczos, least", "ssim_min", 4),
    ("requests", "requests", 0),
    ("requests in the busiest second of a host", "busiest_second", 0),
    ("requests before Retry-After was over", "before_retry_after", 0),
)


def table(results: list[dict[str, Any]]) -> str:
    """Medians per tool and their ratio, as Markdown."""
    tools = [tool for tool in ("peer", "ours") if any(r["tool"] == tool for r in results)]
    names = {"peer": "img2dataset", "ours": "mmcore"}
    header = [*(names[tool] for tool in tools), *(["mmcore / img2dataset"] * (len(tools) == 2))]
    lines = ["| median | " + " | ".join(header) + " |", "|---" + "|---:" * len(header) + "|"]
    for label, key, digits in _ROWS:
        if key not in results[0]:
            continue
        medians = [statistics.median(r[key] for r in results if r["tool"] == t) for t in tools]
        cells = [f"{value:,.{digits}f}" for value in medians]
        if len(tools) == 2:
            cells.append(f"{medians[1] / medians[0]:.2f}" if medians[0] else "")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    for key in ("busy_pairs", "drip_pairs", "short_pairs"):
        if key in results[0]:
            last = [[r[key] for r in results if r["tool"] == t][-1] for t in tools]
            cells = last + [""] * (len(header) - len(tools))
            lines.append(f"| {key.replace('_', ', ')} (last run) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def compare(given: argparse.Namespace) -> int:
    """All rounds; exit code 1 where a run of a clean mix gave wrong pairs or too few."""
    given.work.mkdir(parents=True, exist_ok=True)
    bench, files = prepare(given)
    tools = given.tools.split(",")
    results: list[dict[str, Any]] = []
    for turn in range(given.rounds):
        for tool in tools if turn % 2 == 0 else reversed(tools):
            every = 1 if turn == 0 else 20
            results.append(one_run(tool, turn, bench, files, every))
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    settings = {key: str(value) for key, value in vars(given).items() if key != "call"}
    where = given.work / f"results-{given.mix}.json"
    where.write_text(json.dumps({"settings": settings, "runs": results}, indent=1))
    print(table(results))
    whole = given.mix == "hard" or all(r["pairs"] == given.count for r in results)
    return 0 if whole and all(r["right"] for r in results) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--work", type=Path, required=True)
    run.add_argument("--photos", type=Path, required=True)
    run.add_argument("--drawings", type=Path, required=True)
    run.add_argument("--peer", required=True)
    run.add_argument("--mix", choices=["clean", "hard"], default="clean")
    run.add_argument("--count", type=int)
    run.add_argument("--rounds", type=int, default=3)
    run.add_argument("--tools", default="peer,ours")
    run.add_argument("--source", choices=["urls", "site"], default="urls")
    run.add_argument("--threads", type=int, default=32, help="img2dataset: thread_count")
    run.add_argument("--processes", type=int, default=1, help="img2dataset: processes_count")
    run.add_argument("--retries", type=int, default=0, help="img2dataset: retries")
    run.add_argument("--per-shard", type=int, default=PER_SHARD, help="img2dataset: shard size")
    run.add_argument("--rate", type=float, help="mmcore: requests a second to a host; none: free")
    inner = commands.add_parser("ours")
    inner.add_argument("recipe", type=Path)
    inner.add_argument("out", type=Path)
    timed = commands.add_parser("measure")
    timed.add_argument("report", type=Path)
    timed.add_argument("argv", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if given.command == "measure":
        return measure(given.argv, given.report)
    if given.command == "ours":
        ours(given.recipe, given.out)
        return 0
    hard = given.mix == "hard"
    given.count = given.count or (2_000 if hard else 20_000)
    given.rate = given.rate or (50.0 if hard else None)
    return compare(given)


if __name__ == "__main__":
    sys.exit(main())
