"""A table as the bytes of a Parquet file, the same for the same table."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

# Text columns shrink five-fold. Bytes are images, which are compressed already: another codec, a
# dictionary or a smallest and largest value of them costs more than writing them.
_COMPRESSION = "zstd"
_BYTES_COMPRESSION = "none"
# Token ids (unsigned integers in lists): high and low bytes apart (Parquet 2.11) are an eighth
# smaller under zstd than a dictionary and written in two thirds of the time.
_IDS_ENCODING = "BYTE_STREAM_SPLIT"
_ROW_GROUP_ROWS = 1024


def parquet_bytes(table: pa.Table) -> bytes:
    """Deterministic Parquet of a table (same pyarrow, same table: same bytes)."""
    leaves = [leaf for field in table.schema for leaf in _leaves(field.name, field.type)]
    others = [path for path, kind in leaves if not _is_bytes(kind)]
    ids = [path for path, kind in leaves if _is_ids(path, kind)]
    sink = pa.BufferOutputStream()  # Arrow's own: ten times faster than writing to a BytesIO
    pq.write_table(
        table.combine_chunks(),
        sink,
        compression={p: _BYTES_COMPRESSION if _is_bytes(k) else _COMPRESSION for p, k in leaves},
        use_dictionary=[path for path in others if path not in ids],
        column_encoding=dict.fromkeys(ids, _IDS_ENCODING),
        write_statistics=others,
        row_group_size=_ROW_GROUP_ROWS,
    )
    return bytes(sink.getvalue())


def _leaves(path: str, kind: pa.DataType) -> list[tuple[str, pa.DataType]]:
    """(path in the Parquet schema, type) of the columns that a field is stored as."""
    if pa.types.is_struct(kind):
        return [leaf for field in kind for leaf in _leaves(f"{path}.{field.name}", field.type)]
    if pa.types.is_map(kind):
        pair = (("key", kind.key_type), ("value", kind.item_type))
        return [leaf for name, of in pair for leaf in _leaves(f"{path}.key_value.{name}", of)]
    if pa.types.is_nested(kind):
        return _leaves(f"{path}.list.element", kind.value_type)
    return [(path, kind)]


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_ids(path: str, kind: pa.DataType) -> bool:
    return path.endswith(".list.element") and bool(pa.types.is_unsigned_integer(kind))
