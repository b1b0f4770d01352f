"""Map a function over a dataset's parts with Ray Data.

One item is one block is one task, results keep the order of the items, and only small results
return to the driver: heavy data goes from storage to storage inside the task. That makes a stage's
output independent of the number of workers and the driver's memory independent of the corpus.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from mmcore.cluster.progress import progress
from mmcore.errors import MmcoreError

T = TypeVar("T")
R = TypeVar("R")


def map_parts(
    fn: Callable[[T], R],
    items: Sequence[T],
    *,
    description: str,
    num_cpus: float = 1,
    unit: str = "rows",
) -> list[R]:
    """`[fn(item) for item in items]` on Ray; `fn` and items must pickle.

    A result with an int `rows` (attribute or key) advances the progress line by it, else by one.
    An MmcoreError raised in a task is raised here as it was; anything else as Ray's error.
    """
    if not items:
        return []
    import ray

    blocks = ray.data.from_items(
        [{"index": i, "item": pickle.dumps(item)} for i, item in enumerate(items)],
        override_num_blocks=len(items),
    )
    results: dict[int, R] = {}
    call: Any = _call  # Ray's type of a batch function knows no further arguments
    mapped = blocks.map_batches(
        call,
        fn_kwargs={"fn": ray.cloudpickle.dumps(fn)},
        batch_size=None,
        batch_format="numpy",
        num_cpus=num_cpus,
    )
    with progress(description, None, unit) as bar:
        for row in mapped.iter_rows():
            result = pickle.loads(row["result"])  # our own worker's answer
            if isinstance(result, MmcoreError):
                raise result
            results[int(row["index"])] = result
            bar.update(_rows(result), f"{len(results)}/{len(items)} parts")
    return [results[index] for index in range(len(items))]


def _call(batch: dict[str, Any], fn: bytes) -> dict[str, Any]:
    work = _function(fn)
    answers = [pickle.dumps(_outcome(work, pickle.loads(item))) for item in batch["item"]]
    return {"index": batch["index"], "result": answers}


@lru_cache(maxsize=1)
def _function(pickled: bytes) -> Callable[[Any], Any]:
    """Once a worker, not once a task: a function carries datasets, which name all their parts."""
    function: Callable[[Any], Any] = pickle.loads(pickled)
    return function


def _outcome(fn: Callable[[Any], Any], item: Any) -> Any:
    """The function's result, or its MmcoreError as a value: raised in the task, Ray would bury the
    one sentence a person needs under its own traces."""
    try:
        return fn(item)
    except MmcoreError as error:
        return error


def _rows(result: Any) -> int:
    rows = result.get("rows") if isinstance(result, dict) else getattr(result, "rows", None)
    return rows if isinstance(rows, int) else 1
