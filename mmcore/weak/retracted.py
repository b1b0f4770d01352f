"""Labelers that turned out bad, by name: what they said is left out, yesterday's too.

A name is a labeling function's (`keyword`), one of a single task (`tag/keyword`), or a model
version's (`shop@3`), as it stands in the `source` of the labels it made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.errors import UserError

NAME = "retracted"
RETRACTED = pa.schema([("labeler", pa.string()), ("reason", pa.string()), ("day", pa.string())])

_LISTS = {"captions": "caption", "qa": "qa", "tags": "tag"}


@dataclass(frozen=True)
class Retracted:
    """Names of labelers whose labels must not be used."""

    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, listed: pa.Table) -> Retracted:
        """From rows of `RETRACTED`."""
        return cls(frozenset(listed["labeler"].to_pylist()))

    def without(self, task: str, labels: pa.Table, source: str = "source") -> pa.Table:
        """The rows of a task's labels, or votes, that no retracted labeler made."""
        mine = self._of_task(task)
        if not mine:
            return labels
        return labels.filter(pc.invert(pc.is_in(labels[source], pa.array(mine, pa.string()))))

    def of_all_tasks(self, votes: pa.Table) -> pa.Table:
        """As `without`, for votes of several tasks, which have a column `task`."""
        if not self.names:
            return votes
        full = pc.binary_join_element_wise(votes["task"], votes["source"], "/")
        names = pa.array(sorted(self.names), pa.string())
        gone = pc.or_(pc.is_in(votes["source"], names), pc.is_in(full, names))
        return votes.filter(pc.invert(gone))

    def has(self, labeler: str) -> bool:
        """Whether all that a labeler says is retracted."""
        return labeler in self.names

    def _of_task(self, task: str) -> list[str]:
        prefix = f"{task}/"
        return sorted(
            {n.removeprefix(prefix) for n in self.names if "/" not in n}
            | {n.removeprefix(prefix) for n in self.names if n.startswith(prefix)}
        )


def check_labeler(name: str) -> str:
    """The name itself; UserError for what cannot be one."""
    task, slash, source = name.rpartition("/")
    if not source.strip() or (slash and task not in (*_LISTS.values(), "fact", "sentiment")):
        raise UserError(
            f"{name!r} is no labeler: give a labeling function (keyword), one of a task "
            "(tag/keyword; tasks: caption, qa, tag, fact, sentiment) or a model version (shop@3)."
        )
    return name


def made_by(part: pa.Table) -> Counter[str]:
    """How many labels each labeler made, as `TASK/SOURCE`, in a part of `pairs`."""
    found = _counted("sentiment", part["sentiment"].combine_chunks())
    for column, task in _LISTS.items():
        found += _counted(task, part[column].combine_chunks().flatten())
    return found


def touched_by(parts: Iterable[pa.Table]) -> Counter[str]:
    """As `made_by`, and more: a caption that a model checked is that model's too, and a question is
    one of task `fact`, of whose votes it was made."""
    found: Counter[str] = Counter()
    for part in parts:
        found += made_by(part)
        found += _counted("fact", part["qa"].combine_chunks().flatten())
        captions = part["captions"].combine_chunks().flatten()
        if captions.type.get_field_index("checked_by") >= 0:  # days before there was one lack it
            found += _counted("caption", captions, "checked_by")
    return found


def _counted(task: str, labels: pa.StructArray, field: str = "source") -> Counter[str]:
    sources = pc.struct_field(labels, field).drop_null().value_counts()
    return Counter({f"{task}/{row['values']}": row["counts"] for row in sources.to_pylist()})
