"""Which models have seen an image: read from the manifests of candidates and of shards.

Manifests outlive the files they name, so a model is found also when the shards that it was trained
on were written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmcore.lake import Lake
from mmcore.lake.manifest import Manifest

WEIGHTS = "model.safetensors"
Held = Mapping[str, Mapping[str, str]]
"""Day of `shards` to the images (sha256) in question that they hold or held, with their split."""


@dataclass(frozen=True)
class SeenBy:
    """A candidate that was made with some images.

    candidate: `candidate@DAY`; digest: of that version; images: sha256 to the split it was in
    (`train`: trained on; `val`: looked at while training; `test`: only kept apart). started_from:
    digest of the candidate whose weights it was trained on from, where only that one had seen them.
    """

    candidate: str
    digest: str
    images: dict[str, str]
    started_from: str | None = None


def models_with(lake: Lake, held: Held) -> list[SeenBy]:
    """Every candidate of the lake whose shards held one of the images, and what started from it.

    Of shards whose files are gone only the manifest can speak: it names what had been taken out. A
    candidate is listed unless that, or the day, says no.
    """
    candidates = [m for day in lake.partitions("candidate") for m in _versions(lake, day)]
    found: dict[str, SeenBy] = {}
    for manifest in candidates:
        images = _images(lake, manifest, held)
        if images:
            found[manifest.digest] = SeenBy(manifest.label, manifest.digest, images)
    return _with_heirs(candidates, found)


def _versions(lake: Lake, day: str) -> list[Manifest]:
    """One manifest for each digest of a day's candidates."""
    return list({m.digest: m for m in lake.manifests("candidate", day)}.values())


def _images(lake: Lake, candidate: Manifest, held: Held) -> dict[str, str]:
    images: dict[str, str] = {}
    for parent in candidate.parents:
        name, _, day = parent.label.partition("@")
        if name == "shards" and day in held:
            removed = _removed(lake, day, parent.digest)
            images |= {key: split for key, split in held[day].items() if key not in removed}
    return images


def _removed(lake: Lake, day: str, digest: str) -> set[str]:
    return {
        key
        for manifest in lake.manifests("shards", day, digest)
        for key in manifest.config.get("removed", [])
    }


def _with_heirs(candidates: list[Manifest], found: dict[str, SeenBy]) -> list[SeenBy]:
    """Adds candidates that started from the weights of a found one, and from theirs."""
    weights = {p.sha256: m.digest for m in candidates for p in m.parts if p.file == WEIGHTS}
    start = {m.digest: weights.get(m.config.get("init_from") or "") for m in candidates}
    growing = True
    while growing:
        growing = False
        for manifest in candidates:
            before = start[manifest.digest]
            if manifest.digest not in found and before in found:
                images = found[before].images
                found[manifest.digest] = SeenBy(manifest.label, manifest.digest, images, before)
                growing = True
    return sorted(found.values(), key=lambda seen: (seen.candidate, seen.digest))
