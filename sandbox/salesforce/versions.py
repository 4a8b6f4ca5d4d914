"""The API versions an org of November 2026 answers, and what it says of others."""

import re

from sandbox.salesforce.errors import ApiError, not_found

OLDEST, NEWEST = 31, 68
OLDEST_EVER = 7
_VERSION = re.compile(r"(\d+)\.0")


def versions() -> list[dict[str, str]]:
    """What ``GET /services/data`` lists, oldest first."""
    return [
        {"label": label(number), "url": f"/services/data/v{number}.0", "version": f"{number}.0"}
        for number in range(OLDEST, NEWEST + 1)
    ]


def label(number: int) -> str:
    """The release a version came with: three a year, 65 being Winter '26."""
    year, season = divmod(number - 65, 3)
    return f"{('Winter', 'Spring', 'Summer')[season]} '{26 + year:02d}"


def checked(version: str) -> str:
    """The version of a path where it is served; raises ApiError (404, or 410 for retired ones)."""
    match = _VERSION.fullmatch(version)
    if match is None or not OLDEST_EVER <= int(match.group(1)) <= NEWEST:
        raise not_found()
    if int(match.group(1)) < OLDEST:
        raise ApiError(410, "GONE", f"API version {version} is retired. Use version {OLDEST}.0 or later")
    return version
