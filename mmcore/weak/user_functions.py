"""Labeling functions of the user's own: found by the driver, run by the workers, checked."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcore.errors import MmcoreError, UserError
from mmcore.weak.evidence import Evidence
from mmcore.weak.sentiment import LABELS
from mmcore.weak.votes import VOTES

GIVEN = pa.schema(
    [
        ("image", pa.int64()),
        ("role", pa.string()),
        ("text", pa.string()),
        ("lang", pa.string()),
        ("weight", pa.float64()),
        ("page_url", pa.string()),
    ]
)
"""What a user's function gets: every text about some images, by image and role. Beside the roles of
`texts` there are `image_url` and `page_url`, whose text is the address, and `url` and `folder`, its
words. weight: float64 in [0, 1], how far the text is trusted to describe its image."""

_TASKS = ("tag", "sentiment", "fact")
_FACTS = ("exists", "plural", "colour", "count", "size", "texture", "mood", "position")


@dataclass(frozen=True)
class UserFunction:
    """A function the recipe names. `source` is the text of its file, which travels to the workers;
    `module` is set instead where it is imported there."""

    name: str
    reference: str
    source: str
    module: str = ""

    @property
    def sha256(self) -> str:
        """Changes when the file does, so that the stage runs again."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def __call__(self, evidence: Evidence) -> pa.Table:
        """Its votes, checked, each with the function's name as `source`."""
        function = _load(self)
        try:
            votes = function(given(evidence))
        except Exception as error:
            raise UserError(
                f"The labeling function {self.reference} failed with {type(error).__name__}: "
                f"{error}; correct it or take it out of weak.user_functions."
            ) from error
        return _checked(votes, self, evidence.images)


def find_functions(references: Sequence[str], taken: Sequence[str]) -> tuple[UserFunction, ...]:
    """The functions that `file.py:function` or `package.module:function` name.

    taken: names that are in use. UserError where one cannot be found or two have one name.
    """
    found: list[UserFunction] = []
    for reference in references:
        function = _find(reference)
        if function.name in [*taken, *(f.name for f in found)]:
            raise UserError(
                f"weak.user_functions: another labeling function is called {function.name!r}; "
                f"rename the one in {reference}."
            )
        _load(function)
        found.append(function)
    return tuple(found)


def given(evidence: Evidence) -> pa.Table:
    """All texts of the evidence as `GIVEN`."""
    own = evidence.role != "keyword"  # the joint row; each keyword stands in `keywords`
    texts = evidence.texts.filter(pa.array(own))
    langs = evidence.langs[own]
    lang = pa.array(langs, pa.string(), mask=langs == "")
    tables = [_given(texts, lang, evidence.weight[own])]
    for table in (evidence.keywords, evidence.comments, evidence.folders):
        weight = np.zeros(table.num_rows)
        weight = evidence.keyword_weight if table is evidence.keywords else weight
        tables.append(_given(table, table["lang"], weight))
    tables += [_addresses(evidence.places, name) for name in ("image_url", "page_url")]
    joined = pa.concat_tables(tables)
    return joined.sort_by([(n, "ascending") for n in ("image", "role", "text")]).combine_chunks()


def _given(texts: pa.Table, lang: pa.Array, weight: np.ndarray) -> pa.Table:
    columns = [texts["image"], texts["role"], texts["text"], lang, pa.array(weight)]
    return pa.table([*columns, texts["page_url"]], schema=GIVEN)


def _addresses(places: pa.Table, name: str) -> pa.Table:
    known = places.filter(places[name].is_valid())
    once = known.group_by(["image", name], use_threads=False).aggregate([("page_url", "min")])
    number = once.num_rows
    columns = [
        once["image"],
        pa.array([name] * number, pa.string()),
        once[name],
        pa.nulls(number, pa.string()),
        pa.array(np.zeros(number)),
        once["page_url_min"],
    ]
    return pa.table(columns, schema=GIVEN)


def _find(reference: str) -> UserFunction:
    place, _, name = reference.rpartition(":")
    if not place or not name.isidentifier():
        raise UserError(
            f"weak.user_functions: {reference!r} names no function: write it as my_labels.py:name "
            "or package.module:name."
        )
    if not place.endswith(".py"):
        return UserFunction(name, reference, _module_source(place, reference), place)
    try:
        source = Path(place).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"weak.user_functions: {place} cannot be read ({type(error).__name__}); paths are "
            "relative to the recipe."
        ) from None
    return UserFunction(name, f"{Path(place).name}:{name}", source)


def _module_source(module: str, reference: str) -> str:
    try:
        return inspect.getsource(importlib.import_module(module))
    except (ImportError, OSError, TypeError, SyntaxError) as error:
        raise UserError(
            f"weak.user_functions: {module} of {reference} cannot be imported ({error}); install "
            "it or name a file ending in .py."
        ) from None


@lru_cache(maxsize=64)
def _load(function: UserFunction) -> Callable[[pa.Table], pa.Table]:
    """The function itself, once a process."""
    if function.module:
        module = importlib.import_module(function.module)
    else:
        module = ModuleType(function.name)
        file = function.reference.rpartition(":")[0]
        try:
            exec(compile(function.source, file, "exec"), module.__dict__)
        except Exception as error:
            raise UserError(
                f"weak.user_functions: {file} cannot be run ({type(error).__name__}: {error}); "
                "correct it."
            ) from error
    found = getattr(module, function.name, None)
    if not callable(found):
        raise UserError(
            f"weak.user_functions: there is no function {function.name} in "
            f"{function.reference.rpartition(':')[0]}; correct the name."
        )
    return found


def _checked(votes: object, function: UserFunction, images: int) -> pa.Table:
    """`VOTES` from what the function returned; UserError where they are none."""
    if not isinstance(votes, pa.Table) or set(votes.column_names) != set(VOTES.names):
        raise _wrong(function, "no table of votes; return what mmcore.weak.voting makes")
    try:
        table = votes.select(VOTES.names).cast(VOTES)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise _wrong(function, f"other types than those of votes ({error})") from None
    if any(table[name].null_count for name in VOTES.names if name not in ("source", "lang")):
        raise _wrong(function, "votes with nulls; leave those rows out")
    image, weight = table["image"].to_numpy(), table["weight"].to_numpy()
    if ((image < 0) | (image >= images)).any():
        raise _wrong(function, "votes on images it was not given")
    if not ((weight > 0) & (weight <= 1)).all():
        raise _wrong(function, "weights outside (0, 1]")
    if not pc.all(_known(table), min_count=0).as_py():
        raise _wrong(function, "votes of an unknown task, fact or feeling")
    name = pa.array([function.name] * table.num_rows, pa.string())
    lang = pc.fill_null(table["lang"], "")
    table = table.set_column(VOTES.names.index("source"), "source", name)
    table = table.set_column(VOTES.names.index("lang"), "lang", lang)
    return table.cast(VOTES)


def _known(votes: pa.Table) -> pa.ChunkedArray:
    """Whether each vote is one of a kind that labels are made of."""
    task, slot, value = votes["task"], votes["slot"], votes["value"]
    fact = pc.match_substring_regex(slot, rf"^(?:{'|'.join(_FACTS)})\|.")
    feeling = pc.and_(pc.equal(slot, "sentiment"), pc.is_in(value, pa.array(LABELS)))
    tag = pc.and_(pc.not_equal(slot, ""), pc.equal(value, "yes"))
    cases = [pc.equal(task, name) for name in _TASKS]
    right = zip(cases, (tag, feeling, fact), strict=True)
    [first, second, third] = [pc.and_(case, fits) for case, fits in right]
    return pc.or_(first, pc.or_(second, third))


def _wrong(function: UserFunction, what: str) -> MmcoreError:
    return UserError(f"The labeling function {function.reference} returned {what}.")
