"""REST queries: run a plan, cut it into pages, keep the cursors that ``nextRecordsUrl`` points at."""

import copy
import itertools
import re
import threading
import time
from dataclasses import dataclass

from sandbox.salesforce import ids
from sandbox.salesforce.compile import ROOT, Plan, check_filter, compile_query
from sandbox.salesforce.errors import ApiError
from sandbox.salesforce.render import json_row
from sandbox.salesforce.soql import parse
from sandbox.salesforce.store import Store

DEFAULT_PAGE = 2_000
SMALLEST_PAGE = 200
CURSOR_SECONDS = 2 * 24 * 3600
_BATCH_SIZE = re.compile(r"batchSize\s*=\s*(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The rows of a result larger than a page, by row number, in a table of their own."""

    table: str
    plan: Plan
    total: int
    page: int
    opened: float


def page_size(options: str | None) -> int:
    """The page size a ``Sforce-Query-Options`` header asks for, within the platform's bounds."""
    found = _BATCH_SIZE.search(options or "")
    return min(DEFAULT_PAGE, max(SMALLEST_PAGE, int(found.group(1)))) if found else DEFAULT_PAGE


class Queries:
    def __init__(self, store: Store) -> None:
        self.store = store
        self._cursors: dict[str, Cursor] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def acting(self, store: Store) -> "Queries":
        """The same cursors, for a user who sees ``store``."""
        view = copy.copy(self)
        view.store = store
        return view

    def planned(self, soql: str, *, deleted: bool) -> Plan:
        """What a query would do; raises ApiError."""
        tree = parse(soql)
        check_filter(tree, self.store.schema)
        return compile_query(tree, self.store.schema, deleted=deleted)

    def run(self, soql: str, *, version: str, resource: str, page: int, deleted: bool) -> bytes:
        """The first page of a query as response JSON; raises ApiError. ``resource`` is query or queryAll."""
        plan = self.planned(soql, deleted=deleted)
        if plan.count:
            return self._count(plan)
        sql = f"SELECT {json_row(plan, version)} {plan.source}"
        with self.store.read() as connection:
            rows = connection.execute(sql, plan.parameters).fetchmany(page + 1)
        if len(rows) <= page:
            return _body(len(rows), [row[0] for row in rows], None)
        key = self._open(plan, page)
        return self.more(f"{key}-0", version=version, resource=resource)

    def more(self, locator: str, *, version: str, resource: str) -> bytes:
        """The page a locator (``<cursor>-<start>``) names; raises ApiError (INVALID_QUERY_LOCATOR)."""
        key, _, start_text = locator.partition("-")
        cursor = self._cursors.get(key)
        if cursor is None or not start_text.isdigit() or int(start_text) >= cursor.total:
            raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        start = int(start_text)
        end = start + cursor.page
        sql = (
            f"SELECT {json_row(cursor.plan, version)} FROM {cursor.table} AS pick "  # noqa: S608 - schema names only
            f'CROSS JOIN "{cursor.plan.subject.name}" AS {ROOT} ON {ROOT}._row = pick.row{cursor.plan.joins} '
            f"WHERE pick.rowid > ? AND pick.rowid <= ? ORDER BY pick.rowid"
        )
        with self.store.read() as connection:
            rows = connection.execute(sql, (start, end)).fetchall()
        following = _next_url(version, resource, key, end) if end < cursor.total else None
        return _body(cursor.total, [row[0] for row in rows], following)

    def expire(self) -> int:
        """Forget every cursor, as after two days; returns how many there were."""
        with self._lock:
            return self._drop(list(self._cursors))

    def _count(self, plan: Plan) -> bytes:
        sql = f"SELECT COUNT(*) FROM (SELECT 1 {plan.source})"  # noqa: S608 - built from schema names, values bound
        with self.store.read() as connection:
            total = int(connection.execute(sql, plan.parameters).fetchone()[0])
        return _body(total, [], None)

    def _open(self, plan: Plan, page: int) -> str:
        with self._lock:
            oldest = time.monotonic() - CURSOR_SECONDS
            self._drop([key for key, each in self._cursors.items() if each.opened < oldest])
            number = next(self._numbers)
            table = f"_cursor_{number}"
            with self.store.write() as connection:
                connection.execute(f"CREATE TABLE {table} (row INTEGER NOT NULL)")
                sql = f"INSERT INTO {table} SELECT {ROOT}._row {plan.source}"
                total = connection.execute(sql, plan.parameters).rowcount
            key = ids.record_id("0r8", number)
            self._cursors[key] = Cursor(table, plan, total, page, time.monotonic())
            return key

    def _drop(self, keys: list[str]) -> int:
        for key in keys:
            with self.store.write() as connection:
                connection.execute(f"DROP TABLE {self._cursors.pop(key).table}")
        return len(keys)


def _next_url(version: str, resource: str, key: str, start: int) -> str:
    return f"/services/data/v{version}/{resource}/{key}-{start}"


def _body(total: int, records: list[bytes], following: str | None) -> bytes:
    link = f',"nextRecordsUrl":"{following}"' if following else ""
    head = f'{{"totalSize":{total},"done":{"false" if following else "true"}{link},"records":['
    return head.encode() + b",".join(records) + b"]}"
