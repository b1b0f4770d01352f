"""Reads the tars of image-text pairs a tool has written and says whether they are right."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 256
"""Shorter side of what is stored, in pixels; smaller images stay as they are."""
_SSIM_FLOOR = 0.95


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
    numbers: list[int]
    """Which images there is a pair of."""

    @property
    def right(self) -> bool:
        faults = self.wrong_text + self.undecodable + self.unknown_url + self.repeated
        return faults + self.size_differs == 0 and self.ssim_median >= _SSIM_FLOOR


def check(out: Path, rows: list[dict[str, str]], files: list[Path], decode_every: int) -> Checked:
    """Read every pair; decode each `decode_every`th; compare 50 with a Lanczos resize."""
    numbers = {row["url"]: number for number, row in enumerate(rows)}
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
        count["wrong_text"] += text != rows[number]["caption"]
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
        *(count[key] for key in ("wrong_text", "undecodable", "unknown_url", "repeated")),
        float(np.mean(sizes or [0])),
        count["size_differs"],
        float(np.median(scores or [0])),
        min(scores, default=0.0),
        float(np.mean(differences or [0])),
        sorted(seen - {-1}),
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
        (f"pairs of {len(rows):,}", lambda t: median(t, "pairs")),
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
