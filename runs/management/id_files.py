"""Files of source ids, one a line, as commands take them."""

from pathlib import Path

from django.core.management.base import CommandError

MOST_IDS = 10_000
LONGEST_ID = 400
"""Characters."""


def ids_of(name: str) -> tuple[str, ...]:
    """The ids of the file, each once. Raises CommandError where it is no such file, or one of too many."""
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The file {name} cannot be read as text; write an id per line. ({error})") from error
    ids = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not ids:
        raise CommandError(f"The file {name} names no record; write an id per line.")
    if len(ids) > MOST_IDS:
        raise CommandError(f"The file {name} names {len(ids):,} records; name {MOST_IDS:,} at most at a time.")
    odd = next((each for each in ids if len(each) > LONGEST_ID or "\0" in each), "")
    if odd:
        raise CommandError(f"The file {name} has a line that is no id, beginning “{odd[:40]}”; write an id per line.")
    return ids
