"""The rival dlt, in a virtual environment of its own: load the file by key, print one JSON object.

    python dlt_load.py rows|arrow [tuned] FILE DSN FOLDER

As it comes, dlt merges by its default strategy, in its default format (for Arrow that of the plain
``dlt[postgres]``, which has no ADBC driver), and takes rows one by one. Tuned are the settings that its own
pages on speed advise (https://dlthub.com/docs/reference/performance,
https://dlthub.com/docs/dlt-ecosystem/destinations/postgres): pages instead of rows, the strategy and the format
that load fastest, as many normalizing processes as there are cores, files small enough to be worked on side by
side.
"""

import csv
import json
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

PAGE_ROWS = 10_000
FILE_ROWS = 100_000
STRATEGY = "upsert"
FORMATS = {"rows": "csv", "arrow": "parquet"}
"""The fastest of those that the destination takes, tried one by one (docs/benchmarks.md)."""
PLAIN_FORMATS = {"rows": "insert_values", "arrow": "csv"}
"""What ``dlt[postgres]`` chooses by itself where the ADBC driver is not installed."""


def main(mode: str, *rest: str) -> None:
    tuned = rest[0] == "tuned"
    file, dsn, folder = rest[1:] if tuned else rest
    os.environ.update(settings(folder) | (advised() if tuned else {}))
    import dlt  # noqa: PLC0415 - reads its settings when imported
    from dlt.destinations import postgres  # noqa: PLC0415

    pages = _rows(Path(file)) if tuned else (record for page in _rows(Path(file)) for record in page)
    records = dlt.resource(
        pages if mode == "rows" else _batches(Path(file)),
        name="accounts",
        primary_key="Id",
        write_disposition={"disposition": "merge", "strategy": STRATEGY} if tuned else "merge",
    )
    pipeline = dlt.pipeline("bench", destination=postgres(credentials=dsn), dataset_name="loaded", pipelines_dir=folder)
    started = time.perf_counter()
    pipeline.run(records, loader_file_format=(FORMATS if tuned else PLAIN_FORMATS)[mode])
    seconds = time.perf_counter() - started
    with pipeline.sql_client() as client:
        [[rows]] = client.execute_sql("SELECT count(*) FROM accounts")
    sys.stdout.write(json.dumps({"seconds": seconds, "rows": rows, "version": version("dlt")}))


def settings(folder: str) -> dict[str, str]:
    return {"DLT_DATA_DIR": folder, "RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}


def advised() -> dict[str, str]:
    cores = str(os.cpu_count() or 1)
    return {
        "DATA_WRITER__BUFFER_MAX_ITEMS": str(PAGE_ROWS),
        "DATA_WRITER__FILE_MAX_ITEMS": str(FILE_ROWS),
        "NORMALIZE__WORKERS": cores,
        "NORMALIZE__START_METHOD": "spawn",
        "LOAD__WORKERS": cores,
    }


def _rows(file: Path) -> Iterator[list[dict[str, Any]]]:
    with file.open(encoding="utf-8", newline="") as lines:
        records = csv.DictReader(lines)
        while page := list(islice(records, PAGE_ROWS)):
            yield page


def _batches(file: Path) -> Iterator[Any]:
    from pyarrow import csv as arrow_csv  # noqa: PLC0415 - only the one mode needs it

    yield from arrow_csv.open_csv(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
