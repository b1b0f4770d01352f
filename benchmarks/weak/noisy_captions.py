"""How well a champion tells right captions from wrong ones, on photographs with human captions.

    python benchmarks/weak/noisy_captions.py corpus --photos FLICKR8K --out CORPUS
    mmcore run all --recipe recipe.yaml --root LAKE     # sources: [{kind: folder, path: CORPUS}]
    python benchmarks/weak/noisy_captions.py score --model MODEL --photos FLICKR8K
    python benchmarks/weak/noisy_captions.py night --photos FLICKR8K --out NIGHT
    mmcore run all --recipe next.yaml --root LAKE   # [{kind: webdataset, path: NIGHT}], to pairs
    python benchmarks/weak/noisy_captions.py judge --photos FLICKR8K --root LAKE --day DAY

`corpus` copies the training photographs and gives two captions in five to the wrong photograph, so
the champion learns from the noise it is later asked about. `score` takes photographs that no
training saw (`val`), mixes their captions in the same way, and asks for the area under the ROC
curve: the chance that a right caption scores above a wrong one. A bag-of-words guess that never
looks at the picture stands beside it: it must not beat one half. `night` makes a crawl of the same
photographs, with one alt text each, mixed too, and none for a fifth of them; `judge` says what the
champion did to their captions.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcore.lake import Lake
from mmcore.models import load_model
from mmcore.weak.matching import Calibration, calibrate

WRONG_SHARE = 0.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    corpus = commands.add_parser("corpus")
    corpus.add_argument("--photos", type=Path, required=True)
    corpus.add_argument("--out", type=Path, required=True)
    corpus.set_defaults(run=make_corpus)
    score = commands.add_parser("score")
    score.add_argument("--photos", type=Path, required=True)
    score.add_argument("--model", type=Path, required=True)
    score.add_argument("--wrong", type=float, default=WRONG_SHARE)
    score.set_defaults(run=score_champion)
    night = commands.add_parser("night")
    night.add_argument("--photos", type=Path, required=True)
    night.add_argument("--out", type=Path, required=True)
    night.set_defaults(run=make_night)
    judge = commands.add_parser("judge")
    judge.add_argument("--photos", type=Path, required=True)
    judge.add_argument("--root", required=True)
    judge.add_argument("--day", required=True)
    judge.set_defaults(run=judge_night)
    arguments = parser.parse_args()
    arguments.run(arguments)


def records(photos: Path, split: str) -> list[dict[str, Any]]:
    """The annotated photographs of a split."""
    lines = (photos / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for line in lines if (record := json.loads(line))["split"] == split]


def mixed(
    owners: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Which caption stands at each place, and whether it is the right one.

    owners: int64 [n], the photograph of each caption. `share` of the places trade captions among
    themselves; one that met its own photograph again is right after all.
    """
    draw = np.random.default_rng(seed)
    moved = draw.permutation(len(owners))[: round(share * len(owners))]
    at = np.arange(len(owners))
    at[moved] = at[np.roll(moved, 1)]
    return at, owners[at] == owners


def make_corpus(arguments: argparse.Namespace) -> None:
    """Photographs and annotations with mixed captions, and what is true of them in `truth.json`."""
    arguments.out.mkdir(parents=True)
    kept = records(arguments.photos, "train")
    texts = np.array([text for record in kept for text in record["captions"]], object)
    owners = np.repeat(np.arange(len(kept)), [len(record["captions"]) for record in kept])
    at, right = mixed(owners, WRONG_SHARE, seed=0)
    with open(arguments.out / "annotations.jsonl", "w", encoding="utf-8") as out:
        for number, record in enumerate(kept):
            captions = texts[at[owners == number]].tolist()
            out.write(json.dumps({"image": record["image"], "captions": captions}) + "\n")
    for tar in sorted(arguments.photos.glob("images-*.tar")):
        shutil.copy(tar, arguments.out)
    print(f"{len(kept):,} photographs, {len(texts):,} captions, {1 - right.mean():.1%} wrong")


def score_champion(arguments: argparse.Namespace) -> None:
    """AUROC of the champion's scores on photographs it never saw."""
    kept = records(arguments.photos, "val")
    pictures = read_pictures(arguments.photos, {record["image"] for record in kept})
    texts = [text for record in kept for text in record["captions"]]
    owners = np.repeat(np.arange(len(kept)), [len(record["captions"]) for record in kept])
    at, right = mixed(owners, arguments.wrong, seed=1)
    model = load_model(arguments.model)
    pixels = model.decode([pictures[record["image"]] for record in kept])
    seen, said = model.encode_images(pixels), model.encode_texts(texts)
    cosine = (seen[owners] * said[at]).sum(axis=1)
    match = model.match(pixels[owners], [texts[i] for i in at])
    blind = np.array([len(texts[i].split()) for i in at], float)
    print(f"{len(kept):,} photographs, {len(texts):,} captions, {1 - right.mean():.1%} wrong")
    scores: dict[str, Any] = {
        "cosine": cosine,
        "matching head": match,
        "both": np.add(ranks(cosine), ranks(match)),
        "length alone": blind,
    }
    for name, values in scores.items():
        best = np.argsort(-values, kind="stable")[: right.sum()]
        print(f"{name:<14} AUROC {auroc(values, right):.3f}  precision {right[best].mean():.3f}")
    others = (seen[(owners + len(kept) // 2) % len(kept)] * said[at]).sum(axis=1)
    print_calibration(calibrate(cosine, others), cosine, right)


def make_night(arguments: argparse.Namespace) -> None:
    """A tar of the photographs of `val`, with alt texts of which two in five are another's."""
    kept = records(arguments.photos, "val")
    pictures = read_pictures(arguments.photos, {record["image"] for record in kept})
    at, _ = mixed(np.arange(len(kept)), WRONG_SHARE, seed=2)
    arguments.out.mkdir(parents=True)
    with tarfile.open(arguments.out / "00000.tar", "w") as tar:
        for number, record in enumerate(kept):
            key = record["image"].partition(".")[0]
            told = {"alt": kept[at[number]]["captions"][0]} if number % 5 else {}
            files = {"jpg": pictures[record["image"]], "json": json.dumps(told).encode()}
            for extension, data in files.items():
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def judge_night(arguments: argparse.Namespace) -> None:
    """Which captions were right before the champion looked at them, and which are after."""
    kept = records(arguments.photos, "val")
    pictures = read_pictures(arguments.photos, {record["image"] for record in kept})
    own = {
        hashlib.sha256(pictures[record["image"]]).hexdigest(): set(map(folded, record["captions"]))
        for record in kept
    }
    lake = Lake(arguments.root)
    for name in ("page_labels", "pairs"):
        dataset = lake.dataset(name, arguments.day)
        rows = dataset.read(["sha256", "caption"]).to_pylist()
        written = [row for row in rows if row["caption"] and "@" in row["caption"]["source"]]
        found = [row for row in rows if row["caption"] and "@" not in row["caption"]["source"]]
        right = [folded(row["caption"]["text"]) in own[row["sha256"]] for row in found]
        print(
            f"{name:<12} {len(found)} of {len(rows)} images have a web caption, "
            f"{np.mean(right):.3f} of them right; {len(written)} have a generated one"
        )
    print(json.dumps(lake.dataset("pairs", arguments.day).metadata["bootstrap"], indent=1))


def folded(text: str) -> str:
    """A text as clean leaves it, near enough to be compared."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def print_calibration(
    found: Calibration | None, scores: NDArray[np.float32], right: NDArray[np.bool_]
) -> None:
    """What mmcore makes of the scores, which knows of no caption whether it is right."""
    assert found is not None
    chance = found(scores)
    kept = chance >= 0.5
    bins = np.digitize(chance, np.linspace(0, 1, 11)[1:-1])
    gaps = [abs(chance[bins == b].sum() - right[bins == b].sum()) for b in range(10)]
    print(f"wrong share    estimated {found.wrong_share:.3f}, true {1 - right.mean():.3f}")
    print(f"probability    ECE {sum(gaps) / len(chance):.3f}")
    print(
        f"kept at 0.5    {kept.mean():.3f} of the captions, {right[kept].mean():.3f} of them right "
        f"(before: {right.mean():.3f}), {kept[right].mean():.3f} of the right ones"
    )


def read_pictures(photos: Path, names: set[str]) -> dict[str, bytes]:
    """Bytes of some photographs by file name."""
    found = {}
    for tar in sorted(photos.glob("images-*.tar")):
        with tarfile.open(tar) as archive:
            for member in archive:
                name = Path(member.name).name
                if name in names:
                    file = archive.extractfile(member)
                    assert file is not None
                    found[name] = file.read()
    return found


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean ranks of values, ties shared."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[where]


def auroc(values: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Area under the ROC curve (Mann-Whitney)."""
    positive = right.sum()
    above = ranks(values)[right].sum() - positive * (positive + 1) / 2
    return float(above / (positive * (~right).sum()))


if __name__ == "__main__":
    main()
