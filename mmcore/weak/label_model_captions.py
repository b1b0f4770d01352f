"""How likely each text is right about its picture, so that the likeliest can be its caption.

The texts of an image are rivals: those that name the same things stand together, and the label
model of topics (label_model_topics.py) says which group speaks of the picture, knowing how often
each role does. A text's probability is its group's; of texts that name no thing it knows nothing.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcore.weak.evidence import Evidence
from mmcore.weak.facts import MOST_WEIGHT
from mmcore.weak.label_model_fit import SpaceModel, topic_beliefs
from mmcore.weak.label_model_topics import TOPIC, topic_groups


def caption_beliefs(
    votes: pa.Table, evidence: Evidence, models: dict[str, SpaceModel]
) -> NDArray[np.float64]:
    """Probability that each of `evidence.texts` speaks of its picture: float64 [n], NaN unknown."""
    texts = evidence.texts
    known = np.full(texts.num_rows, np.nan)
    if TOPIC not in models:
        return known
    groups = topic_groups(votes)
    keys = ["image", "source", "weight", "group"]
    groups = groups.group_by(keys, use_threads=False).aggregate([])
    groups = groups.append_column("value", pc.cast(groups["group"], pa.string()))
    sure = groups.join(topic_beliefs(votes, models), ["image", "value"], join_type="inner")
    weight = np.minimum(evidence.weight, MOST_WEIGHT)
    at = pc.index_in(
        _key(texts["image"], texts["role"], pa.array(weight)),
        _key(sure["image"], sure["source"], sure["weight"]).combine_chunks(),
    )
    found = at.is_valid().to_numpy(zero_copy_only=False)
    known[found] = sure["believed"].to_numpy()[at.drop_null().to_numpy()]
    return known


def _key(image: pa.Array, source: pa.Array, weight: pa.Array) -> pa.ChunkedArray:
    number, size = pc.cast(image, pa.string()), pc.cast(weight, pa.string())
    joined = pc.binary_join_element_wise(number, source, size, "\n")
    return joined if isinstance(joined, pa.ChunkedArray) else pa.chunked_array([joined])
