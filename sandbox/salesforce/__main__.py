"""``python -m sandbox.salesforce``: one simulated org or several, served until SIGTERM or Ctrl-C."""

import argparse
import os
import re
import signal
import sys
import threading
from pathlib import Path

import orjson

from sandbox.salesforce.build import Contents
from sandbox.salesforce.org import Settings
from sandbox.salesforce.running import Ready, serve

ORG_KEYS = ("records", "seed", "bad", "api-limit", "data")
_NEXT_KEY = re.compile(rf",(?=(?:{'|'.join(ORG_KEYS)})=)")


def main() -> int:
    """Serve; returns the process's exit code (2 where the data cannot be loaded)."""
    arguments = _parser().parse_args()
    if arguments.attended:
        threading.Thread(target=_end_with_input, name="attendance", daemon=True).start()
    own = {key: getattr(arguments, key.replace("-", "_")) for key in ORG_KEYS}
    try:
        orgs = [_contents({**own, **_read(each)}) for each in arguments.org or ("",)]
        serve(orgs, port=arguments.port, tls=arguments.tls, announce=_announce)
    except ValueError as wrong:
        sys.stderr.write(f"The simulator did not start: {wrong}\n")
        return 2
    return 0


def _end_with_input() -> None:
    """Whoever holds the other end of our input is gone."""
    while os.read(0, 1024):
        continue
    os.kill(os.getpid(), signal.SIGKILL)


def _read(text: str) -> dict[str, str]:
    """``records=200,data=DIR`` by key; raises ValueError."""
    parts = [part.partition("=") for part in _NEXT_KEY.split(text) if part]
    found = {key: value for key, _, value in parts}
    if not set(found) <= set(ORG_KEYS):
        raise ValueError(f"--org {text} is not understood; it is KEY=VALUE,… with the keys {', '.join(ORG_KEYS)}")
    return found


def _contents(given: dict[str, str | int | Path | None]) -> Contents:
    records, seed, bad, limit = (_number(key, given[key]) for key in ORG_KEYS if key != "data")
    data = Path(str(given["data"])) if given["data"] else None
    return Contents(records=records, seed=seed, bad=bad, data=data, settings=Settings(api_limit=limit))


def _number(key: str, value: object) -> int:
    try:
        return int(str(value))
    except ValueError as wrong:
        raise ValueError(f"{key} is a whole number, not “{value}”") from wrong


def _announce(ready: Ready) -> None:
    sys.stdout.buffer.write(orjson.dumps(ready) + b"\n")
    sys.stdout.buffer.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox.salesforce", description="Simulated Salesforce orgs.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 (the default) takes a free one")
    parser.add_argument("--tls", action="store_true", help="serve https with a certificate of a CA made at start")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder with data/ (sObject tree) and objects/ (metadata)"
    )
    parser.add_argument("--records", type=int, default=0, metavar="N", help="generate N related records")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of generated data and of random faults")
    parser.add_argument("--bad", type=int, default=0, metavar="N", help="how many of the generated records are bad")
    parser.add_argument("--api-limit", type=int, default=100_000, metavar="N", help="API requests allowed")
    parser.add_argument(
        "--attended", action="store_true", help="end at once when standard input does: whoever started this is gone"
    )
    parser.add_argument(
        "--org",
        action="append",
        metavar="KEY=VALUE,…",
        help=f"an org of its own at the next port; once for each. Keys: {', '.join(ORG_KEYS)}",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
