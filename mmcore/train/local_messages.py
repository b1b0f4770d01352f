"""Messages between the ranks of one machine: numbers through shared memory, signals by sockets.

gloo sends all of it through the loopback network, which costs a rank that has one core as much as
some layers do: on two cores 7 ms for 9 MB of gradients and 1 to 2 ms for a handful of numbers.

A rank writes its numbers where all can read them, tells the others, and reads theirs once it has
heard of everyone. Two rooms take turns: who writes into a room has heard that all are done with
what stood in it two messages ago. A socket whose other end has gone says so at once, so a rank
that is killed leaves nobody waiting.
"""

from __future__ import annotations

import mmap
import os
import secrets
import socket
import struct
import sys
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from mmcore.errors import MmcoreError

ROOM_BYTES = 16 << 20
"""Of one rank's share of a room; what is longer goes in several turns."""

_SUM, _GATHER = b"+", b"|"
_SAID = 8  # bytes of a signal: kind and length of a message
_CREDENTIALS = struct.Struct("3i")  # process, user and group of a socket's other end


class LocalMessages:
    """Sums and gathers tensors in the host's memory over all ranks, which are on this machine.

    All ranks call the same methods in the same order, with tensors of the same type and length.
    MmcoreError where another rank has ended, or is not heard of for ``patience`` seconds.
    """

    def __init__(self, rank: int, memory: Tensor, others: Sequence[socket.socket]) -> None:
        """memory: uint8 [2 * (world + 1) * ROOM_BYTES], the same on all ranks."""
        self._rank, self._world, self._others = rank, len(others) + 1, others
        self._rooms = memory.view(2, self._world + 1, -1)
        self._turn = 0

    @staticmethod
    def connect(rank: int, world: int, patience: float) -> LocalMessages | None:
        """Meet the others, by way of torch.distributed, which must be initialised; None, on all
        ranks alike, where the system of one of them does not offer what this needs (Linux does)."""
        handle = _new_memory(2 * (world + 1) * ROOM_BYTES) if rank == 0 else None
        able = torch.tensor([handle is not None if rank == 0 else sys.platform == "linux"]).int()
        dist.all_reduce(able, dist.ReduceOp.MIN)
        if not able:
            return None
        token = torch.tensor([secrets.randbits(62) if rank == 0 else 0])
        dist.broadcast(token, 0)
        address = f"\0mmcore-ranks-{int(token):x}-"  # of Linux: no file, nothing to be swept
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.settimeout(patience)
            listener.bind(f"{address}{rank}")
            listener.listen(world)
            dist.barrier()  # all listen
            others = [_call(f"{address}{lower}", patience) for lower in range(rank)]
            others += [_accept(listener, patience) for _ in range(rank + 1, world)]
        memory = _map(_shared(handle, others), 2 * (world + 1) * ROOM_BYTES)
        return LocalMessages(rank, memory, others)

    def close(self) -> None:
        """Part from the others: who waits for this rank is told that it has ended."""
        for other in self._others:
            other.close()

    def sum(self, values: Tensor) -> None:
        """Element-wise sum over the ranks, in their order, in place; the same bits on all."""
        flat = values.reshape(-1)
        for piece in flat.split(self._longest(values)):
            piece.copy_(self.sum_of([piece]))
        if flat.data_ptr() != values.data_ptr():
            values.copy_(flat.view(values.shape))

    def sum_of(self, parts: list[Tensor]) -> Tensor:
        """The sum over the ranks of these flat tensors of one type behind one another, at most
        ROOM_BYTES together. It may be read until the next message."""
        length = sum(part.numel() for part in parts)
        shares, total = self._room(parts[0], length)
        torch.cat(parts, out=shares[self._rank])
        self._meet(_SUM, total.nbytes)
        # each rank sums a part for all
        mine = slice(*(length * r // self._world for r in (self._rank, self._rank + 1)))
        torch.add(shares[0][mine], shares[1][mine], out=total[mine])
        for share in shares[2:]:
            total[mine].add_(share[mine])
        self._meet(_SUM, total.nbytes)
        return total

    def gather(self, values: Tensor) -> list[Tensor]:
        """Everyone's values, by rank."""
        flat = values.reshape(-1)
        found = [torch.empty_like(flat) for _ in range(self._world)]
        step = self._longest(values)
        for start in range(0, len(flat), step):
            piece = flat[start : start + step]
            shares, _ = self._room(piece, len(piece))
            shares[self._rank].copy_(piece)
            self._meet(_GATHER, piece.nbytes)
            for whole, share in zip(found, shares, strict=True):
                whole[start : start + step].copy_(share)
        return [whole.view(values.shape) for whole in found]

    def _longest(self, values: Tensor) -> int:
        return ROOM_BYTES // values.element_size()

    def _room(self, like: Tensor, length: int) -> tuple[list[Tensor], Tensor]:
        """The next room: everyone's share, and one for a result."""
        self._turn = 1 - self._turn
        count = length * like.element_size()
        *shares, total = (part[:count].view(like.dtype) for part in self._rooms[self._turn])
        return shares, total

    def _meet(self, kind: bytes, count: int) -> None:
        """Return once all ranks are here, with the same message of ``count`` bytes. A call of the
        system also keeps what was written before it from being seen after it."""
        said = kind + count.to_bytes(_SAID - 1, "little")
        try:
            for other in self._others:
                other.sendall(said)
            for other in self._others:
                heard = other.recv(_SAID, socket.MSG_WAITALL)
                if not heard:
                    raise MmcoreError("Another worker of the training has ended.")
                if heard != said:
                    raise MmcoreError(f"Workers disagree on a message: {heard!r} and {said!r}.")
        except TimeoutError:
            raise MmcoreError("Another worker of the training is not heard of.") from None
        except OSError as error:
            raise MmcoreError(f"Another worker of the training has ended: {error}.") from None


def _new_memory(size: int) -> int | None:
    """A handle of memory that no file system knows of, so that nothing writes it to a disk."""
    try:
        handle = os.memfd_create("mmcore-ranks")
    except (AttributeError, OSError):  # another system, or one that forbids it
        return None
    os.truncate(handle, size)
    return handle


def _shared(handle: int | None, others: Sequence[socket.socket]) -> int:
    """A handle of the same memory for all ranks: rank 0 has made it and sends it."""
    if handle is None:
        _, [handle], _, _ = socket.recv_fds(others[0], 1, 1)
        return handle
    for other in others:
        socket.send_fds(other, [b"!"], [handle])
    return handle


def _map(handle: int, size: int) -> Tensor:
    """uint8 [size]; the handle is closed."""
    memory = mmap.mmap(handle, size)
    os.close(handle)
    return torch.frombuffer(memory, dtype=torch.uint8)


def _call(address: str, patience: float) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(patience)
    made.connect(address)
    return made


def _accept(listener: socket.socket, patience: float) -> socket.socket:
    """The next rank that calls; other users of the machine, who may call too, are turned away."""
    while True:
        made, _ = listener.accept()
        credentials = made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(credentials)[1] == os.getuid():
            made.settimeout(patience)
            return made
        made.close()
