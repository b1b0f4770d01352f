"""What the stage reports of a day: the funnel, the labeling functions, what questions give away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.weak.function_statistics import Counts, function_table
from mmcore.weak.question_only import merge_answers, question_only
from mmcore.weak.vocabulary import Vocabulary

_MOST_SHOWN = 200


@dataclass(frozen=True)
class Findings:
    """Counts of one part; sums of counts are counts. answers: `question_only.COUNTS`."""

    labelled: Counter[str]
    functions: Counts
    answers: pa.Table


def count_labels(pairs: pa.Table) -> Counter[str]:
    """How many images have each kind of label, and how many labels there are."""
    counts: Counter[str] = Counter(images=pairs.num_rows)
    for name in ("caption", "sentiment"):
        counts[name] = pairs.num_rows - pairs[name].null_count
    for name in ("qa", "tags"):
        lengths = pc.list_value_length(pairs[name])
        counts[name] = pc.sum(pc.greater(lengths, 0)).as_py() or 0
        counts[f"{name}_labels"] = pc.sum(lengths).as_py() or 0
    counts["sentiment_conflict"] = pc.sum(pairs["sentiment_conflict"]).as_py() or 0
    kinds = pairs["qa"].combine_chunks().flatten().field("type").value_counts().to_pylist()
    return counts + Counter({f"qa_{k['values']}": k["counts"] for k in kinds})


def summarise_day(findings: Sequence[Findings], vocabulary: Vocabulary) -> dict[str, Any]:
    """The metadata of `pairs`."""
    total: Counter[str] = Counter()
    functions: Counts = {}
    for one in findings:
        total += one.labelled
        for name, numbers in one.functions.items():
            functions.setdefault(name, Counter()).update(numbers)
    funnel = {name: total[name] for name in ("images", "caption", "qa", "tags", "sentiment")}
    parents = vocabulary.taxonomy.parents
    return {
        "funnel": funnel,
        "details": {name: n for name, n in sorted(total.items()) if name not in funnel},
        "labeling_functions": function_table(functions, total["images"]),
        "question_only": question_only(merge_answers([one.answers for one in findings])),
        "vocabulary": {
            "images": vocabulary.images,
            "words": len(vocabulary.total),
            "terms": len(vocabulary.terms),
            "tags_below_others": len(parents),
            "synonyms": len(vocabulary.taxonomy.synonyms),
        },
        "tag_parents": {
            child: ", ".join(parents[child]) for child in sorted(parents)[:_MOST_SHOWN]
        },
        "tag_synonyms": dict(sorted(vocabulary.taxonomy.synonyms.items())[:_MOST_SHOWN]),
    }
