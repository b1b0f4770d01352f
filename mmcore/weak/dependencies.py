"""Which labeling functions copy each other: agreement beyond what their accuracies explain.

Chance-corrected agreement of functions that err independently is the product of their skills
(Ratner et al. 2019; triplets as in Fu et al. 2020, FlyingSquid). What a pair agrees more is
dependence (Varma et al. 2019), and is taken out of its votes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_ROLES = ("caption", "alt", "title", "heading", "context")
_ROUNDS = 6
_SURE = 4.0  # standard errors
_LEAST_CORRELATION = 0.15
_LEAST_RESIDUAL = 0.03
_LEAST_COMMON = 20  # items that two functions must both have voted on
_LARGEST_SKILL = 0.98


@dataclass(frozen=True)
class Dependencies:
    """skill: float64 [m] in [-1, 1], 0 at chance, NaN where too few functions overlap to tell;
    correlation: float64 [m, m] in [0, 1], of errors, zero diagonal, 0 where none was found."""

    skill: NDArray[np.float64]
    correlation: NDArray[np.float64]

    @classmethod
    def none(cls, functions: int) -> Dependencies:
        return cls(np.full(functions, np.nan), np.zeros((functions, functions)))


def find_dependencies(
    agreed: NDArray[np.float64], common: NDArray[np.float64], classes: float
) -> Dependencies:
    """agreed, common: float64 [m, m], on how many items each pair agrees and both vote; sums over
    parts are sums. classes: how many answers there are."""
    seen = common >= _LEAST_COMMON
    np.fill_diagonal(seen, False)
    share = agreed / np.maximum(common, 1)
    chance = np.where(seen, (classes * share - 1) / (classes - 1), np.nan)
    # of agreement at chance 1/K the corrected value has K - 1 times the spread of a share
    spread = (
        classes
        / (classes - 1)
        * np.sqrt(
            np.maximum(share * (1 - share), 0.25 / np.maximum(common, 1)) / np.maximum(common, 1)
        )
    )
    dependent = np.zeros_like(seen)
    skill = _skills(chance, spread, seen)
    correlation = np.zeros_like(chance)
    for _ in range(_ROUNDS):
        correlation = _correlation(chance, spread, skill, seen)
        found = correlation > 0
        if (found == dependent).all():
            break
        dependent = found
        skill = _skills(chance, spread, seen & ~dependent)
    return Dependencies(skill, correlation)


def known_correlation(
    right: NDArray[np.float64], voted: NDArray[np.float64], count: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Correlation of errors where the answers are known: float64 [m, m] as in `Dependencies`.

    right, voted: [P, m], share of a function's votes that is right, and whether it votes; count:
    [P], items of that pattern.
    """
    both = voted.T @ (voted * count[:, None])
    number = np.maximum(both, 1)
    mine = right.T @ (voted * count[:, None]) / number
    joint = right.T @ (right * count[:, None]) / number
    room = np.sqrt(mine * (1 - mine) * mine.T * (1 - mine.T))
    value = (joint - mine * mine.T) / np.maximum(room, 1e-6)
    found = (both >= _LEAST_COMMON) & (value > _LEAST_CORRELATION)
    found &= value > _SURE / np.sqrt(number)
    np.fill_diagonal(found, False)
    return np.where(found, np.clip(value, 0, 1), 0.0)


def discount(voted: NDArray[np.float64], correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """What one vote of each function counts beside the others: float64 [n, m] in (0, 1].

    voted: [n, m], 1 where a function votes. Two exact copies count half each, as one vote.
    """
    return 1.0 / (1.0 + voted @ correlation)


def _skills(chance: NDArray, spread: NDArray, usable: NDArray) -> NDArray[np.float64]:
    """Skill of each function, the median over triplets (i, j, k) of M_ij M_ik / M_jk: [m]."""
    m = np.where(usable, chance, np.nan)
    clear = np.where(np.abs(m) > 3 * spread, m, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        square = m[:, :, None] * m[:, None, :] / clear[None, :, :]
    size = len(m)
    same = np.eye(size, dtype=bool)
    square[same[:, :, None] | same[:, None, :] | np.broadcast_to(same, square.shape)] = np.nan
    flat = square.reshape(size, -1)
    known = np.isfinite(flat).any(axis=1) if size else np.zeros(0, bool)
    out = np.full(size, np.nan)
    if known.any():
        out[known] = np.sqrt(np.clip(np.nanmedian(flat[known], axis=1), 0, _LARGEST_SKILL**2))
    # the majority is right: a function that mostly contradicts the others is below chance
    against = np.nansum(np.where(usable, chance * _heft(spread), 0.0), axis=1) < 0
    return np.where(against, -out, out)


def _heft(spread: NDArray) -> NDArray[np.float64]:
    return np.asarray(1.0 / np.maximum(spread, 1e-6) ** 2)


def _correlation(
    chance: NDArray, spread: NDArray, skill: NDArray, seen: NDArray
) -> NDArray[np.float64]:
    explained = skill[:, None] * skill[None, :]
    residual = chance - explained
    room = np.sqrt(np.outer(1 - skill**2, 1 - skill**2))
    with np.errstate(invalid="ignore"):
        value = residual / np.maximum(room, 1e-6)
        found = seen & (residual > _SURE * spread) & (residual > _LEAST_RESIDUAL)
        found &= value > _LEAST_CORRELATION
    return np.where(found, np.clip(np.nan_to_num(value), 0, 1), 0.0)


def without_copies(votes: pa.Table, texts: pa.Table) -> pa.Table:
    """The votes (`VOTES`) without those of roles that only repeat another: identical text must not
    count twice.

    texts: columns `image`, `role`, `text`; the functions that read them have the role's name. A
    role all of whose texts about an image stand there under an earlier role of `_ROLES` too, letter
    case, full stops and spaces aside, is taken out.
    """
    rank = pc.fill_null(pc.index_in(texts["role"], pa.array(_ROLES)), len(_ROLES))
    folded = pc.replace_substring_regex(pc.utf8_lower(texts["text"]), r"[\s.]+", " ")
    rows = pa.table(
        {
            "image": texts["image"],
            "role": texts["role"],
            "text": pc.utf8_trim_whitespace(folded),
            "rank": rank,
        }
    )
    first = rows.group_by(["image", "text"], use_threads=False).aggregate([("rank", "min")])
    rows = rows.join(first, ["image", "text"], join_type="inner")
    repeated = pc.cast(pc.greater(rows["rank"], rows["rank_min"]), pa.int8())
    roles = rows.append_column("repeated", repeated).group_by(["image", "role"], use_threads=False)
    copies = roles.aggregate([("repeated", "min")])
    copies = copies.filter(pc.equal(copies["repeated_min"], 1)).select(["image", "role"])
    names = votes.column_names
    left = votes.join(copies, ["image", "source"], ["image", "role"], join_type="left anti")
    return left.select(names).sort_by([(name, "ascending") for name in names])
