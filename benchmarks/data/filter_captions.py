"""The caption rules of mmcore beside Data-Juicer's and datatrove's: same decisions, CPU-seconds.

The rules are those that all three can say: 5 to 1000 characters (LAION, COYO), 3 to 256 words
(CC12M, COYO), mostly letters, and no repeated phrases. Each tool runs in its own environment,
single-threaded, on the same captions in memory; reading and imports are not counted. Data-Juicer's
operators are called in batches with the context that lets them share words, datatrove's filters
directly on documents: both without the cost of their pipelines. mmcore measures all its
attributes, also those not used here.

    python filter_captions.py make SET.txt --captions FILE... --rows 1000000
    python filter_captions.py compare SET.txt --tool mmcore=PYTHON --tool datajuicer=PYTHON \
        --tool datatrove=PYTHON [--rows N] [--rounds 3]

Decisions are compared first; where two tools differ, examples are printed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

CHARS, WORDS = (5, 1000), (3, 256)
BATCH = 1000  # Data-Juicer's default
Decisions = list[bool]


def make(out: Path, files: list[Path], rows: int) -> None:
    """Distinct captions, one a line: real ones with words of others in them, a tenth spoilt."""
    draw = random.Random(0)
    captions: list[str] = []
    for path in files:
        for line in path.read_text(encoding="utf-8").splitlines():
            captions += json.loads(line)["captions"] if line.startswith("{") else [line.strip()]
    captions = [c for c in dict.fromkeys(captions) if c]
    words = sorted({w for c in captions for w in c.split() if w.isalpha()})
    made: dict[str, None] = {}
    while len(made) < rows:
        parts = draw.choice(captions).split()
        for _ in range(1 + len(parts) // 6):
            parts[draw.randrange(len(parts))] = draw.choice(words)
        spoil = _SPOILS[draw.randrange(len(_SPOILS))] if draw.random() < 0.1 else None
        made[spoil(parts, draw) if spoil else " ".join(parts)] = None
    out.write_text("\n".join(made) + "\n", encoding="utf-8")


_SPOILS: tuple[Callable[[list[str], random.Random], str], ...] = (
    lambda parts, draw: " ".join(parts[:2]),
    lambda parts, draw: f"{draw.randint(1, 10**9)} / {draw.random()} --- ++",
    lambda parts, draw: " ".join(parts[:5] * draw.randint(4, 9)),
    lambda parts, draw: " ".join(draw.choices(parts, k=300)),
    lambda parts, draw: f"{draw.choice(parts)[:2]} {draw.randint(0, 9)}",
)


# --- the tools, each returns what it keeps --------------------------------------------------------


def run_mmcore(captions: list[str]) -> Callable[[], Decisions]:
    """mmcore's attributes and rules over Arrow arrays."""
    import numpy as np
    import pyarrow as pa

    from mmcore.clean import text
    from mmcore.clean.rules import TextRules, text_reasons

    rules = TextRules(
        min_text_bytes=CHARS[0], min_caption_words=WORDS[0], min_letter_share=0.5,
        max_digit_share=1, max_word_share=1, max_run=1000,
    )  # fmt: skip
    array = pa.array(captions)

    def run() -> Decisions:
        kept: Decisions = []
        for start in range(0, len(array), 20_000):
            measured = text.measure(array.slice(start, 20_000))
            n = measured.num_rows
            measured = measured.append_column("role", pa.array(["alt"] * n))
            measured = measured.append_column("site_images", pa.array(np.zeros(n, np.int32)))
            measured = measured.append_column("site_share", pa.array(np.zeros(n, np.float32)))
            kept += [reason == "ok" for reason in text_reasons(measured, rules).to_pylist()]
        return kept

    return run


def run_datajuicer(captions: list[str]) -> Callable[[], Decisions]:
    """Data-Juicer's operators, batched."""
    from data_juicer.ops.filter.alphanumeric_filter import AlphanumericFilter
    from data_juicer.ops.filter.text_length_filter import TextLengthFilter
    from data_juicer.ops.filter.word_repetition_filter import WordRepetitionFilter
    from data_juicer.ops.filter.words_num_filter import WordsNumFilter
    from data_juicer.utils.constant import Fields

    cheap = [
        TextLengthFilter(min_len=CHARS[0], max_len=CHARS[1]),
        AlphanumericFilter(tokenization=False, min_ratio=0.5),
    ]
    wordy = [
        WordsNumFilter(lang="en", tokenization=False, min_num=WORDS[0], max_num=WORDS[1]),
        WordRepetitionFilter(lang="en", tokenization=False, rep_len=3, max_ratio=0.5),
    ]

    def run() -> Decisions:
        kept: Decisions = []
        for start in range(0, len(captions), BATCH):
            texts = captions[start : start + BATCH]
            batch = {"text": texts, Fields.stats: [{} for _ in texts]}
            batch[Fields.context] = [{} for _ in texts]
            keep = [True] * len(texts)
            for op in cheap + wordy:
                batch = op.compute_stats_batched(
                    batch, **({"context": True} if op in wordy else {})
                )
                keep = [a and b for a, b in zip(keep, op.process_batched(batch), strict=True)]
            kept += keep
        return kept

    return run


def run_datatrove(captions: list[str]) -> Callable[[], Decisions]:
    """datatrove's filters, one document at a time: it knows no other way."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        GopherQualityFilter,
        GopherRepetitionFilter,
        LambdaFilter,
    )

    filters = [
        LambdaFilter(lambda doc: CHARS[0] <= len(doc.text) <= CHARS[1]),
        GopherQualityFilter(
            min_doc_words=WORDS[0], max_doc_words=WORDS[1], min_avg_word_length=None,
            max_avg_word_length=None, max_symbol_word_ratio=None, max_bullet_lines_ratio=None,
            max_ellipsis_lines_ratio=None, max_non_alpha_words_ratio=0.5, min_stop_words=0,
        ),
        GopherRepetitionFilter(
            dup_line_frac=None, dup_para_frac=None, dup_line_char_frac=None,
            dup_para_char_frac=None, top_n_grams=(), dup_n_grams=((3, 0.3),),
        ),
    ]  # fmt: skip
    documents = [Document(text=text, id=str(i)) for i, text in enumerate(captions)]

    def run() -> Decisions:
        return [all(f.filter(doc) is True for f in filters) for doc in documents]

    return run


TOOLS = {"mmcore": run_mmcore, "datajuicer": run_datajuicer, "datatrove": run_datatrove}


def run_tool(name: str, path: Path, rows: int, out: Path) -> None:
    """Run one tool and write its decisions; prints its CPU-seconds."""
    with path.open(encoding="utf-8") as file:
        captions = [line.rstrip("\n") for line in islice(file, rows)]
    TOOLS[name](captions[:2000])()  # models and caches are loaded before the clock starts
    run = TOOLS[name](captions)
    start = time.process_time()
    kept = run()
    print(time.process_time() - start)
    out.write_bytes(bytes(kept))


def compare(path: Path, pythons: dict[str, str], rows: int, rounds: int) -> None:
    """Run the tools in turn, check that they agree, and print a table."""
    seconds: dict[str, list[float]] = {name: [] for name in pythons}
    kept: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for index in range(rounds):
            names = list(pythons) if index % 2 == 0 else list(pythons)[::-1]
            for name in names:
                out = Path(folder) / name
                command = [pythons[name], __file__, "run", str(path), "--name", name]
                command += ["--rows", str(rows), "--out", str(out)]
                answer = subprocess.run(command, capture_output=True, text=True, check=False)
                if answer.returncode:
                    sys.exit(answer.stderr[-2000:])
                seconds[name].append(float(answer.stdout.split()[-1]))
                kept[name] = out.read_bytes()
                print(name, round(seconds[name][-1], 2), flush=True)
    _report(path, seconds, kept)


def _report(path: Path, seconds: dict[str, list[float]], kept: dict[str, bytes]) -> None:
    captions = path.read_text(encoding="utf-8").splitlines()
    first, ours = next(iter(kept.items()))
    rows, base = len(ours), statistics.median(seconds[first])
    print(f"| tool | kept of {rows} | same decision as {first} | CPU-s per 1 M, median | ratio |")
    print("|---|---|---|---|---|")
    for name, theirs in kept.items():
        same = sum(a == b for a, b in zip(ours, theirs, strict=True)) / rows
        median = statistics.median(seconds[name])
        per_million = median / rows * 1e6
        print(f"| {name} | {sum(theirs)} | {same:.5f} | {per_million:.1f} | {median / base:.1f} |")
    for name, theirs in kept.items():
        different = [i for i in range(rows) if ours[i] != theirs[i]]
        for i in different[:12]:
            print(f"  {name} {'keeps' if theirs[i] else 'drops'}: {captions[i][:90]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("command", choices=("make", "run", "compare"))
    parser.add_argument("set", type=Path)
    parser.add_argument("--captions", type=Path, nargs="+")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tool", action="append", default=[], help="NAME=PYTHON")
    parser.add_argument("--name")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.command == "make":
        make(given.set, given.captions, given.rows)
    elif given.command == "run":
        run_tool(given.name, given.set, given.rows, given.out)
    else:
        pythons = dict(tool.split("=", 1) for tool in given.tool)
        compare(given.set, pythons, given.rows, given.rounds)


if __name__ == "__main__":
    main()
