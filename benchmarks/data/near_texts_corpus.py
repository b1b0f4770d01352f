"""A corpus with planted near-duplicates, and all of its pairs at or above a Jaccard similarity.

    python benchmarks/data/near_texts_corpus.py documents --texts FOLDER --count 200000 --out FOLDER
    python benchmarks/data/near_texts_corpus.py captions --texts FOLDER --captions JSONL ...

Documents are windows of 60 to 250 words of the manuals below FOLDER (HTML, reStructuredText,
dictionaries in dictd's format), captions those of a JSONL file with `captions`, and sentences and
dictionary entries of 6 to 30 words. A third of the rows are edited copies: words replaced, removed
and added until the Jaccard similarity of their shingles (runs of 5 words; of 2 for captions)
is next to a target drawn between .5 and 1. Texts are lower case, letters and digits and single
spaces, so that every tool cuts them into the same shingles.

The truth is not what was planted but an exact join of all rows with all (AllPairs: Bayardo, Ma and
Srikant 2007) on shingles as numbers, not hashes. It shares no code with mmcore.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_matrix

LENGTHS = {"documents": (60, 250), "captions": (6, 30)}
SHINGLE = {"documents": 5, "captions": 2}
SIMILARITY = 0.8
_WORD = re.compile(r"[a-z0-9]+")


# -- texts --


def passages(folder: Path) -> Iterator[str]:
    """Paragraphs of all manuals, in the order of their paths."""
    from selectolax.lexbor import LexborHTMLParser

    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
        name = path.name.removesuffix(".gz")
        if name.endswith(".html"):
            page = LexborHTMLParser(_content(path))
            yield from (element.text() for element in page.css("p, dd, pre, li"))
        elif name.endswith((".rst", ".txt", ".dict.dz")):
            yield from re.split(r"\n\s*\n", _content(path).decode("utf-8", "replace"))


def _content(path: Path) -> bytes:
    if path.suffix in (".gz", ".dz"):
        return gzip.decompress(path.read_bytes())
    return path.read_bytes()


def glosses(folder: Path) -> Iterator[str]:
    """Definitions of WordNet's data files."""
    for path in sorted(folder.rglob("wordnet/data.*")):
        yield from (line.partition("|")[2] for line in path.read_text().splitlines())


def words_of(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def windows(texts: Iterator[str], count: int, draw: random.Random) -> list[list[str]]:
    """The words of all texts, cut into `count` distinct documents."""
    low, high = LENGTHS["documents"]
    seen: set[tuple[str, ...]] = set()
    made: list[list[str]] = []
    rest: list[str] = []
    wanted = draw.randint(low, high)
    for text in texts:
        rest += words_of(text)
        while len(rest) >= wanted:
            made_now, rest = rest[:wanted], rest[wanted:]
            head = tuple(made_now[:12])
            if head not in seen:
                seen.add(head)
                made.append(made_now)
                if len(made) == count:
                    return made
            wanted = draw.randint(low, high)
    raise SystemExit(f"only {len(made)} documents in the texts, {count} needed")


def sentences(texts: Iterator[str], count: int) -> list[list[str]]:
    """Distinct sentences of a caption's length."""
    low, high = LENGTHS["captions"]
    seen: dict[tuple[str, ...], None] = {}
    for text in texts:
        for part in re.split(r"[.;:!?]\s|\n\n", text):
            words = tuple(words_of(part))
            if low <= len(words) <= high:
                seen.setdefault(words)
        if len(seen) >= count:
            return [list(words) for words in list(seen)[:count]]
    raise SystemExit(f"only {len(seen)} captions in the texts, {count} needed")


# -- planted copies --


def edited(
    words: list[str], n: int, target: float, draw: random.Random, pool: list[str]
) -> list[str]:
    """A copy whose shingles of `n` words have about the similarity `target` to the original's."""
    original = shingles(words, n)
    copy, best = list(words), list(words)
    while True:
        place = draw.randrange(len(copy))
        kind = draw.random()
        if kind < 0.6:
            copy[place] = draw.choice(pool)
        elif kind < 0.75 and len(copy) > n + 1:
            del copy[place if kind < 0.7 else -1]
        else:
            copy.insert(place if kind < 0.85 else len(copy), draw.choice(pool))
        made = shingles(copy, n)
        similarity = len(original & made) / len(original | made)
        if similarity < target:
            return best if best != words else copy
        best = list(copy)


def shingles(words: list[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def planted(
    base: list[list[str]], count: int, n: int, draw: random.Random
) -> tuple[list[list[str]], list[int]]:
    """`count` rows: the base texts and copies of some of them, shuffled. Seven in ten families
    have one copy, the others two to four. Also the family of each row."""
    pool = [word for words in base[::50] for word in words]
    rows, families = list(base), list(range(len(base)))
    originals = iter(draw.sample(range(len(base)), len(base)))
    while len(rows) < count:
        family = next(originals)
        copies = draw.choices((1, 2, 3, 4), (70, 15, 10, 5))[0]
        for _ in range(min(copies, count - len(rows))):
            rows.append(edited(base[family], n, draw.uniform(0.5, 1), draw, pool))
            families.append(family)
    order = draw.sample(range(count), count)
    return [rows[i] for i in order], [families[i] for i in order]


# -- the truth --


def numbered(rows: list[list[str]], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (row, shingle number) of all rows: two arrays; equal runs of words, equal number."""
    codes: dict[str, int] = {}
    words = np.array([codes.setdefault(w, len(codes)) for row in rows for w in row], np.int64)
    lengths = np.array([len(row) for row in rows])
    owner = np.repeat(np.arange(len(rows)), lengths)
    number = words
    for place in range(1, n):
        pair = number[: len(number) - 1] * len(codes) + words[place:]
        number = np.unique(pair, return_inverse=True)[1]
    whole = owner[: len(number)] == owner[n - 1 :]
    pairs = np.unique(owner[: len(number)][whole] * (number.max() + 1) + number[whole])
    return pairs // (number.max() + 1), pairs % (number.max() + 1)


def similar(rows: list[list[str]], n: int, least: float) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of rows (int64 [P, 2]) whose shingles are at least so similar, and how similar."""
    owner, number = numbered(rows, n)
    frequency = np.bincount(number)
    order = np.lexsort((number, frequency[number], owner))  # rare shingles first
    owner, number = owner[order], number[order]
    sizes = np.bincount(owner, minlength=len(rows))
    place = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # Two sets this similar share one of these: what is left of each is too small to be enough.
    prefix = sizes - np.ceil(least * sizes - 1e-9) + 1
    good = (place < prefix[owner]) & (frequency[number] > 1)
    left, right = _sharing(owner[good], number[good])
    sets = csr_matrix((np.ones(len(owner), np.int32), (owner, number)))
    found, values = [], []
    for low in range(0, len(left), 100_000):
        a, b = left[low : low + 100_000], right[low : low + 100_000]
        both = np.asarray(sets[a].multiply(sets[b]).sum(axis=1)).ravel()
        jaccard = both / (sizes[a] + sizes[b] - both)
        near = jaccard >= least
        found.append(np.stack([a[near], b[near]], 1))
        values.append(jaccard[near])
    return np.concatenate(found), np.concatenate(values)


def _sharing(owner: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs of owners (smaller first) that hold the same number."""
    order = np.lexsort((owner, number))
    owner, number = owner[order], number[order]
    start = np.flatnonzero(np.diff(number, prepend=-1))
    size = np.diff(np.append(start, len(number)))
    before = np.arange(len(number)) - np.repeat(start, size)
    codes = np.empty(0, np.int64)
    total = int(owner.max()) + 1
    steps = np.cumsum(before) // 20_000_000
    for step in np.unique(steps):
        here = np.flatnonzero(steps == step)
        later = np.repeat(owner[here], before[here])
        back = np.arange(len(later)) - np.repeat(
            np.cumsum(before[here]) - before[here], before[here]
        )
        earlier = owner[np.repeat(here - before[here], before[here]) + back]
        codes = np.union1d(codes, earlier * total + later)
    return codes // total, codes % total


# -- files --


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kind", choices=LENGTHS)
    parser.add_argument("--texts", type=Path, required=True, help="manuals and dictionaries")
    parser.add_argument("--captions", type=Path, help="JSONL with a list `captions` a line")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", type=int, default=10)
    chosen = parser.parse_args()
    draw = random.Random(1)
    n, base = SHINGLE[chosen.kind], chosen.count * 2 // 3
    if chosen.kind == "documents":
        texts = windows(passages(chosen.texts), base, draw)
    else:
        given = (
            caption
            for line in chosen.captions.read_text().splitlines()
            for caption in json.loads(line)["captions"]
        )
        texts = sentences(_chain(given, glosses(chosen.texts), passages(chosen.texts)), base)
    rows, families = planted(texts, chosen.count, n, draw)
    pairs, jaccard = similar(rows, n, SIMILARITY)
    family = np.array(families)
    apart = int((family[pairs[:, 0]] != family[pairs[:, 1]]).sum())
    (chosen.out / "parts").mkdir(parents=True)
    table = pa.table({"id": np.arange(chosen.count), "text": [" ".join(row) for row in rows]})
    step = -(-chosen.count // chosen.parts)
    for part in range(chosen.parts):
        piece = table.slice(part * step, step)
        pq.write_table(piece, chosen.out / "parts" / f"{part:05}.parquet")
    np.savez(chosen.out / "truth.npz", pairs=pairs, jaccard=jaccard)
    print(f"{chosen.count} rows, {pairs.shape[0]} pairs at {SIMILARITY}, {apart} not planted")


def _chain(*sources: Iterator[str]) -> Iterator[str]:
    for source in sources:
        yield from source


if __name__ == "__main__":
    main()
