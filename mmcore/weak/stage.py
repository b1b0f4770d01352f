"""Stage `weak`: labels for five tasks from what pages say: `pairs@DAY`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mmcore.lake import Dataset, DatasetWriter, Lake, Part
from mmcore.weak.annotations import Annotation, parse_annotations
from mmcore.weak.captions import CAPTION_ROLES
from mmcore.weak.champion import NEIGHBOURS, SOURCE, Champion, alignment
from mmcore.weak.dependencies import without_copies
from mmcore.weak.draws import image_hashes
from mmcore.weak.evidence import Evidence
from mmcore.weak.feelings import find_conflicts, find_cues, silent
from mmcore.weak.function_statistics import count_right, count_votes
from mmcore.weak.functions import WITHOUT_CHAMPION, Name, vote_all
from mmcore.weak.label_model_captions import caption_beliefs
from mmcore.weak.label_model_fit import SpaceModel, fit_all, model_table
from mmcore.weak.label_model_fit import label as label_votes
from mmcore.weak.label_model_patterns import (
    count_patterns,
    gold_feelings,
    gold_topics,
    merge_counts,
)
from mmcore.weak.label_model_topics import without_told
from mmcore.weak.negatives import Mentions
from mmcore.weak.pairs import (
    Given,
    all_feelings,
    all_questions,
    all_tags,
    assemble,
    choose_captions,
)
from mmcore.weak.question_only import count_answers, held_out
from mmcore.weak.questions import ask
from mmcore.weak.report import Findings, count_labels, summarise_day
from mmcore.weak.retracted import Retracted
from mmcore.weak.stage_bootstrap import Bootstrap, InTrain, Labeler, bootstrap
from mmcore.weak.stage_inputs import Task, earlier_days, look, read_day, read_evidence, tasks_of
from mmcore.weak.stage_retract import retracted
from mmcore.weak.tags import managed, with_parents, with_synonyms
from mmcore.weak.user_functions import UserFunction, find_functions
from mmcore.weak.vocabulary import Counts, Vocabulary, count, mentions, merge
from mmcore.weak.votes import VOTES

_ALL_NAMES = (*WITHOUT_CHAMPION, SOURCE, NEIGHBOURS, "annotation")


class Config(BaseModel):
    """Settings of the weak labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_share: float = Field(
        0.6, gt=0.5, le=1, description="Probability an answer needs; else no label is given."
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
    functions: list[Name] = Field(
        list(WITHOUT_CHAMPION),
        description="Built-in labeling functions; champion and neighbours look at the images too.",
    )
    user_functions: list[str] = Field(
        [],
        description="Your own: my_labels.py:name (relative to this file) or package.module:name.",
    )
    bootstrap: Bootstrap = Field(
        Bootstrap(), description="What the champion of earlier days adds, if it passes an exam."
    )


@dataclass(frozen=True)
class _Labelers:
    """Who votes: the built-in functions of these names, the user's own, and the model."""

    names: tuple[Name, ...]
    user: tuple[UserFunction, ...]
    champion: Champion | None
    in_train: InTrain | None
    bad: Retracted

    @property
    def page_language(self) -> bool:
        return "page_language" in self.names


@dataclass(frozen=True)
class _Written:
    part: Part
    rows: int
    findings: Findings


def run(
    lake: Lake,
    day: str,
    config: Config,
    seed: int = 0,
    champion: Champion | None = None,
    labeler: Labeler | None = None,
) -> Dataset:
    """Write `pairs@day`; part i holds the kept images of part i of `deduplicated@day`.

    Three passes: the first counts words over the day and its recent history, the second counts
    patterns of votes, on which the label model is fitted, the third labels. What pages said is
    `page_labels@day` where a model then adds to it, else it is `pairs@day`.
    champion: asked where `functions` names it, or those that need it. labeler: the model that may
    add to the labels of pages (`bootstrap`). UserError for a function of the user's that cannot be
    found, fails, or returns no votes.
    """
    adds = labeler if config.bootstrap.enabled else None
    name = "page_labels" if adds else "pairs"
    labels = _page_labels(lake, name, day, config, seed, champion, labeler)
    return bootstrap(lake, labels, adds, config.bootstrap) if adds else labels


def _page_labels(
    lake: Lake,
    name: str,
    day: str,
    config: Config,
    seed: int,
    champion: Champion | None,
    labeler: Labeler | None,
) -> Dataset:
    """The labels that functions and people gave, as dataset `name`."""
    from mmcore.cluster import map_parts

    listed, bad = retracted(lake)
    asked = {SOURCE, NEIGHBOURS}.intersection(config.functions)
    user = find_functions(config.user_functions, _ALL_NAMES)
    trusted = champion is not None and not bad.has(champion.version)
    champion = champion if asked and trusted else None
    in_train, splits = (labeler.in_train, labeler.splits) if labeler else (None, ())
    labelers = _Labelers(tuple(config.functions), user, champion, in_train, bad)
    today = read_day(lake, day, images=labelers.champion is not None)
    days = [*earlier_days(lake, day, config.history_days), today]
    parents = [dataset for one in reversed(days) for dataset in one.parents]
    parents += [listed] if listed else []
    settings = _settings(config, seed, labelers)
    settings |= {"splits": list(splits)} if champion else {}
    done = lake.reusable(name, day, settings, parents)
    if done is not None:
        return done
    tasks = tasks_of(today)
    earlier = [task for one in days[:-1] for task in tasks_of(one)]
    counting = partial(_count, seed=seed, labelers=labelers)
    counts = map_parts(counting, [*earlier, *tasks], description="vocabulary", unit="images")
    vocabulary = merge(counts)
    polling = partial(_poll, config=config, labelers=labelers, vocabulary=vocabulary)
    polls = map_parts(polling, tasks, description="votes", unit="images")
    models = fit_all(merge_counts(polls))
    writer = lake.writer(name, day)
    label = partial(
        _label,
        config=config,
        seed=seed,
        labelers=labelers,
        vocabulary=vocabulary,
        models=models,
        writer=writer,
    )
    results = map_parts(label, tasks, description="pairs", unit="images")
    metadata = summarise_day([r.findings for r in results], vocabulary)
    metadata["label_model"] = model_table(models)
    return writer.commit([r.part for r in results], parents, settings, metadata)


def _settings(config: Config, seed: int, labelers: _Labelers) -> dict[str, Any]:
    """What decides the result: of the user's functions their code, not where it lies."""
    settings = config.model_dump(mode="json", exclude={"bootstrap"}) | {"seed": seed}
    settings["functions"] = sorted(set(config.functions))
    settings["user_functions"] = {f.name: f.sha256 for f in labelers.user}
    return settings | {"champion": labelers.champion.name if labelers.champion else None}


def _count(task: Task, seed: int, labelers: _Labelers) -> Counts:
    rows, evidence = read_evidence(task, labelers.page_language)
    votes = [function(evidence) for function in labelers.user]
    hashes = image_hashes(rows["sha256"].combine_chunks(), seed)
    return count(evidence, pa.concat_tables([VOTES.empty_table(), *votes]), hashes)


def _poll(task: Task, config: Config, labelers: _Labelers, vocabulary: Vocabulary) -> pa.Table:
    """How often each pattern of votes occurs in a part."""
    rows, evidence, votes = _votes(task, labelers, vocabulary)
    notes = parse_annotations(rows["annotation"].to_pylist())
    given = Given.flatten(notes)
    ballot = without_told(_ballot(votes, evidence, vocabulary, config), _told(notes))
    gold = pa.concat_tables([gold_feelings(given.sentiment), gold_topics(ballot, given.tags)])
    # what is kept apart for an examination must not shape what is learned from
    apart = pc.fill_null(pc.is_in(rows["split"], pa.array(["val", "test"])), False)
    return count_patterns(ballot, gold.filter(pc.invert(apart.take(gold["image"]))))


def _told(notes: Sequence[Annotation]) -> NDArray[np.int64]:
    """Images whose captions are annotated: their captions speak of them."""
    return np.flatnonzero([bool(note.captions) for note in notes])


def _votes(
    task: Task, labelers: _Labelers, vocabulary: Vocabulary
) -> tuple[pa.Table, Evidence, pa.Table]:
    """The kept rows of a task, the evidence about them, and all votes."""
    rows, evidence = read_evidence(task, labelers.page_language)
    if labelers.champion is not None:
        evidence = replace(evidence, seen=_seen(task, rows, labelers, labelers.champion))
    votes = vote_all(evidence, vocabulary, labelers.names, labelers.user)
    return rows, evidence, labelers.bad.of_all_tasks(votes)


def _ballot(
    votes: pa.Table, evidence: Evidence, vocabulary: Vocabulary, config: Config
) -> pa.Table:
    """The votes that count: for managed tags, and none that only repeats another text."""
    others = votes.filter(pc.not_equal(votes["task"], "tag"))
    ballot = pa.concat_tables([others, _tag_votes(votes, vocabulary, config)])
    return without_copies(ballot, evidence.texts)


def _label(
    task: Task,
    config: Config,
    seed: int,
    labelers: _Labelers,
    vocabulary: Vocabulary,
    models: dict[str, SpaceModel],
    writer: DatasetWriter,
) -> _Written:
    rows, evidence, votes = _votes(task, labelers, vocabulary)
    notes = parse_annotations(rows["annotation"].to_pylist())
    given = Given.flatten(notes)
    ballot = _ballot(votes, evidence, vocabulary, config)
    labels = label_votes(ballot, models, config.min_share, _told(notes))
    belief = caption_beliefs(ballot, evidence, models)
    labels = labels.filter(pc.greater_equal(labels["confidence"], config.min_confidence))
    labels = labelers.bad.of_all_tasks(_signed(labels, labelers.champion))
    facts, tags, feelings = (_of(labels, task) for task in ("fact", "tag", "sentiment"))
    if "comments" in labelers.names:
        feelings = pa.concat_tables([feelings, silent(evidence, feelings)])
        feelings = labelers.bad.without("sentiment", feelings)
    hashes = image_hashes(rows["sha256"].combine_chunks(), seed)
    named = Mentions(*mentions(evidence), rows.num_rows)
    qa = ask(facts, hashes, named, vocabulary.world(config.min_tag_images), config.max_questions)
    cues = find_cues(votes)
    table = assemble(
        rows,
        labelers.bad.without("caption", _captions(evidence, given, labelers, belief)),
        labelers.bad.without("qa", all_questions(qa, given)),
        all_tags(_with_parents(tags, vocabulary, config), given, config.min_confidence),
        all_feelings(feelings, given),
        cues,
        find_conflicts(cues, rows.num_rows),
    )
    part = writer.write_table(task.index, table)
    problems = Counter(f"annotation_{p}" for note in notes for p in note.problems)
    counts = count_votes(votes)
    for name, numbers in count_right(votes, qa, given).items():
        counts.setdefault(name, Counter()).update(numbers)
    answers = count_answers(qa, held_out(rows["cluster"].combine_chunks()))
    findings = Findings(count_labels(table) + problems, counts, answers)
    return _Written(part, rows.num_rows, findings)


def _seen(task: Task, rows: pa.Table, labelers: _Labelers, champion: Champion) -> pa.Table:
    """What the champion sees, of images that are trained on: it must not write its own exam."""
    seen = look(task, rows, champion)
    if labelers.in_train is None:
        return seen
    train = labelers.in_train(rows["cluster"].combine_chunks(), rows["split"].combine_chunks())
    return seen.take(pa.array(np.arange(len(seen)), mask=~train)).combine_chunks()


def _signed(labels: pa.Table, champion: Champion | None) -> pa.Table:
    """What the champion says carries its version, so that it can be retracted by name."""
    if champion is None:
        return labels
    source = pc.if_else(pc.equal(labels["source"], SOURCE), champion.version, labels["source"])
    return labels.set_column(labels.column_names.index("source"), "source", source)


def _of(labels: pa.Table, task: str) -> pa.Table:
    return labels.filter(pc.equal(labels["task"], task))


def _tag_votes(votes: pa.Table, vocabulary: Vocabulary, config: Config) -> pa.Table:
    """The votes for tags of the managed vocabulary, each tag under one name."""
    tagged = with_synonyms(_of(votes, "tag"), vocabulary.taxonomy.synonyms)
    return managed(
        tagged, vocabulary.tags(), vocabulary.images, config.min_tag_images, config.max_tag_share
    )


def _with_parents(tags: pa.Table, vocabulary: Vocabulary, config: Config) -> pa.Table:
    counts, parents = vocabulary.tags(), vocabulary.taxonomy.parents
    return with_parents(tags, parents, counts, vocabulary.images, config.max_tag_share)


def _captions(
    evidence: Evidence, given: Given, labelers: _Labelers, belief: NDArray[np.float64]
) -> pa.Table:
    """Candidates of the roles that are switched on, weighed by the champion where it is asked."""
    roles = [role for role in CAPTION_ROLES if role in labelers.names]
    champion, seen = labelers.champion, evidence.seen
    if champion is None or seen is None or SOURCE not in labelers.names:
        return choose_captions(evidence, given, roles, None, belief)

    def align(image: NDArray[np.int64], texts: pa.Array) -> NDArray[np.float64]:
        return alignment(seen, image, champion.read(texts.to_pylist()))

    return choose_captions(evidence, given, roles, align, belief)
