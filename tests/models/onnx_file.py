"""An ONNX file written by hand, so that no test needs the library that writes them."""

from __future__ import annotations

from collections.abc import Iterable


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A protobuf message of (field number, value)."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += _varint(number << 3) + _varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | 2) + _varint(len(raw)) + raw
    return out


def _tensor(name: str, shape: Iterable[int | str]) -> bytes:
    dims = [(1, _message((1 if isinstance(d, int) else 2, d))) for d in shape]
    kind = _message((1, _message((1, 1), (2, _message(*dims)))))  # of float32
    return _message((1, name), (2, kind))


def onnx_pooling(patch: int, batch: int | str = "N") -> bytes:
    """An ONNX model: the mean colour of each patch x patch pixels, [N, 3, S, S] -> [N, 3, G, G];
    batch: a number where it is made for so many pictures at a time."""
    attributes = [
        (5, _message((1, name), (8, patch), (8, patch), (20, 7)))
        for name in ("kernel_shape", "strides")
    ]
    node = _message((1, "pixels"), (2, "features"), (4, "AveragePool"), *attributes)
    graph = _message(
        (1, node),
        (2, "pooling"),
        (11, _tensor("pixels", (batch, 3, 32, 32))),
        (12, _tensor("features", (batch, 3, 32 // patch, 32 // patch))),
    )
    return _message((1, 8), (7, graph), (8, _message((1, ""), (2, 13))))
