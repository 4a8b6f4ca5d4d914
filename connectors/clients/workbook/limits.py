"""The limits a file must keep, each with its unit; beyond one, reading stops with a sentence."""

KIB = 1024
MIB = 1024 * KIB

BLOCK_BYTES = 5 * MIB
"""Bytes of a text file parsed at once; peak memory is a small multiple of it."""

COUNTED_BYTES = 32 * MIB
"""Bytes of a text file up to which its records are counted beforehand; of a larger one that would take
seconds in which it could as well be loaded."""

MAX_RECORD_BYTES = 16 * MIB
"""Bytes of one CSV record. Salesforce's longest text field holds 131,072 characters; a longer record
means a quotation mark that is never closed."""

MAX_COLUMNS = 1_600
"""Columns of one entity: PostgreSQL's own limit for a table."""

INFERENCE_BYTES = 10 * MIB
"""Bytes of a text file looked at to advise field types. Smaller files are looked at whole."""

MAX_JSON_BYTES = 32 * MIB
"""Bytes of one JSON file, which is parsed whole (about ten times its size in memory)."""

MAX_JSON_TOTAL_BYTES = 64 * MIB
"""Bytes of all JSON record files together."""

MAX_METADATA_BYTES = 2 * MIB
"""Bytes of one Salesforce metadata file."""

MAX_NUMBER_DIGITS = 400
"""Digits a JSON number may need when written out; the largest double needs 309."""

MAX_ARCHIVE_ENTRIES = 5_000
"""Files in one zip."""

MAX_ARCHIVE_BYTES = 8 * 1024 * MIB
"""Bytes of all files of a zip together, unpacked."""

MAX_ARCHIVE_RATIO = 200
"""Unpacked bytes per packed byte of one file in a zip. Real exports stay below 50."""

RATIO_FLOOR_BYTES = 16 * MIB
"""Unpacked size below which the ratio does not matter: so little harms nobody."""

MAX_XLSX_BYTES = 128 * MIB
"""Bytes of an Excel workbook as it lies on disk."""

MAX_XLSX_ENTRIES = 2_000
"""Parts of one Excel workbook."""

MAX_XLSX_UNPACKED_BYTES = 512 * MIB
"""Bytes of all parts of an Excel workbook together, unpacked."""

MAX_SHEET_ROWS = 1_048_576
"""Rows of one sheet: Excel's own limit
(https://support.microsoft.com/en-us/office/excel-specifications-and-limits-1672b34d-7043-467e-8e27-269d656771c3)."""

XLSX_MEMORY_BYTES = 2 * 1024 * MIB
"""Address space of the child process that converts a workbook."""

XLSX_SECONDS = 120
"""Processor seconds, and wall-clock seconds, of that child process."""
