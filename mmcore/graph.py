"""The graph: which stages there are, in which order, and what each is called with.

The command line, the Dagster assets and Ray jobs all run a stage through `run_stage`, so they run
the same code. This is the only module that knows every stage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.errors import MmcoreError, UserError
from mmcore.lake import Dataset, Lake
from mmcore.recipe import Recipe

if TYPE_CHECKING:
    from mmcore.champion import Weights
    from mmcore.dedup.stage_semantic import Eyes
    from mmcore.shards.stage_leakage import Leakage
    from mmcore.train.stage import Follower
    from mmcore.weak.champion import Champion
    from mmcore.weak.stage_bootstrap import Labeler


_SAME_MEANING = 0.95
"""Cosine from which the leakage check reports two embeddings, unless `dedup.semantic` says."""


@dataclass(frozen=True)
class Job:
    """One run of stages: what to do, where to, and for which day."""

    recipe: Recipe
    lake: Lake
    day: str
    """UTC day, `YYYY-MM-DD`."""
    retrain_from_scratch: bool = False
    retry_failed: bool = False
    """Crawl only what failed in the day's last crawl."""
    followers: tuple[Follower, ...] = ()
    """Who else than MLflow follows the training."""

    def __post_init__(self) -> None:
        check_day(self.day)


def check_day(day: str) -> str:
    """The day itself if it is an ISO day, else UserError."""
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise UserError(f"{day!r} is not a day: write it as YYYY-MM-DD.") from None


def today() -> str:
    """Today's UTC day."""
    return datetime.now(UTC).date().isoformat()


def crawl(job: Job) -> Dataset:
    """Fetch pages and images: `crawled`, `outcomes`, `raw`."""
    from mmcore.crawl import stage
    from mmcore.dedup import takedown

    found = job.lake.find(takedown.NAME)
    listed = found.read() if found else takedown.TAKEDOWN.empty_table()
    with served_samplesite(job):
        return stage.run(
            job.lake,
            job.day,
            job.recipe.crawl,
            sources=job.recipe.sources,
            retry_failed=job.retry_failed,
            blocklist=job.recipe.clean.blocklist,
            withdrawn=takedown.withdrawn(listed),
        )


def clean(job: Job) -> Dataset:
    """Decode, normalise and filter: `cleaned`, `normalized`, `texts`."""
    from mmcore.clean import stage

    return stage.run(job.lake, job.day, job.recipe.clean)


def dedup(job: Job) -> Dataset:
    """Cluster duplicates and merge their captions: `deduplicated` and two indexes."""
    from mmcore.clean.images import PixelPolicy
    from mmcore.clean.measure import measure
    from mmcore.dedup import stage
    from mmcore.dedup.stage_protect import Protect

    # Images of evaluation sets are measured as clean measures those of the crawl.
    policy = PixelPolicy(**job.recipe.clean.model_dump(include=set(PixelPolicy.model_fields)))
    protect = Protect(
        tuple(Path(path) for path in job.recipe.protect),
        partial(measure, policy=policy),
        policy.model_dump(mode="json"),
    )
    return stage.run(job.lake, job.day, job.recipe.dedup, protect, _eyes(job))


def tokenizer(job: Job) -> Dataset:
    """Train the tokenizer, or keep the version there is: `tokenizer`."""
    from mmcore.tokenize import stage

    return stage.run_tokenizer(job.lake, job.day, job.recipe.tokenize)


def tokenize(job: Job) -> Dataset:
    """Captions to token ids: `tokenized`."""
    from mmcore.tokenize import stage

    return stage.run(job.lake, job.day, job.recipe.tokenize)


def pairs(job: Job) -> Dataset:
    """Weak labels for the five tasks: `pairs`."""
    from mmcore.weak import stage

    found = _weights(job)
    functions = _functions(job, found)
    labeler = _labeler(job, found)
    config, seed = job.recipe.weak, job.recipe.seed
    return stage.run(job.lake, job.day, config, seed, champion=functions, labeler=labeler)


def shards(job: Job) -> Dataset:
    """WebDataset tars, split by cluster: `shards`."""
    from mmcore.shards import stage

    return stage.run(job.lake, job.day, job.recipe.shards)


def leakage(job: Job) -> Leakage:
    """What of one split of the shards stands in another, up to the job's day."""
    from mmcore import champion
    from mmcore.dedup.bands import near_pairs
    from mmcore.dedup.verify import same_picture
    from mmcore.shards.leakage import Likeness
    from mmcore.shards.stage_leakage import Eyes, find_leaks

    same = job.recipe.dedup

    def verified(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.bool_]:
        limits = same.max_mean_difference, same.max_local_difference
        return same_picture(left, right, *limits)[0]

    near = partial(near_pairs, max_hamming=same.max_hamming, bucket_cap=same.bucket_cap)
    found = _weights(job)
    encode = champion.eyes(found).encode if found else None
    eyes = Eyes(encode, same.semantic or _SAME_MEANING) if encode else None
    return find_leaks(job.lake, job.day, Likeness(near, verified), eyes)


def train(job: Job) -> Dataset:
    """Train a model from scratch or from the champion: `candidate`."""
    from mmcore import registry
    from mmcore.train import stage

    recipe = job.recipe
    tracked = partial(registry.tracked, recipe.registry, job.lake, recipe.name, job.day)
    return stage.run(
        job.lake,
        job.day,
        job.recipe.train,
        seed=job.recipe.seed,
        init_from=None if job.retrain_from_scratch else _start(job),
        run_name=job.recipe.name,
        followers=(tracked, *job.followers),
    )


def evaluate(job: Job) -> Dataset:
    """Score the candidate beside blind guesses and the champion; register it: `evaluation`."""
    from mmcore import registry
    from mmcore.evaluate import stage

    candidate = job.lake.dataset("candidate", job.day)
    evaluation = stage.run(
        job.lake,
        job.day,
        job.recipe.evaluate,
        gold=Path(job.recipe.gold) if job.recipe.gold else None,
        champion=registry.champion_folder(
            job.recipe.registry, job.lake, job.recipe.name, other_than=candidate.digest
        ),
        seed=job.recipe.seed,
    )
    registry.register(job.recipe.registry, job.lake, job.recipe.name, candidate, evaluation)
    return evaluation


def promote(job: Job) -> Dataset:
    """Move the alias `champion` to the candidate; MmcoreError says why if the gate fails."""
    from mmcore import registry

    candidate = job.lake.dataset("candidate", job.day)
    evaluation = job.lake.dataset("evaluation", job.day)
    promotion = registry.promote_if_better(
        job.recipe.registry, job.lake, job.recipe.name, job.recipe.gate, candidate, evaluation
    )
    if not promotion.decision.passed:
        reasons = " ".join(promotion.decision.reasons)
        raise MmcoreError(f"{promotion.version.label} does not become champion: {reasons}")
    return evaluation


STAGES: dict[str, Callable[[Job], Dataset]] = {
    "crawl": crawl,
    "clean": clean,
    "dedup": dedup,
    "tokenizer": tokenizer,
    "tokenize": tokenize,
    "pairs": pairs,
    "shards": shards,
    "train": train,
    "evaluate": evaluate,
    "promote": promote,
}
"""Every stage in the order of the data."""


def check_stage(name: str) -> None:
    """UserError for a name that is no stage."""
    if name not in STAGES:
        raise UserError(f"There is no stage {name!r}: choose all or one of {', '.join(STAGES)}.")


def run_stage(name: str, job: Job) -> Dataset:
    """Run one stage and return its main dataset; UserError for an unknown name."""
    check_stage(name)
    return STAGES[name](job)


def _start(job: Job) -> Path | None:
    """Folder of the champion of the days before the job's, or None while there is none.

    Not the champion of now: a day that is run again must start from where it started before.
    """
    from mmcore import registry

    return registry.champion_folder(job.recipe.registry, job.lake, job.recipe.name, before=job.day)


def _eyes(job: Job) -> Eyes | None:
    """The image encoder of the champion of the days before, where the recipe wants it."""
    from mmcore import champion
    from mmcore.cluster import say

    if job.recipe.dedup.semantic is None:
        return None
    found = _weights(job)
    if found is None:
        say("dedup", f"meaning is not compared: there is no champion of a day before {job.day}")
        return None
    return champion.eyes(found)


def _weights(job: Job) -> Weights | None:
    """The champion of the days before."""
    from mmcore import champion

    return champion.find_champion(job.recipe, job.lake, job.day)


def _functions(job: Job, found: Weights | None) -> Champion | None:
    """The champion as labeling functions, where the recipe wants them."""
    from mmcore import champion
    from mmcore.cluster import say
    from mmcore.weak.champion import NEIGHBOURS, SOURCE

    if not {SOURCE, NEIGHBOURS}.intersection(job.recipe.weak.functions):
        return None
    if found is None:
        say("pairs", f"no model labels: there is no champion of a day before {job.day}")
        return None
    return champion.functions(found)


def _labeler(job: Job, found: Weights | None) -> Labeler | None:
    """The champion as what adds to the labels, and which images the next model is trained on."""
    from mmcore import champion
    from mmcore.weak.stage_bootstrap import Labeler

    if found is None:
        return None
    shards = job.recipe.shards
    splits = shards.val_fraction, shards.test_fraction
    return Labeler(champion.labeler(found), partial(_in_train, *splits), splits)


def _in_train(val: float, test: float, clusters: pa.Array, asked: pa.Array) -> NDArray[np.bool_]:
    from mmcore.shards.splits import assign_splits

    splits = assign_splits(clusters, asked, val, test)
    return pc.equal(splits, "train").to_numpy(zero_copy_only=False)


@contextlib.contextmanager
def served_samplesite(job: Job) -> Iterator[None]:
    """Serve the generated demo site for the block, if the recipe asks for one."""
    settings = job.recipe.samplesite
    if settings is None:
        yield
        return
    from mmcore.samplesite import SiteConfig, serve

    site = SiteConfig(seed=settings.seed, images=settings.images, edition=settings.edition(job.day))
    with serve(site, port=settings.port):
        yield
