"""Whether peers that can save their place go on exactly, on as many ranks and on others.

    python -m benchmarks.shards.resume_peers --folder FOLDER --peers PARENT

FOLDER is what `read.py prepare` wrote. A group of ranks reads 40 global batches of 24 and saves the
peer's own state dict (no kill: the gentlest case); another group loads it and reads the rest of the
epoch. Counted over both: samples of the snapshot that nobody read, and visits beyond the first.
webdataset and Ray Data save no place.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.shards.read import DAY, VENVS
from mmcore.lake import Lake
from mmcore.shards.reader import SampleStore

BATCH, BATCHES = 24, 40
WORLDS = ((2, 2), (2, 1), (1, 2), (2, 3), (3, 4))


def group(peer: str, peers: Path, data: Path, folder: Path, world: int, batches: int) -> str:
    """Run the ranks of one group; what went wrong, or an empty text."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    python = str(peers / VENVS[peer] / "bin/python")
    script = str(Path(__file__).with_name("resume_with.py"))
    ranks = [
        subprocess.Popen(
            [python, "-W", "ignore", script, peer, str(data), str(folder)]
            + [str(n) for n in (rank, world, BATCH, batches, port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    problem = ""
    for rank in ranks:
        try:
            _, err = rank.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            rank.kill()
            _, err = "", "it hangs"
        if rank.returncode:
            problem = problem or (err.strip().splitlines() or ["it was killed"])[-1]
    return problem


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--peers", type=Path, default=Path("peers"))
    parser.add_argument("--only", nargs="+", default=["litdata", "mosaicml"])
    options = parser.parse_args()
    lake = Lake(str(options.folder / "lake"))
    keys = set(SampleStore.open(lake.up_to("shards", DAY), "train").keys)
    print("| reader | ranks | lost | repeated |\n|---|---|---|---|")
    for peer in options.only:
        for before, after in WORLDS:
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                problem = group(peer, options.peers, options.folder, folder, before, BATCHES)
                problem = problem or group(peer, options.peers, options.folder, folder, after, 0)
                lines = [key for f in folder.glob("ledger-*") for key in f.read_text().split()]
            seen = Counter(lines)
            lost, repeated = len(keys - set(seen)), sum(seen.values()) - len(seen)
            figures = f"{problem[:90]} | |" if problem else f"{lost} | {repeated} |"
            print(f"| {peer} | {before} → {after} | {figures}", flush=True)


if __name__ == "__main__":
    main()
