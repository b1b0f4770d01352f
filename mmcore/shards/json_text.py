"""Arrow columns as JSON text (RFC 8259), a column at a time instead of a row at a time.

A struct becomes an object with its names sorted, a list an array, null `null`. A number that JSON
cannot write (infinity, not a number) becomes null; 1.0 is written `1`, which JSON does not tell
apart. Text is UTF-8, escaped only where the standard asks for it.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_TEXT = pa.large_string()  # a task's labels may exceed the 2 GiB of a plain string column
_ESCAPED = r'[\x00-\x1f"\\]'
_NULL = pa.scalar("null", _TEXT)


def json_objects(columns: dict[str, pa.Array], verbatim: tuple[str, ...] = ()) -> pa.Array:
    """One JSON object a row: large_string [n].

    columns: arrays of one length. verbatim: columns of text that is JSON already, or null.
    """
    members = {
        name: pc.fill_null(column.cast(_TEXT), _NULL) if name in verbatim else json_values(column)
        for name, column in columns.items()
    }
    return _objects(members)


def json_values(column: pa.Array) -> pa.Array:
    """Every value as JSON text: large_string [n], without nulls."""
    kind = column.type
    if pa.types.is_struct(kind):
        fields = [kind.field(i).name for i in range(kind.num_fields)]
        text = _objects({name: json_values(pc.struct_field(column, name)) for name in fields})
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        text = _arrays(column)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = _strings(column.cast(_TEXT))
    elif pa.types.is_floating(kind):
        finite = pc.if_else(pc.is_finite(column), column, pa.scalar(None, kind))
        text = finite.cast(_TEXT)
    else:  # integers, booleans and nulls are written as Arrow prints them
        text = column.cast(_TEXT)
    return pc.fill_null(pc.if_else(column.is_valid(), text, pa.scalar(None, _TEXT)), _NULL)


def _objects(members: dict[str, pa.Array]) -> pa.Array:
    pieces: list[pa.Array | pa.Scalar] = []
    for i, name in enumerate(sorted(members)):
        label = json.dumps(name, ensure_ascii=False)
        pieces += [pa.scalar(f"{',' if i else '{'}{label}:", _TEXT), members[name]]
    pieces.append(pa.scalar("}" if members else "{}", _TEXT))
    return pc.binary_join_element_wise(*pieces, pa.scalar("", _TEXT))


def _arrays(column: pa.Array) -> pa.Array:
    """Lists as arrays. `flatten` and `list_value_length` see a slice of a column as it is."""
    values = json_values(column.flatten())
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), values)
    inner = pc.binary_join(lists, pa.scalar(",", _TEXT))
    return pc.binary_join_element_wise(
        pa.scalar("[", _TEXT), inner, pa.scalar("]", _TEXT), pa.scalar("", _TEXT)
    )


def _strings(column: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring_regex(column, _ESCAPED)).as_py():
        column = _escaped(column)
    quote = pa.scalar('"', _TEXT)
    return pc.binary_join_element_wise(quote, column, quote, pa.scalar("", _TEXT))


def _escaped(column: pa.Array) -> pa.Array:
    """Backslashes first: the other escapes bring new ones."""
    for character in ("\\", '"', *map(chr, range(32))):
        if pc.any(pc.match_substring(column, character)).as_py():
            escape = json.dumps(character)[1:-1]
            column = pc.replace_substring(column, pattern=character, replacement=escape)
    return column
