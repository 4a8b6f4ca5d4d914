"""The rival dlt, in a virtual environment of its own: pages of a REST API merged by key, one JSON object printed.

    python dlt_rest.py [tuned] URL TOKEN PATH QUERY DSN FOLDER

The source is dlt's ``rest_api`` with the paginator for a next link in the body
(https://dlthub.com/docs/dlt-ecosystem/verified-sources/rest_api/basic). As it comes, dlt merges by its default
strategy and in its default format; tuned are the settings of ``dlt_load``. What Salesforce says of each record under
``attributes`` is taken off, since nobody else loads it.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from typing import Any

from dlt_load import (  # type: ignore[import-not-found]  # beside it in the folder: both are run as scripts
    FORMATS,
    STRATEGY,
    advised,
    settings,
)

TABLE = "records"


def main(*rest: str) -> None:
    tuned = rest[0] == "tuned"
    url, token, path, query, dsn, folder = rest[1:] if tuned else rest
    os.environ.update(settings(folder) | (advised() if tuned else {}))
    import dlt  # noqa: PLC0415 - reads its settings when imported
    from dlt.destinations import postgres  # noqa: PLC0415
    from dlt.sources.rest_api import rest_api_source  # noqa: PLC0415

    source = rest_api_source(
        {
            "client": {
                "base_url": url,
                "auth": {"type": "bearer", "token": token},
                "paginator": {"type": "json_link", "next_url_path": "nextRecordsUrl"},
            },
            "resources": [
                {
                    "name": TABLE,
                    "primary_key": "Id",
                    "write_disposition": {"disposition": "merge", "strategy": STRATEGY} if tuned else "merge",
                    "endpoint": {"path": path, "params": {"q": query}, "data_selector": "records"},
                    "processing_steps": [{"map": _bare}],
                }
            ],
        }
    )
    pipeline = dlt.pipeline("bench", destination=postgres(credentials=dsn), dataset_name="loaded", pipelines_dir=folder)
    started = time.perf_counter()
    pipeline.run(source, **({"loader_file_format": FORMATS["rows"]} if tuned else {}))
    seconds = time.perf_counter() - started
    with pipeline.sql_client() as client:
        [[rows]] = client.execute_sql(f"SELECT count(*) FROM {TABLE}")  # noqa: S608 - a name of ours
    sys.stdout.write(json.dumps({"seconds": seconds, "rows": rows, "version": version("dlt")}))


def _bare(record: dict[str, Any]) -> dict[str, Any]:
    record.pop("attributes", None)
    return record


if __name__ == "__main__":
    main(*sys.argv[1:])
