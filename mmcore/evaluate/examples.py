"""What a model is evaluated on: images with the labels chosen for each task.

A number never mixes kinds of labels: a task is scored on gold labels where there are enough, else
on annotations of a folder source, else on weak labels, and the report says which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmcore.evaluate.records import SENTIMENTS, Labels, Question

TASKS = ("retrieval", "caption", "vqa", "tags", "sentiment")
KINDS = ("gold", "annotation", "weak")


@dataclass(frozen=True)
class Example:
    """One image to evaluate on; `number` finds its bytes again, `text` is an input."""

    number: int
    sha256: str
    cluster: str
    labels: Labels
    text: str | None = None
    describe: bool = False
    """Whether the model is asked to caption it (captions are the slow task)."""


@dataclass(frozen=True)
class Candidate:
    """One image with the labels of every kind."""

    number: int
    sha256: str
    cluster: str
    text: str | None
    labels: Mapping[str, Labels]
    source: Mapping[str, Any]
    """`license`, `consent`, `page_url` of the sample."""


@dataclass(frozen=True)
class ExampleSet:
    """Examples of one split, and the kind of labels each field uses."""

    split: str
    examples: tuple[Example, ...]
    kinds: Mapping[str, str]
    """Field of `Labels` (`captions`, `questions`, `tags`, `sentiment`) to kind."""
    sources: tuple[Mapping[str, Any], ...]


def candidate_from_sample(number: int, sample: Any, gold: Mapping[str, Labels]) -> Candidate:
    """A sample of a shard with its gold labels, if its cluster has any."""
    data = sample.labels
    sha256 = str(data.get("sha256") or sample.key)
    cluster = str(data.get("cluster") or sha256)
    kinds = {
        "annotation": labels_of_sample(data, annotated=True),
        "weak": labels_of_sample(data, annotated=False),
    }
    if cluster in gold:
        kinds["gold"] = gold[cluster]
    source = {key: data.get(key) for key in ("license", "consent", "page_url")}
    return Candidate(number, sha256, cluster, sample.text.strip() or None, kinds, source)


def labels_of_sample(data: Mapping[str, Any], annotated: bool | None = None) -> Labels:
    """Labels in the JSON of a shard's sample; what has another form counts as not labelled.

    annotated: only those a person gave (True), only weak ones (False), or all (None). Plain
    strings, as in `annotations.jsonl`, are read too.
    """
    captions = _entries(data.get("captions"), "text", annotated)
    captions = captions or _entries([data.get("caption")], "text", annotated)
    sentiment = _entries([data.get("sentiment")], "label", annotated)
    label = sentiment[0]["label"] if sentiment else None
    return Labels(
        captions=tuple(dict.fromkeys(c["text"] for c in captions)),
        questions=tuple(
            Question(q["question"], (str(q["answer"]),), q.get("type"))
            for q in _entries(data.get("qa"), "question", annotated)
            if isinstance(q.get("answer"), str | int | float)
        ),
        tags=tuple(dict.fromkeys(t["tag"] for t in _entries(data.get("tags"), "tag", annotated))),
        sentiment=label if label in SENTIMENTS else None,
    )


def _entries(values: Any, key: str, annotated: bool | None) -> list[dict[str, Any]]:
    """The entries of a list that have a text under `key` and come from the wanted kind."""
    items = values if isinstance(values, list) else []
    entries = [{key: item} if isinstance(item, str) else item for item in items]
    return [
        entry
        for entry in entries
        if isinstance(entry, dict)
        and isinstance(entry.get(key), str)
        and entry[key].strip()
        and annotated in (None, entry.get("source") == "annotation")
    ]


def choose_labels(
    candidates: Sequence[Candidate],
    split: str,
    *,
    min_checked: int,
    max_captions: int,
    max_questions: int,
    max_described: int,
) -> ExampleSet:
    """Decide the kind of labels field by field and keep only that kind.

    A better kind (gold, annotation, weak) is taken where at least `min_checked` images have it,
    else the kind that most images have. At most `max_captions` captions and `max_questions`
    questions (evenly spread) per image are used, and the first `max_described` captioned images
    are described by the model.
    """
    kinds = {field: _choose(candidates, field, min_checked) for field in _FIELDS}
    examples, described = [], 0
    for candidate in candidates:
        chosen = {
            field: getattr(candidate.labels[kind], field)
            for field, kind in kinds.items()
            if kind in candidate.labels
        }
        labels = replace(Labels(), **chosen)
        labels = replace(
            labels,
            captions=labels.captions[:max_captions],
            questions=_spread(labels.questions, max_questions),
        )
        describe = bool(labels.captions) and described < max_described
        described += describe
        examples.append(
            Example(
                candidate.number,
                candidate.sha256,
                candidate.cluster,
                labels,
                candidate.text,
                describe,
            )
        )
    sources = tuple(candidate.source for candidate in candidates)
    return ExampleSet(split, tuple(examples), kinds, sources)


_FIELDS = ("captions", "questions", "tags", "sentiment")
_FIELD_OF_TASK = {
    "retrieval": "captions",
    "caption": "captions",
    "vqa": "questions",
    "tags": "tags",
    "sentiment": "sentiment",
}


def kind_of_task(examples: ExampleSet, task: str) -> str:
    """`gold`, `annotation` or `weak`: what a task's labels are."""
    return examples.kinds[_FIELD_OF_TASK[task]]


def _spread(items: tuple[Question, ...], most: int) -> tuple[Question, ...]:
    """At most `most` items, evenly spread: questions of one type tend to stand together."""
    if len(items) <= most:
        return items
    return tuple(items[index * len(items) // most] for index in range(most))


def _choose(candidates: Iterable[Candidate], field: str, min_checked: int) -> str:
    have = Counter(
        kind
        for candidate in candidates
        for kind, labels in candidate.labels.items()
        if getattr(labels, field)
    )
    for kind in KINDS[:-1]:
        if have[kind] >= min_checked:
            return kind
    return max(KINDS, key=lambda kind: (have[kind], -KINDS.index(kind)))
