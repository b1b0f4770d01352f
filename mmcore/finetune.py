"""A model folder and a file of a few labels in, a better model folder out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcore.annotated import OutsideFolder, read_image, tar_members
from mmcore.errors import UserError
from mmcore.evaluate.records import Labels, RecordCounts, read_records

if TYPE_CHECKING:
    from mmcore.train.finetune import FinetuneSettings


def finetune(model: Path, labels: Path, out: Path, settings: FinetuneSettings) -> dict[str, Any]:
    """Teach the model in a folder the labels of a JSONL file and write it to another folder.

    labels: a line an image (`image`, relative to the file or in a .tar beside it, and any of
    captions, lang, qa, tags, sentiment), as a gold file has them. Lines of the splits val and test
    are left out, so that they can judge the result. Returns what was read, what was left out and
    why, and the names that are new. `UserError` where nothing usable is left, or `out` is there
    already.
    """
    from mmcore.models.artifact import load_artifact, save_artifact
    from mmcore.models.images import decode_image
    from mmcore.train.finetune import finetune as teach

    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty: choose another folder for the new model.")
    start = load_artifact(model)
    counts = RecordCounts()
    pictures, records = [], []
    try:
        lines = labels.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{labels} cannot be read: {error.strerror}.") from None
    members = tar_members(labels.parent)
    for record in read_records(lines, counts):
        if record.split in ("val", "test"):
            counts.bad["other_split"] += 1
            continue
        try:
            picture = read_image(labels.parent, record.image, members)
            decode_image(picture, start.model.config.image.size)
        except OutsideFolder:
            counts.bad["outside_folder"] += 1
        except OSError:
            counts.bad["missing_file"] += 1
        except UserError:
            counts.bad["not_an_image"] += 1
        else:
            pictures.append(picture)
            records.append(shard_record(record.labels, record.lang))
    if len(pictures) < 2:
        raise UserError(f"{labels} names fewer than two images that can be used: {counts.bad}.")
    made = teach(model, start, pictures, records, settings)
    save_artifact(out, made)
    return {
        "images": len(pictures),
        "left_out": dict(sorted(counts.bad.items())),
        "new_answers": list(made.labels.answers[len(start.labels.answers) :]),
        "new_tags": list(made.labels.tags[len(start.labels.tags) :]),
        "new_languages": list(made.labels.languages[len(start.labels.languages) :]),
    }


def shard_record(labels: Labels, language: str | None) -> dict[str, Any]:
    """A person's labels, with the language of the captions, as the JSON of a shard has them; each
    of several answers is a pair."""
    return {
        "captions": [{"text": caption, "lang": language} for caption in labels.captions],
        "qa": [
            {"question": asked.question, "answer": answer}
            for asked in labels.questions
            for answer in asked.answers
        ],
        "tags": [{"tag": tag} for tag in labels.tags],
        "sentiment": {"label": labels.sentiment} if labels.sentiment else None,
    }
