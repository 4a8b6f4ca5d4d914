"""``manage.py vault_keys``: which keys there are and how much each of them seals."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orgs.sealing import SealedColumn, key_fingerprint, key_ring
from orgs.vault import key_usage


class Command(BaseCommand):
    help = "List the vault's keys by id and fingerprint, and how many values each seals. Never prints a key."

    def handle(self, *args: Any, **options: Any) -> None:
        ring, usage = key_ring(), key_usage()
        for position, (key_id, key) in enumerate(ring.items()):
            role = "seals and opens" if position == 0 else "opens"
            self._write_key(key_id, f"fingerprint {key_fingerprint(key)}, {role}", usage)
        missing = sorted({key_id for counts in usage.values() for key_id in counts} - ring.keys())
        for key_id in missing:
            self._write_key(key_id, "not in the ring", usage)
        if missing:
            raise CommandError(f"Put back the keys that values are still sealed with: {', '.join(missing)}.")

    def _write_key(self, key_id: str, what: str, usage: Mapping[SealedColumn, Counter[str]]) -> None:
        self.stdout.write(f"{key_id}: {what}, {sum(counts[key_id] for counts in usage.values()):,} values")
        for column, counts in usage.items():
            if counts[key_id]:
                self.stdout.write(f"  {column.model}.{column.column}: {counts[key_id]:,}")
