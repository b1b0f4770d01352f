"""easy-VQA (PyPI `easy-vqa`, MIT) as an annotated folder: what `kind: folder` and
`mmcore evaluate --on` read.

    pip download --no-deps easy-vqa==1.0 && python -m zipfile -e easy_vqa-1.0-*.whl easy-vqa
    python -m benchmarks.models.easy_vqa easy-vqa/easy_vqa/data FOLDER

The published test split becomes `test`, a tenth of the published train split becomes `val`.
`--grey` writes a grey picture in place of every one: what is answered right then needs no picture.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from pathlib import Path

from PIL import Image

_VAL_EVERY = 10


def convert(source: Path, folder: Path, grey: bool = False) -> int:
    """Write FOLDER/annotations.jsonl and its pictures, or grey ones; the number of pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for part in ("train", "test"):
        asked: defaultdict[int, list[dict[str, str]]] = defaultdict(list)
        for question, answer, image in json.loads((source / part / "questions.json").read_text()):
            asked[image].append({"question": question, "answer": answer})
        for image, pairs in sorted(asked.items()):
            name = f"{part}-{image}.png"
            if grey:
                Image.new("RGB", (64, 64), (127, 127, 127)).save(folder / name)
            else:
                shutil.copyfile(source / part / "images" / f"{image}.png", folder / name)
            split = "val" if part == "train" and image % _VAL_EVERY == 0 else part
            lines.append(json.dumps({"image": name, "split": split, "qa": pairs}))
    (folder / "annotations.jsonl").write_text("\n".join(lines) + "\n")
    return len(lines)


def main() -> None:
    """Read the command line and convert."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the folder `data` inside the wheel")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--grey", action="store_true")
    options = parser.parse_args()
    print(f"{convert(options.source, options.folder, options.grey):,} pictures")


if __name__ == "__main__":
    main()
