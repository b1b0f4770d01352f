"""Stage `weak`: labels for five tasks from what pages say: `pairs@DAY`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from mmcore.lake import Dataset, DatasetWriter, Lake, Part
from mmcore.weak.annotations import parse_annotations
from mmcore.weak.draws import image_hashes
from mmcore.weak.evidence import TEXTS, Evidence, caption_texts, gather, page_texts
from mmcore.weak.feelings import silent
from mmcore.weak.functions import vote_all
from mmcore.weak.negatives import Mentions
from mmcore.weak.pairs import (
    Given,
    all_feelings,
    all_questions,
    all_tags,
    assemble,
    choose_captions,
)
from mmcore.weak.questions import ask
from mmcore.weak.retracted import Retracted
from mmcore.weak.stage_bootstrap import Bootstrap, Labeler, bootstrap
from mmcore.weak.stage_retract import retracted
from mmcore.weak.tags import managed
from mmcore.weak.vocabulary import Counts, Vocabulary, count, mentions, merge
from mmcore.weak.votes import combine, summarise

_KEYS = ["sha256", "cluster", "kept"]
_ROWS = ["sha256", "cluster", "kept", "split", "annotation"]
_PAGE_COLUMNS = ["sha256", "page_url", "role", "text", "lang", "kept"]


class Config(BaseModel):
    """Settings of the weak labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_share: float = Field(
        0.6, gt=0.5, le=1, description="Share of the votes an answer needs; else no label is given."
    )
    min_confidence: float = Field(0.3, ge=0, le=1, description="Least confidence of a label.")
    max_questions: int = Field(24, ge=0, description="Most questions per image and language.")
    min_tag_images: int = Field(2, ge=1, description="Images a tag must occur in.")
    max_tag_share: float = Field(
        0.8, gt=0, le=1, description="A tag on a larger share of the images says nothing."
    )
    history_days: int = Field(
        30, ge=0, description="Earlier days whose texts the vocabulary is counted on too."
    )
    bootstrap: Bootstrap = Field(
        Bootstrap(), description="What the champion of earlier days adds, if it passes an exam."
    )


@dataclass(frozen=True)
class _Day:
    """The inputs of one day."""

    deduplicated: Dataset
    tokenized: Dataset
    texts: Dataset

    @property
    def parents(self) -> list[Dataset]:
        return [self.deduplicated, self.tokenized, self.texts]


@dataclass(frozen=True)
class _Task:
    """One part of a day: the images of part `index`, and where texts about them lie.

    members: `sha256` of every image of their clusters and `image`, the number of the kept one.
    """

    day: _Day
    index: int
    members: pa.Table
    texts_parts: list[int]


@dataclass(frozen=True)
class _Written:
    part: Part
    rows: int
    labelled: Counter[str]
    votes: dict[str, Counter[str]]


def run(
    lake: Lake, day: str, config: Config, seed: int = 0, champion: Labeler | None = None
) -> Dataset:
    """Write `pairs@day`; part i holds the kept images of part i of `deduplicated@day`.

    Two passes: the first counts words over the day and its recent history, the second labels. What
    pages said is `page_labels@day` where a champion then adds to it, else it is `pairs@day`.
    """
    if champion is None or not config.bootstrap.enabled:
        return _page_labels(lake, "pairs", day, config, seed)
    labels = _page_labels(lake, "page_labels", day, config, seed)
    return bootstrap(lake, labels, champion, config.bootstrap)


def _page_labels(lake: Lake, name: str, day: str, config: Config, seed: int) -> Dataset:
    """The labels that pages and people gave, as dataset `name`."""
    from mmcore.cluster import map_parts

    listed, bad = retracted(lake)
    today = _day(lake, day)
    days = [*_history(lake, day, config.history_days), today]
    parents = [dataset for one in reversed(days) for dataset in one.parents]
    parents += [listed] if listed else []
    settings = config.model_dump(mode="json", exclude={"bootstrap"}) | {"seed": seed}
    done = lake.reusable(name, day, settings, parents)
    if done is not None:
        return done
    tasks = _tasks(today)
    earlier = [task for one in days[:-1] for task in _tasks(one)]
    counts = map_parts(_count, [*earlier, *tasks], description="vocabulary", unit="images")
    vocabulary = merge(counts)
    writer = lake.writer(name, day)
    label = partial(_label, config=config, seed=seed, vocabulary=vocabulary, bad=bad, writer=writer)
    results = map_parts(label, tasks, description="pairs", unit="images")
    metadata = _metadata(results, vocabulary)
    return writer.commit([r.part for r in results], parents, settings, metadata)


def _day(lake: Lake, day: str) -> _Day:
    return _Day(*(lake.dataset(name, day) for name in ("deduplicated", "tokenized", "texts")))


def _history(lake: Lake, day: str, most: int) -> list[_Day]:
    """The last `most` earlier days that have all inputs, oldest first."""
    names = ("deduplicated", "tokenized", "texts")
    common = set.intersection(*(set(lake.partitions(name)) for name in names))
    earlier = sorted(d for d in common if d < day)
    return [_day(lake, d) for d in earlier[max(len(earlier) - most, 0) :]]


def _tasks(day: _Day) -> list[_Task]:
    """One task per part, from keys alone."""
    keys = [part.append_column("part", _fill(part, i)) for i, part in _key_parts(day)]
    if not keys:
        return []
    table = pa.concat_tables(keys).combine_chunks()
    kept = table.filter(table["kept"])
    at = pc.index_in(table["cluster"], kept["cluster"].combine_chunks())
    members = table.filter(at.is_valid())
    at = at.drop_null().combine_chunks()
    members = pa.table(
        {"sha256": members["sha256"], "part": kept["part"].take(at), "image": kept["row"].take(at)}
    ).combine_chunks()
    where = _texts_parts(day.texts, members)
    return [
        _Task(day, i, members.filter(pc.equal(members["part"], i)), where.get(i, []))
        for i in range(len(day.deduplicated.parts))
    ]


def _key_parts(day: _Day) -> list[tuple[int, pa.Table]]:
    parts = []
    for i, part in enumerate(day.deduplicated.iter_parts(_KEYS)):
        kept = part["kept"].to_numpy(zero_copy_only=False)
        parts.append((i, part.append_column("row", pa.array(np.cumsum(kept) - kept))))
    return parts


def _fill(table: pa.Table, value: int) -> pa.Array:
    return pa.array(np.full(table.num_rows, value, np.int64))


def _texts_parts(texts: Dataset, members: pa.Table) -> dict[int, list[int]]:
    """For each part of the images, the parts of `texts` that speak of them."""
    found: dict[int, list[int]] = {}
    for number, table in enumerate(texts.iter_parts(["sha256"])):
        at = pc.index_in(table["sha256"], members["sha256"].combine_chunks())
        parts = members["part"].take(at.drop_null().combine_chunks())
        for part in pc.unique(parts).to_pylist():
            found.setdefault(part, []).append(number)
    return found


def _read(task: _Task) -> tuple[pa.Table, Evidence]:
    """The kept rows of a task, and everything its pages say."""
    rows = task.day.deduplicated.read_part(task.index, _ROWS)
    rows = rows.filter(rows["kept"]).combine_chunks()
    tokenized = task.day.tokenized.read_part(task.index)
    captions = caption_texts(tokenized, rows["sha256"].combine_chunks())
    pages = [
        page_texts(task.day.texts.read_part(part, _PAGE_COLUMNS), task.members)
        for part in task.texts_parts
    ]
    joined = pa.concat_tables([TEXTS.empty_table(), *pages])
    return rows, gather(captions, joined, rows.num_rows)


def _count(task: _Task) -> Counts:
    _, evidence = _read(task)
    return count(evidence)


def _label(
    task: _Task,
    config: Config,
    seed: int,
    vocabulary: Vocabulary,
    bad: Retracted,
    writer: DatasetWriter,
) -> _Written:
    rows, evidence = _read(task)
    notes = parse_annotations(rows["annotation"].to_pylist())
    given = Given.flatten(notes)
    votes = bad.of_all_tasks(vote_all(evidence, vocabulary))
    tagged = votes.filter(pc.equal(votes["task"], "tag"))
    tagged = managed(
        tagged, vocabulary.tags(), vocabulary.images, config.min_tag_images, config.max_tag_share
    )
    others = votes.filter(pc.not_equal(votes["task"], "tag"))
    labels = combine(pa.concat_tables([others, tagged]), config.min_share)
    labels = labels.filter(pc.greater_equal(labels["confidence"], config.min_confidence))
    facts, tags, feelings = (_of(labels, task) for task in ("fact", "tag", "sentiment"))
    feelings = pa.concat_tables([feelings, silent(evidence, feelings)])
    hashes = image_hashes(rows["sha256"].combine_chunks(), seed)
    named = Mentions(*mentions(evidence), rows.num_rows)
    qa = ask(facts, hashes, named, vocabulary.world(config.min_tag_images), config.max_questions)
    table = assemble(
        rows,
        bad.without("caption", choose_captions(evidence, given)),
        bad.without("qa", all_questions(qa, given)),
        all_tags(tags, given, config.min_confidence),
        all_feelings(feelings, given),
    )
    part = writer.write_table(task.index, table)
    problems = Counter(f"annotation_{p}" for note in notes for p in note.problems)
    voted = {name: Counter(numbers) for name, numbers in summarise(votes).items()}
    return _Written(part, rows.num_rows, _labelled(table) + problems, voted)


def _of(labels: pa.Table, task: str) -> pa.Table:
    return labels.filter(pc.equal(labels["task"], task))


def _labelled(table: pa.Table) -> Counter[str]:
    """How many images have each kind of label, and how many labels there are."""
    counts: Counter[str] = Counter(images=table.num_rows)
    for name in ("caption", "sentiment"):
        counts[name] = table.num_rows - table[name].null_count
    for name in ("qa", "tags"):
        lengths = pc.list_value_length(table[name])
        counts[name] = pc.sum(pc.greater(lengths, 0)).as_py() or 0
        counts[f"{name}_labels"] = pc.sum(lengths).as_py() or 0
    kinds = table["qa"].combine_chunks().flatten().field("type").value_counts().to_pylist()
    return counts + Counter({f"qa_{k['values']}": k["counts"] for k in kinds})


def _metadata(results: list[_Written], vocabulary: Vocabulary) -> dict[str, Any]:
    """The funnel, and per labeling function how much it covers and how often it is contradicted."""
    total: Counter[str] = Counter()
    functions: dict[str, Counter[str]] = {}
    for result in results:
        total += result.labelled
        for name, numbers in result.votes.items():
            functions.setdefault(name, Counter()).update(numbers)
    images = max(total["images"], 1)
    table = {
        name: {
            "coverage": round(n["images"] / images, 4),
            "votes": n["votes"],
            "conflict": round(n["disputed"] / max(n["votes"], 1), 4),
        }
        for name, n in sorted(functions.items())
    }
    funnel = {name: total[name] for name in ("images", "caption", "qa", "tags", "sentiment")}
    details = {name: n for name, n in sorted(total.items()) if name not in funnel}
    return {
        "funnel": funnel,
        "details": details,
        "labeling_functions": table,
        "vocabulary": {
            "images": vocabulary.images,
            "words": len(vocabulary.total),
            "terms": len(vocabulary.terms),
        },
    }
