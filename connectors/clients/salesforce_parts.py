"""The parts of a bulk query's result: one after the other, or several downloaded at once and given in their order.

https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/query_get_parallel_job_results.htm

From API version 58.0 on Salesforce cuts a result itself and lists the addresses of its parts, five at a time. They are
downloaded to disk ahead of whoever reads them. Each part names the next one, as it does where they are fetched one by
one; where that is another than the one on the list, the list is left.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, dropwhile, islice
from tempfile import TemporaryFile
from typing import BinaryIO, Final, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

from connectors.ahead import Check, in_order
from connectors.answers import Answer
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import ContractChanged, NotFound
from connectors.pagination import Batch, NextLink, batch_from, follow
from connectors.types import Cursor

AT_ONCE: Final = 4  # downloads; by default an org lets five requests run at once, and one of them is for others
LISTED_SINCE: Final = 58
LISTED_ABOVE: Final = (
    50_000  # records; fewer stand in one part of Salesforce's, and a list of one is a call for nothing
)
RESULT_PART: Final = 10_000  # records of one download where we cut the result
_LIST: Final = NextLink(("nextRecordsUrl",))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part begins: its locator (blank: at the first record), and the address of the list it stands on (blank:
    on none)."""

    locator: str = ""
    listing: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that was downloaded: its CSV, good until the next part is asked for, and the place behind it, None at the
    end. ``announced`` is its number of records, None where Salesforce does not tell."""

    body: BinaryIO
    announced: int | None
    behind: Place | None
    detail: str


class _Listed(NamedTuple):
    """A place, and the address its part is read at."""

    place: Place
    address: str


class Parts:
    """The result of one job that is complete, read by the API version that made the job."""

    def __init__(self, session: SalesforceSession, job: str, version: str) -> None:
        self._session = session
        self._job = job
        self._version = version

    def read(self, place: Place, records: int) -> Iterator[Part]:
        """The parts from ``place`` on, of a result of so many ``records`` (0: nobody knows)."""
        listing = place.listing
        if place == Place() and records > LISTED_ABOVE and float(self._version) >= LISTED_SINCE:
            listing = self._path("resultPages")
        listed = self._listed(place.locator, listing) if listing else iter(())
        first = list(islice(listed, 2))
        if len(first) == 2:
            yield from self._several(chain(first, listed))
        else:
            yield from self._one_by_one(place)

    def _one_by_one(self, place: Place | None) -> Iterator[Part]:
        path = self._path("results")
        with TemporaryFile() as file:
            line = _Line(self._session, file)
            while place is not None:
                locator = {"locator": place.locator} if place.locator else {}
                answer = line.download(path, {"maxRecords": str(RESULT_PART), **locator})
                following = _next_locator(answer)
                if following and following == place.locator:
                    raise ContractChanged(f"Salesforce repeats the part {following} of job {self._job}; stopped.")
                place = Place(following) if following else None
                yield Part(file, _announced(answer), place, answer.detail)

    def _several(self, listed: Iterator[_Listed]) -> Iterator[Part]:
        """Parts of the list, and from where the result goes on otherwise one by one."""
        with closing(in_order(self._tasks(listed), self._apart, at_once=AT_ONCE)) as parts:
            for part in parts:
                yield part
                if part.behind is None or not part.behind.listing:
                    break
        yield from self._one_by_one(part.behind)

    def _tasks(self, listed: Iterator[_Listed]) -> Iterator[Callable[["_Line", Check], Part]]:
        here = next(listed, None)
        while here is not None:
            following = next(listed, None)
            yield partial(_listed_part, here.address, following.place if following else None)
            here = following

    def _listed(self, locator: str, listing: str) -> Iterator[_Listed]:
        """What is listed from ``locator`` (blank: the first part) on; nothing where it is not on the list, and where
        the org keeps none."""

        def fetch(link: Cursor | None) -> Batch:
            return batch_from(self._session.http.get(str(link["link"] if link else listing)), ("resultPages",))

        def listed() -> Iterator[_Listed]:
            address = listing
            for batch, behind in follow(_LIST, fetch, {"link": listing}):
                urls = [str(page.get("resultUrl") or "") for page in batch.records]
                yield from (_Listed(Place(_locator_of(url), address), url) for url in urls)
                address = str(behind["link"]) if behind else ""

        try:
            yield from dropwhile(lambda each: bool(locator) and each.place.locator != locator, listed())
        except NotFound:
            return

    @contextmanager
    def _apart(self) -> Iterator["_Line"]:
        """A session of the same org for another thread; its requests count as this one's."""
        with self._session.context.for_thread() as context, TemporaryFile() as file:
            session = SalesforceSession(context)
            try:
                yield _Line(session, file)
            finally:
                session.close()
                self._session.http.calls += session.http.calls

    def _path(self, resource: str) -> str:
        return self._session.path("jobs", "query", self._job, resource, version=self._version)


@dataclass(frozen=True, slots=True)
class _Line:
    """A session, and the file that the part it downloaded last is in."""

    session: SalesforceSession
    file: BinaryIO

    def download(self, path: str, params: Mapping[str, str], check: Check = lambda: None) -> Answer:
        """Leaves the body in the file, which is at its beginning then."""
        self.file.seek(0)
        sink = cast(BinaryIO, _Watched(self.file, check))
        answer = self.session.http.download(path, sink, params=params, headers={"Accept": "text/csv"})
        self.file.seek(0)
        return answer


def _listed_part(address: str, following: Place | None, line: _Line, check: Check) -> Part:
    """One part of the list, ``following`` being the one behind it there."""
    answer = line.download(address, {}, check)
    told = _next_locator(answer)
    # The end is the list's to tell, whatever a part says: a list that goes on is not cut short.
    behind = Place(told) if told and (following is None or told != following.locator) else following
    return Part(line.file, _announced(answer), behind, answer.detail)


@dataclass(frozen=True, slots=True)
class _Watched:
    """As much of a file as a download needs; writing ends when nobody waits for it any more."""

    file: BinaryIO
    check: Check

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, place: int) -> int:
        return self.file.seek(place)

    def truncate(self) -> int:
        return self.file.truncate()

    def write(self, piece: bytes) -> int:
        self.check()
        return self.file.write(piece)


def _announced(answer: Answer) -> int | None:
    told = answer.header("sforce-numberofrecords")
    return int(told) if told else None


def _locator_of(url: str) -> str:
    """Raises ContractChanged for an address without one: reading could not go on there."""
    found = parse_qs(urlsplit(url).query).get("locator")
    if not found:
        raise ContractChanged(f"Salesforce lists a part of a bulk result without saying where it begins: “{url[:80]}”.")
    return found[0]


def _next_locator(answer: Answer) -> str:
    locator = answer.header("sforce-locator")
    if not locator:
        raise ContractChanged(
            "Salesforce gave a bulk result without Sforce-Locator, so its end is unknown.", detail=answer.detail
        )
    return "" if locator == "null" else locator  # the literal word, says the vendor's guide
