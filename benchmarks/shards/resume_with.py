"""One rank of a peer that reads some batches and saves its state, or loads it and reads to the end.

    python benchmarks/shards/resume_with.py PEER DATA FOLDER RANK WORLD GLOBAL_BATCH BATCHES PORT

Runs in the peer's environment. With BATCHES > 0 the rank reads so many and rank 0 writes the peer's
own state dict to FOLDER/state; with BATCHES 0 it loads that and reads the rest of the epoch. The
keys it got are the lines of FOLDER/ledger-RANK.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def keys_of(samples: list[dict[str, Any]]) -> list[str]:
    """All that is kept of a batch."""
    return [sample["key"] for sample in samples]


def litdata(data: Path, own_batch: int, state: Any) -> tuple[Any, Any]:
    """(loader, function that gives the state after so many samples of all ranks)."""
    from litdata import StreamingDataLoader, StreamingDataset

    dataset = StreamingDataset(str(data / "litdata"), shuffle=True, seed=0, drop_last=False)
    loader = StreamingDataLoader(dataset, batch_size=own_batch, collate_fn=keys_of)
    if state is not None:
        loader.load_state_dict(state)
    return loader, lambda samples: loader.state_dict()


def mosaicml(data: Path, own_batch: int, state: Any) -> tuple[Any, Any]:
    """The same."""
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    dataset = StreamingDataset(
        local=str(data / "mosaicml"), shuffle=True, batch_size=own_batch, num_canonical_nodes=1
    )
    if state is not None:
        dataset.load_state_dict(state)
    loader = DataLoader(dataset, batch_size=own_batch, collate_fn=keys_of)
    return loader, lambda samples: dataset.state_dict(samples, from_beginning=True)


def main() -> None:
    """Read one rank's part."""
    peer, data, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    rank, world, global_batch, batches, port = map(int, sys.argv[4:])
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(world), "NODE_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=world)
    saved = folder / "state"
    state = torch.load(saved, weights_only=False) if batches == 0 else None
    loader, state_of = {"litdata": litdata, "mosaicml": mosaicml}[peer](
        data, global_batch // world, state
    )
    iterator: Iterator[list[str]] = iter(loader)
    with open(folder / f"ledger-{rank}", "a") as ledger:
        for number, keys in enumerate(iterator, 1):
            ledger.write("".join(f"{key}\n" for key in keys))
            if number == batches:
                if rank == 0:
                    torch.save(state_of(batches * global_batch), saved)
                break
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # workers and threads of the peer do not matter any more


if __name__ == "__main__":
    main()
