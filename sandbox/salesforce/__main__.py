"""``python -m sandbox.salesforce``: one simulated org, served until SIGTERM or Ctrl-C."""

import argparse
import sys
from pathlib import Path

import orjson

from sandbox.salesforce.build import Contents
from sandbox.salesforce.running import Ready, serve


def main() -> int:
    """Serve; returns the process's exit code (2 where the data cannot be loaded)."""
    arguments = _parser().parse_args()
    contents = Contents(records=arguments.records, seed=arguments.seed, bad=arguments.bad, data=arguments.data)
    contents.settings.api_limit = arguments.api_limit
    try:
        serve(contents, port=arguments.port, tls=arguments.tls, announce=_announce)
    except ValueError as wrong:
        sys.stderr.write(f"The simulator did not start: {wrong}\n")
        return 2
    return 0


def _announce(ready: Ready) -> None:
    sys.stdout.buffer.write(orjson.dumps(ready) + b"\n")
    sys.stdout.buffer.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox.salesforce", description="A simulated Salesforce org.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 (the default) takes a free one")
    parser.add_argument("--tls", action="store_true", help="serve https with a certificate of a CA made at start")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder with data/ (sObject tree) and objects/ (metadata)"
    )
    parser.add_argument("--records", type=int, default=0, metavar="N", help="generate N related records")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of generated data and of random faults")
    parser.add_argument("--bad", type=int, default=0, metavar="N", help="how many of the generated records are bad")
    parser.add_argument("--api-limit", type=int, default=100_000, metavar="N", help="API requests allowed")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
