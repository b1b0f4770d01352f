"""What the kept texts are about and where they are from: a summary to judge a day's bias by.

Counts are of images, not of texts. Every part keeps its commonest values only, so a summary of any
number of hosts and words stays small; what is rare in every part may be missing from the tail.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from mmcore.clean.rules import CAPTION_ROLES

NAMES = ("hosts", "concepts")
_PER_PART = 2000
_SHOWN = 50

_HOST = r"^[a-z][a-z0-9+.-]*://(?P<host>[^/?#]*)"
# Words of four and more letters that name nothing, of the languages most captions are in.
_FUNCTION_WORDS = [
    word
    for line in (
        "about above after against along also among another around because been before being below",
        "between both could does down during each every from front have having here into just like",
        "more most much near next only other over same several should some such than that their",
        "them then there these they this those through toward towards under until upon very what",
        "when where which while with within without would your aber alle auch beim dann dass dem",
        "denn diese dieser dieses doch durch eine einem einen einer eines gegen haben hinter ihre",
        "kein mehr nach nicht noch oder ohne sein sich sind über unter vorn wird wurde zwischen",
        "avec dans elle entre leur mais nous pour sans sont sous leurs cette como desde donde esta",
        "este estos para pero sobre todo dalla della delle degli nella sono questa questo come",
        "anche voor naar niet door deze zijn",
    )
    for word in line.split()
]


def count(kept: pa.Table) -> dict[str, dict[str, int]]:
    """Images per host and per concept of TEXTS rows that were kept.

    A concept is a word of four or more letters in an alt text, title or caption, in small letters;
    a host is `-` for files of a folder.
    """
    hosts = pc.struct_field(pc.extract_regex(_array(kept["page_url"]), _HOST), "host")
    hosts = pc.if_else(pc.equal(pc.fill_null(hosts, ""), ""), "-", hosts)
    captions = kept.filter(pc.is_in(kept["role"], pa.array(CAPTION_ROLES)))
    bare = pc.replace_substring_regex(_array(captions["text"]), r"<[A-Z]{2,8}>", " ")
    words = pc.split_pattern_regex(pc.utf8_lower(bare), r"[^\pL\pM]+")
    images = captions["sha256"].take(pc.list_parent_indices(words))
    concepts = pa.table({"image": images, "value": pc.list_flatten(words)})
    concepts = concepts.filter(pc.greater_equal(pc.utf8_length(concepts["value"]), 4))
    named = pc.invert(pc.is_in(concepts["value"], pa.array(_FUNCTION_WORDS)))
    return {
        "hosts": _images(pa.table({"image": kept["sha256"], "value": hosts})),
        "concepts": _images(concepts.filter(named)),
    }


def top(counts: dict[str, int], number: int = _SHOWN) -> dict[str, int]:
    """The commonest values, commonest first, equal ones by name."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ordered[:number])


def _images(found: pa.Table) -> dict[str, int]:
    """In how many images each value occurs, of the commonest."""
    pairs = found.group_by(["image", "value"], use_threads=False).aggregate([])
    counted = pc.value_counts(_array(pairs["value"]))
    values, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
    return top(dict(zip(values, counts, strict=True)), _PER_PART)


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()
