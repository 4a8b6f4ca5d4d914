"""``/limits`` and ``/limits/recordCount``."""

from typing import Any

from sandbox.salesforce.org import Org
from sandbox.salesforce.store import Store

BYTES_PER_RECORD = 2_048  # the platform charges 2 KB for nearly every record
DATA_STORAGE_MB = 10_240


def limits(org: Org, store: Store) -> dict[str, Any]:
    """API requests, bulk query jobs and data storage are counted; the rest are an org's usual figures, unused."""
    records = sum(store.count(each) for each in store.schema)
    used_mb = records * BYTES_PER_RECORD // 1_048_576
    counted = {
        "DailyApiRequests": (org.settings.api_limit, org.settings.api_limit - org.used),
        "DailyBulkApiBatches": (org.settings.bulk_batches, org.settings.bulk_batches - org.batches),
        "DailyBulkV2QueryJobs": (10_000, 10_000 - org.bulk_jobs),
        "DataStorageMB": (DATA_STORAGE_MB, max(0, DATA_STORAGE_MB - used_mb)),
    }
    unused = {
        "DailyAsyncApexExecutions": 250_000, "DailyBulkV2QueryFileStorageMB": 976_562,
        "DailyStreamingApiEvents": 10_000, "FileStorageMB": 10_240, "HourlyTimeBasedWorkflow": 1_000, "MassEmail": 10,
        "SingleEmail": 15,
    }  # fmt: skip
    figures = {**counted, **{name: (value, value) for name, value in unused.items()}}
    return {name: {"Max": most, "Remaining": left} for name, (most, left) in sorted(figures.items())}


def record_counts(store: Store, names: list[str]) -> dict[str, Any]:
    """Counts of the named objects, or of all; objects without rows are left out, as on the platform."""
    wanted = {name.lower() for name in names}
    counted = [(each.name, store.count(each)) for each in store.schema if not wanted or each.name.lower() in wanted]
    return {"sObjects": [{"count": count, "name": name} for name, count in sorted(counted) if count]}
