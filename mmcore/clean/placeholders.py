"""Files that stand under many URLs: "no picture available", spacers, logos with a changing address.

Crawl wrote a row per URL with the digest of what it gave, so they are found by counting, without
another look at an image. Counts are summed over parts of `outcomes`, leaving out files that a part
has once: those are nearly all, and what reaches the driver stays small. A count is therefore a
lower bound; a host's URLs lie together, and so does its placeholder.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

URLS = pa.schema([("sha256", pa.string()), ("urls", pa.int64())])
FEWEST = 8  # below, nobody asks


def repeated(outcomes: pa.Table) -> pa.Table:
    """URLS of the files that one part of `outcomes` (`kind, reason, sha256`) has more than once."""
    image = pc.and_(pc.equal(outcomes["kind"], "image"), pc.equal(outcomes["reason"], "ok"))
    counts = pc.value_counts(outcomes["sha256"].filter(image).drop_null())
    table = pa.table([counts.field("values"), counts.field("counts")], schema=URLS)
    return table.filter(pc.greater(table["urls"], 1))


def many_urls(parts: Sequence[pa.Table]) -> pa.Table:
    """URLS of the files that at least 8 URLs gave, by `sha256`."""
    every = pa.concat_tables([URLS.empty_table(), *parts])
    total = every.group_by("sha256").aggregate([("urls", "sum")])
    table = pa.table([total["sha256"], total["urls_sum"]], schema=URLS)
    return table.filter(pc.greater_equal(table["urls"], FEWEST)).sort_by("sha256")


def with_urls(measured: pa.Table, urls: pa.Table) -> pa.Table:
    """`measured` with `urls` (int64): how many URLs gave this file, null for fewer than 8."""
    place = pc.index_in(measured["sha256"], value_set=urls["sha256"])
    counts = urls["urls"].take(place.combine_chunks())
    return measured.append_column(URLS.field("urls"), counts)
