"""`python -m mmcore.samplesite`: serve a sample site until Ctrl-C, or write its truth."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

import pyarrow.parquet as pq

from mmcore.errors import UserError
from mmcore.samplesite.config import SiteConfig
from mmcore.samplesite.server import run_server
from mmcore.samplesite.truth import truth, write_gold


def _parser() -> argparse.ArgumentParser:
    default = SiteConfig()
    parser = argparse.ArgumentParser(prog="python -m mmcore.samplesite", description=__doc__)
    parser.add_argument("--images", type=int, default=default.images, help="distinct images")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--edition", type=int, default=1, help="1, or 2 for the day after")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--slow-seconds", type=float, default=default.slow_seconds)
    parser.add_argument("--stall-seconds", type=float, default=default.stall_seconds)
    parser.add_argument(
        "--truth", type=Path, metavar="FILE", help="write the truth (.parquet) or gold (.jsonl)"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


def _write_truth(config: SiteConfig, base_url: str, path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(truth(config, base_url), path)
    else:
        write_gold(config, base_url, path)


def _serve(options: argparse.Namespace) -> None:
    config = SiteConfig(
        options.seed, options.images, options.edition, options.slow_seconds, options.stall_seconds
    )
    if options.truth and options.truth.suffix not in (".parquet", ".jsonl"):
        raise UserError(f"--truth {options.truth} must end in .parquet or .jsonl.")

    def ready(base_url: str) -> None:
        if options.truth:
            _write_truth(config, base_url, options.truth)
        text = json.dumps({"base_url": base_url}) if options.child else f"Serving {base_url}/"
        print(text, flush=True)

    serving = run_server(config, options.host, options.port, ready=ready, child=options.child)
    asyncio.run(serving)


def main() -> int:
    """Run the command; 0 after Ctrl-C, 2 for a mistake in the options."""
    options = _parser().parse_args()
    # A shell's background job inherits a SIGINT that is ignored; being asked to end must work.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _serve(options)
    except KeyboardInterrupt:
        return 0
    except UserError as error:
        if options.child:
            print(json.dumps({"error": str(error)}), flush=True)
        else:
            print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
