"""The label model against majority vote and Snorkel's `LabelModel`, on the same votes.

    python benchmarks/weak/label_model.py quality --snorkel VENV/bin/python --seed 0 --scores FILE
    python benchmarks/weak/label_model.py table --scores FILE
    python benchmarks/weak/label_model.py speed --snorkel VENV/bin/python --rounds 3

Every side is a process of its own that reads the same label matrix and writes probabilities, which
are judged here by the truth it never sees. CPU seconds are those of reading no file and importing
nothing: from the matrix in memory to probabilities in memory, fit and prediction together, all
threads counted, on one core. `snorkel, told` is also given the true balance of the classes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_SAME = 5e-4  # accuracies that differ by less are the same: one seed of a million votes
SIDES = ("ours", "majority", "snorkel", "snorkel, told")


# -- the sides, each in an interpreter of its own: matrix int64 [n, m] -> float64 [n, K] --


def ours(matrix: np.ndarray, classes: int, balance: list[float], seed: int) -> np.ndarray:
    from mmcore.weak.label_model import fit, from_matrix

    return fit(from_matrix(matrix, classes)).predict_matrix(matrix)


def majority(matrix: np.ndarray, classes: int, balance: list[float], seed: int) -> np.ndarray:
    votes = np.stack([(matrix == k).sum(1) for k in range(classes)], 1).astype(np.float64)
    return (votes + 1e-12) / (votes + 1e-12).sum(1, keepdims=True)


def snorkel(matrix: np.ndarray, classes: int, balance: list[float], seed: int) -> np.ndarray:
    from snorkel.labeling.model import LabelModel

    model = LabelModel(cardinality=classes, verbose=False)
    model.fit(matrix, seed=seed, progress_bar=False)
    return model.predict_proba(matrix)


def told(matrix: np.ndarray, classes: int, balance: list[float], seed: int) -> np.ndarray:
    from snorkel.labeling.model import LabelModel

    model = LabelModel(cardinality=classes, verbose=False)
    model.fit(matrix, class_balance=balance, seed=seed, progress_bar=False)
    return model.predict_proba(matrix)


def side(name: str, work: Path, seed: int) -> None:
    """Read every `*.votes.npz` of a folder, write `*.NAME.npy` and the CPU seconds of each."""
    call = dict(zip(SIDES, (ours, majority, snorkel, told), strict=True))[name]
    # what is imported inside the sides is imported here already, so that it is not measured
    call(np.tile([[0, 1, -1, 1], [1, 0, 0, 1], [1, 1, 1, -1]], (50, 1)), 2, [0.5, 0.5], 0)
    seconds = {}
    for file in sorted(work.glob("*.votes.npz")):
        votes = np.load(file)
        matrix, balance = votes["matrix"].astype(np.int64), votes["balance"].tolist()
        start = time.process_time()
        probability = call(matrix, int(votes["classes"]), balance, seed)
        case = file.name.removesuffix(".votes.npz")
        seconds[case] = time.process_time() - start
        np.save(work / f"{case}.{name}.npy", probability)
    print(json.dumps(seconds))


# -- the comparison --


def ask(name: str, python: str, work: Path, seed: int) -> dict[str, float]:
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = ["taskset", "-c", "0", python, __file__, "side", "--name", name, "--work", str(work)]
    done = subprocess.run(
        [*command, "--seed", str(seed)], env=env, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def python_of(name: str, snorkel_python: str) -> str:
    return snorkel_python if name.startswith("snorkel") else sys.executable


def write_case(work: Path, case: str, regime, items: int, seed: int) -> tuple[np.ndarray, ...]:
    from benchmarks.weak.generated_votes import generate

    matrix, truth = generate(regime, items, seed)
    balance = regime.balance or [1 / regime.classes] * regime.classes
    np.savez(
        work / f"{case}.votes.npz",
        matrix=matrix.astype(np.int8),
        classes=regime.classes,
        balance=balance,
    )
    return matrix, truth


def quality(
    snorkel_python: str, items: int, seed: int, scores: Path, sides: tuple[str, ...]
) -> None:
    """Append accuracy and calibration error of each side, on items with a vote, to `scores`; of
    several lines for one side and seed the last counts."""
    from benchmarks.weak.generated_votes import REGIMES, accuracy, calibration_error

    lines = []
    with tempfile.TemporaryDirectory() as folder:
        work, truths = Path(folder), {}
        for case, regime in enumerate(REGIMES.values()):
            truths[case] = write_case(work, str(case), regime, items, 1000 + seed)
        for name in sides[:: 1 - 2 * (seed % 2)]:
            ask(name, python_of(name, snorkel_python), work, seed)
            for case, (matrix, truth) in truths.items():
                voted = (matrix >= 0).any(1)
                found = np.load(work / f"{case}.{name}.npy")[voted]
                line = {"seed": seed, "votes": list(REGIMES)[case], "side": name}
                line["accuracy"] = accuracy(found, truth[voted])
                line["error"] = calibration_error(found, truth[voted])
                lines.append(line)
    with scores.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def table(scores: Path) -> None:
    """Accuracy (calibration error), mean over seeds, and how far ours is from the best other side
    where it is furthest behind."""
    lines = [json.loads(line) for line in scores.read_text().splitlines()]
    seeds = sorted({line["seed"] for line in lines})
    print(f"mean of {len(seeds)} seeds\n")
    print("| votes | " + " | ".join(SIDES) + " | ours, worst seed |")
    print("|---|" + "---|" * (len(SIDES) + 1))
    for votes in dict.fromkeys(line["votes"] for line in lines):
        mine = {(n["side"], n["seed"]): n for n in lines if n["votes"] == votes}
        cells = []
        for side in SIDES:
            right, error = (
                statistics.mean(mine[side, seed][what] for seed in seeds)
                for what in ("accuracy", "error")
            )
            cells.append(f"{right:.4f} ({error:.3f})")
        worst = min(
            mine["ours", seed]["accuracy"] - max(mine[n, seed]["accuracy"] for n in SIDES[1:])
            for seed in seeds
        )
        print(f"| {votes} | " + " | ".join(cells) + f" | {worst:+.4f} |")


def speed(snorkel_python: str, rows: int, rounds: int) -> None:
    """CPU seconds at `rows` x 10, once our accuracy is found to be no worse (`_SAME`)."""
    from benchmarks.weak.generated_votes import Regime, accuracy

    coins = tuple(np.linspace(0.6, 0.9, 10).tolist())
    spread = tuple(np.linspace(0.45, 0.8, 10).tolist())
    for title, regime in {
        "2 classes": Regime(coins, 0.6),
        "5 classes": Regime(spread, 0.6, classes=5),
    }.items():
        seconds: dict[str, list[float]] = {"ours": [], "snorkel": []}
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            matrix, truth = write_case(work, "0", regime, rows, 7)
            voted = (matrix >= 0).any(1)
            right = {}
            for number in range(rounds):
                for name in list(seconds)[:: 1 - 2 * (number % 2)]:
                    spent = ask(name, python_of(name, snorkel_python), work, number)
                    seconds[name].append(spent["0"])
                    right[name] = accuracy(np.load(work / f"0.{name}.npy")[voted], truth[voted])
        if right["ours"] < right["snorkel"] - _SAME:
            raise SystemExit(f"ours is less accurate: {right}")
        middle = {name: statistics.median(s) for name, s in seconds.items()}
        ratio = middle["snorkel"] / middle["ours"]
        print(f"{title}: accuracy {right}, CPU seconds {middle}, snorkel / ours {ratio:.1f}")
        print(f"  all: {seconds}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("quality", "table", "speed", "side"))
    parser.add_argument("--snorkel", help="python of a virtual environment with snorkel==0.10.0")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--scores", type=Path, help="where quality appends, and table reads")
    parser.add_argument("--sides", choices=SIDES, nargs="+", default=SIDES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", choices=SIDES)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.what == "side":
        side(args.name, args.work, args.seed)
    elif args.what == "quality":
        quality(args.snorkel, args.items, args.seed, args.scores, tuple(args.sides))
    elif args.what == "table":
        table(args.scores)
    else:
        speed(args.snorkel, args.rows, args.rounds)


if __name__ == "__main__":
    main()
