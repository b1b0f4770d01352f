"""Near-duplicate texts: `mmcore.dedup` against four other tools, on planted duplicates.

    python benchmarks/data/near_texts.py run --corpus FOLDER --rounds 3 \\
        --peer datasketch=VENV/bin/python --peer datatrove=VENV/bin/python ...

The corpus is made by near_texts_corpus.py. Every side is a process of its own on one core, in
alternating order, and reads the same Parquet files. CPU seconds and peak memory are those of the
whole process, imports included; Arrow allocates with malloc on every side. The answer is checked
first: the pairs of rows that a side found (or put into one cluster, where it only says that)
against all pairs of the exact join; once among rows without chains of likenesses, once among all.
Peers get the same shingles, the threshold .8 and 128 permutations, cut into the bands that their
own formula finds best (9 of 13; datatrove has none and is given the same); datatrove gets a
word tokenizer that splits at white space, which is faster than any of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

SIMILARITY = 0.8
PERMUTATIONS, BANDS, ROWS = 128, 9, 13
MAPPED = 1 << 19  # shingles of sets that ours maps at once, 4 MB
SHINGLE = {"documents": 5, "captions": 2}


# -- the sides, each in its own interpreter: pairs int64 [P, 2], or a cluster for each row [N] --


def ours(corpus: Path, n: int, work: Path) -> np.ndarray:
    import pyarrow.parquet as pq

    from mmcore.dedup import near_texts, shingles, texts

    likeness = near_texts.Likeness(n, SIMILARITY)
    lots: list[np.ndarray] = []
    with ExitStack() as stack:
        stored = stack.enter_context((work / "sets").open("wb"))
        bands = [
            stack.enter_context((work / f"keys-{band}").open("wb"))
            for band in range(likeness.banding.bands)
        ]
        for file in sorted(corpus.glob("parts/*.parquet")):
            rows = pq.ParquetFile(file, buffer_size=1 << 16, pre_buffer=False)
            for batch in rows.iter_batches(1024, columns=["text"], use_threads=False):
                signed = near_texts.sign(texts.text_key(batch["text"]), likeness)
                for band, keys in zip(bands, signed.keys, strict=True):
                    keys.tofile(band)
                signed.sets.hashes.tofile(stored)
                lots.append(signed.sets.sizes.astype(np.int32))
    sizes = np.concatenate(lots)
    del lots
    offsets = np.append(0, np.cumsum(sizes, dtype=np.int64))
    starts = np.searchsorted(offsets, np.arange(0, offsets[-1], MAPPED))

    def sets(positions: np.ndarray) -> shingles.Shingles:
        cuts = np.searchsorted(positions, np.append(starts, len(sizes)))
        return shingles.joined(
            [
                some_sets(starts[piece], positions[cuts[piece] : cuts[piece + 1]])
                for piece in np.flatnonzero(np.diff(cuts))
            ]
        )

    def some_sets(first: int, positions: np.ndarray) -> shingles.Shingles:
        around = offsets[first : positions[-1] + 2]
        length = int(around[-1] - around[0])
        if length == 0:  # which no file can be mapped for
            return shingles.Shingles(np.empty(0, np.uint64), np.zeros(len(positions) + 1, np.int64))
        hashes = np.memmap(work / "sets", np.uint64, "r", 8 * int(around[0]), (length,))
        return shingles.Shingles(hashes, around - around[0]).take(positions - first)

    found = (
        pairs
        for band in range(likeness.banding.bands)
        for pairs in near_texts.candidates(
            np.fromfile(work / f"keys-{band}", np.uint64), sizes, likeness, 1000
        )
    )
    edges = near_texts.verified(found, sets, likeness.least)
    return np.stack([edges.earlier, edges.later], 1)


def datasketch(corpus: Path, n: int, _work: Path) -> np.ndarray:
    import pyarrow.parquet as pq
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=SIMILARITY, num_perm=PERMUTATIONS)
    signatures: list[Any] = []
    pairs = []
    for file in sorted(corpus.glob("parts/*.parquet")):
        rows = [
            [" ".join(run).encode() for run in zip(*_shifted(text.split(), n), strict=False)]
            for text in pq.read_table(file)["text"].to_pylist()
        ]
        for signature in MinHash.bulk(rows, num_perm=PERMUTATIONS):
            later = len(signatures)
            for earlier in index.query(signature):
                if signature.jaccard(signatures[earlier]) >= SIMILARITY:
                    pairs.append((earlier, later))
            index.insert(later, signature, check_duplication=False)
            signatures.append(signature)
    return np.array(pairs, np.int64).reshape(-1, 2)


def _shifted(words: list[str], n: int) -> list[list[str]]:
    return [words[place:] for place in range(n)]


def datatrove(corpus: Path, n: int, work: Path) -> np.ndarray:
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.utils.text import TextNormConfig
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Plain(WordTokenizer):
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return [text]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [(0, len(text))]

    files = sorted(corpus.glob("parts/*.parquet"))
    config = MinhashConfig(n, BANDS, ROWS, norm_config=TextNormConfig(norm_numbers=False))
    reader = ParquetReader(str(corpus / "parts"), text_key="text", id_key="id")
    signed, found, clusters = (str(work / name) for name in ("signed", "found", "clusters"))
    steps = [
        ([reader, MinhashDedupSignature(signed, config, Plain())], len(files)),
        ([MinhashDedupBuckets(signed, found, config=config)], BANDS),
        ([MinhashDedupCluster(found, clusters, config, save_cluster_id=True)], 1),
    ]
    for number, (pipeline, tasks) in enumerate(steps):
        logs = str(work / f"logs{number}")
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=logs).run()
    return _read_datatrove(corpus, Path(clusters))


def _read_datatrove(corpus: Path, folder: Path) -> np.ndarray:
    import pyarrow.parquet as pq

    starts = np.cumsum([0] + [pq.read_metadata(f).num_rows for f in sorted(corpus.glob("parts/*"))])
    labels = -1 - np.arange(starts[-1])
    for file in folder.glob("*.clusters"):
        row, cluster = np.fromfile(file, np.uint32).reshape(-1, 2).astype(np.int64).T
        labels[starts[int(file.stem)] + row] = cluster
    return labels


def text_dedup(corpus: Path, n: int, work: Path) -> np.ndarray:
    import pickle

    from text_dedup import minhash

    given = ["--path", "parquet", "--data_files", str(corpus / "parts/*.parquet"), "--split"]
    given += ["train", "--column", "text", "--ngram", str(n), "--min_length", "1", "--debug"]
    given += ["--num_perm", str(PERMUTATIONS), "--threshold", str(SIMILARITY), "--num_proc", "1"]
    given += ["--hash_func", "xxh3", "--cache_dir", str(work / "c"), "--output", str(work / "o")]
    minhash.main(given, standalone_mode=False)
    with (work / "o/uf.pkl").open("rb") as file:
        stored = pickle.load(file)
    parents = stored if isinstance(stored, dict) else stored.parent
    return _labels(parents, corpus)


def data_juicer(corpus: Path, n: int, _work: Path) -> np.ndarray:
    from data_juicer.core.data import NestedDataset
    from data_juicer.ops.deduplicator import document_minhash_deduplicator as module
    from datasets import load_dataset

    made: list[Any] = []

    class Watched(module.UnionFind):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    module.UnionFind = Watched
    files = [str(file) for file in sorted(corpus.glob("parts/*.parquet"))]
    rows = NestedDataset(load_dataset("parquet", data_files=files, split="train"))
    dedup = module.DocumentMinhashDeduplicator(
        window_size=n, num_permutations=PERMUTATIONS, jaccard_threshold=SIMILARITY
    )
    dedup.process(rows.map(dedup.compute_hash, num_proc=1))
    return _labels(made[0].parent, corpus)


def data_juicer_cpp(corpus: Path, n: int, _work: Path) -> np.ndarray:
    """The compiled part of Data-Juicer's operator for Ray, built by hand from the sources in its
    wheel (PYTHONPATH names the folder), with the clustering of its operator for one process."""
    import minhash
    import pyarrow.parquet as pq
    import tokenize_c
    from data_juicer.ops.common.helper_func import UnionFind

    gen = np.random.RandomState(seed=42)
    most = np.iinfo(np.int64).max
    a, b = (gen.randint(1, most, PERMUTATIONS, np.uint64) for _ in range(2))
    ranges = [(i * ROWS, (i + 1) * ROWS) for i in range(BANDS)]
    buckets: dict[bytes, list[int]] = {}
    first = 0
    for file in sorted(corpus.glob("parts/*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(1000, columns=["text"]):
            tokens = [
                tokenize_c.n_grams(tokenize_c.split_on_whitespace(text), n)
                for text in batch["text"].to_pylist()
            ]
            for _, key, row in minhash.calc_minhash_batch_c(tokens, first, a, b, "", ranges, 1, 1):
                buckets.setdefault(key, []).append(row)
            first += len(batch)
    union = UnionFind()
    for rows in buckets.values():
        for row in rows[1:]:
            union.union(row, rows[0])
    return _labels(union.parent, corpus)


def _labels(parents: dict[int, int], corpus: Path) -> np.ndarray:
    import pyarrow.parquet as pq

    count = sum(pq.read_metadata(file).num_rows for file in corpus.glob("parts/*.parquet"))
    labels = np.arange(count)
    for row in parents:
        root = row
        while parents[root] != root:
            root = parents[root]
        labels[row] = root
    return labels


SIDES: dict[str, Callable[[Path, int, Path], np.ndarray]] = {
    "ours": ours,
    "datasketch": datasketch,
    "datatrove": datatrove,
    "text-dedup": text_dedup,
    "data-juicer": data_juicer,
    "data-juicer-c++": data_juicer_cpp,
}


# -- the comparison --


def pairs_of(answer: np.ndarray) -> np.ndarray:
    """Pairs (smaller row first) as sorted numbers; of clusters, every two rows of one."""
    if answer.ndim == 2:
        pairs = np.sort(answer, axis=1)
    else:
        order = np.argsort(answer, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(answer[order])) + 1)
        several = [g for g in groups if len(g) > 1]
        found = [np.stack(np.triu_indices(len(g), 1), 1) for g in several]
        made = [np.sort(g[pair], axis=1) for g, pair in zip(several, found, strict=True)]
        pairs = np.concatenate([np.empty((0, 2), np.int64), *made])
    return np.unique(pairs[:, 0] << 32 | pairs[:, 1])


def score(answer: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Of all pairs, and of pairs of unchained rows only: near-duplicates of near-duplicates make
    pairs that are not alike of whatever reports clusters."""
    found, wanted = pairs_of(answer), pairs_of(truth)
    free = unchained(truth, int(answer.max()) + 1 if answer.ndim == 2 else len(answer))
    return _score(found, wanted, "all_") | _score(_among(found, free), _among(wanted, free), "")


def unchained(truth: np.ndarray, count: int) -> np.ndarray:
    """Rows (bool [N]) that are alike to all rows they are connected to by true pairs."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = max(count, int(truth.max()) + 1)
    edges = coo_matrix((np.ones(len(truth)), tuple(truth.T)), shape=(count, count))
    label = connected_components(edges, directed=False)[1]
    size = np.bincount(label)
    pairs = np.bincount(label[truth[:, 0]], minlength=len(size))
    return (pairs == size * (size - 1) // 2)[label]


def _among(pairs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return pairs[rows[pairs >> 32] & rows[pairs & 0xFFFFFFFF]]


def _score(found: np.ndarray, truth: np.ndarray, name: str) -> dict[str, float]:
    right = len(np.intersect1d(found, truth, assume_unique=True))
    precision, recall = right / max(len(found), 1), right / len(truth)
    f1 = 2 * precision * recall / max(precision + recall, 1e-12)
    return {name + "precision": precision, name + "recall": recall, name + "f1": f1}


def measured(side: str, python: str, corpus: Path, n: int) -> dict[str, float]:
    """One run in a process of its own: CPU seconds, peak memory in MB, and the score."""
    truth = np.load(corpus / "truth.npz")["pairs"]
    core = str(max(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "answer.npy")
        command = ["taskset", "-c", core, python, __file__, "work", "--side", side]
        command += ["--corpus", str(corpus), "--words", str(n), "--out", str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": folder}
        environment["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # its own keeps what was freed
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{side} failed:\n{Path(folder, 'log').read_text()[-3000:]}")
        seconds = usage.ru_utime + usage.ru_stime
        return {"cpu": seconds, "mb": usage.ru_maxrss / 1024} | score(np.load(out), truth)


def compare(corpus: Path, peers: dict[str, str], rounds: int, n: int) -> None:
    rows = len(np.load(corpus / "truth.npz")["pairs"])
    sides = {"ours": sys.executable} | peers
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in list(sides) if number % 2 == 0 else reversed(sides):
            runs[side].append(measured(side, sides[side], corpus, n))
            print(f"# {side} {json.dumps(runs[side][-1])}", flush=True)
    count = _rows(corpus)
    print(f"\n{count} rows, {rows} pairs at {SIMILARITY}, {rounds} rounds, medians\n")
    print("| | F1 | precision | recall | F1, chains too | CPU s | rows/CPU s | ratio | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    middle = {s: {k: statistics.median(r[k] for r in of) for k in of[0]} for s, of in runs.items()}
    for side, m in middle.items():
        cells = [f"{m[k]:.4f}" for k in ("f1", "precision", "recall", "all_f1")]
        cells += [f"{m['cpu']:.1f}", f"{count / m['cpu']:,.0f}"]
        cells += [f"{m['cpu'] / middle['ours']['cpu']:.1f}", f"{m['mb']:.0f}"]
        print(f"| {side} | " + " | ".join(cells) + " |")


def _rows(corpus: Path) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(file).num_rows for file in corpus.glob("parts/*.parquet"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    side = commands.add_parser("work")
    side.add_argument("--side", choices=SIDES, required=True)
    side.add_argument("--out", type=Path, required=True)
    run = commands.add_parser("run")
    run.add_argument("--peer", action="append", default=[], help="SIDE=PYTHON of its environment")
    run.add_argument("--rounds", type=int, default=3)
    for command in (side, run):
        command.add_argument("--corpus", type=Path, required=True)
        command.add_argument("--words", type=int, required=True, help="of a shingle: 5 or 2")
    chosen = parser.parse_args()
    if chosen.command == "work":
        with tempfile.TemporaryDirectory() as work:
            np.save(chosen.out, SIDES[chosen.side](chosen.corpus, chosen.words, Path(work)))
    else:
        peers = dict(peer.split("=", 1) for peer in chosen.peer)
        compare(chosen.corpus, peers, chosen.rounds, chosen.words)


if __name__ == "__main__":
    main()
