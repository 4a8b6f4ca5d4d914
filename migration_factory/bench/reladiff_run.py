"""The library reladiff, in a virtual environment of its own: compare two tables, print one JSON object.

    python reladiff_run.py DATABASE KEY COLUMN,COLUMN… TABLE OTHER_TABLE

DATABASE is the JSON of its connection settings. It chooses its algorithm itself; for two tables of one database
that is the outer join (https://reladiff.readthedocs.io/en/latest/).
"""

import json
import sys
import time
from importlib.metadata import version


def main(database: str, key: str, columns: str, table: str, other: str) -> None:
    from reladiff import connect_to_table, diff_tables  # noqa: PLC0415 - installed in the other environment only

    tables = [connect_to_table(json.loads(database), name, key) for name in (table, other)]
    started = time.perf_counter()
    differences = sum(1 for _ in diff_tables(*tables, key_columns=(key,), extra_columns=tuple(columns.split(","))))
    seconds = time.perf_counter() - started
    sys.stdout.write(json.dumps({"seconds": seconds, "differences": differences, "version": version("reladiff")}))


if __name__ == "__main__":
    main(*sys.argv[1:])
