"""open_clip's own training loader reads our shards unchanged.

    VENV/bin/python benchmarks/shards/open_clip_reads.py 'FOLDER/train-{000000..000003}.tar' \
        --samples N

VENV has open_clip_torch, torchvision and webdataset; mmcore is not imported. The loader is
`open_clip_train.data.get_wds_dataset`, with open_clip's image transform and tokenizer, once in
order (validation) and once as it trains (shuffled, complete batches). What comes out in order is
compared with the members of the tars as the standard library reads them: every caption as token
ids, every image as transformed pixels. open_clip 3.3.0 wants webdataset 0.2.86 or older.
"""

from __future__ import annotations

import argparse
import io
import tarfile
from types import SimpleNamespace
from typing import Any

import torch

# A torchvision built for another torch lacks its detection operators; a loader needs none of them,
# but the import wants these two to be there.
for name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, name):
        torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")

import braceexpand  # noqa: E402
import open_clip  # noqa: E402
from open_clip.transform import image_transform  # noqa: E402
from open_clip_train.data import get_wds_dataset  # noqa: E402
from PIL import Image  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shards")
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--batch", type=int, default=8)
    arguments = parser.parse_args()
    tokenizer = open_clip.SimpleTokenizer()
    transform = image_transform(64, is_train=False)
    expected = [
        (transform(Image.open(io.BytesIO(jpg)).convert("RGB")), tokenizer([text])[0])
        for jpg, text in members(arguments.shards)
    ]
    assert len(expected) == arguments.samples
    read = list(loader(arguments, transform, tokenizer, is_train=False))
    images, texts = (torch.cat([batch[i] for batch in read]) for i in (0, 1))
    assert torch.equal(images, torch.stack([image for image, _ in expected]))
    assert torch.equal(texts, torch.stack([text for _, text in expected]))
    print(f"in order: {len(images)} of {len(expected)} samples, images and captions equal")
    trained = sum(len(batch[0]) for batch in loader(arguments, transform, tokenizer, is_train=True))
    print(f"training: {trained} samples in an epoch of complete batches of {arguments.batch}")


def loader(arguments: Any, transform: Any, tokenizer: Any, is_train: bool) -> Any:
    settings = SimpleNamespace(
        train_data=arguments.shards,
        val_data=arguments.shards,
        train_num_samples=arguments.samples,
        val_num_samples=arguments.samples,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        seed=0,
        batch_size=arguments.batch,
        workers=1,
        world_size=1,
    )
    return get_wds_dataset(settings, transform, is_train=is_train, tokenizer=tokenizer).dataloader


def members(shards: str) -> list[tuple[bytes, str]]:
    found = []
    for path in braceexpand.braceexpand(shards):
        with tarfile.open(path) as archive:
            read = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
        names = [name for name in read if name.endswith(".jpg")]
        found += [(read[n], read[n[:-4] + ".txt"].decode()) for n in names]
    return found


if __name__ == "__main__":
    main()
