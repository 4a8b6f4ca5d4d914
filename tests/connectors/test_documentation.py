"""The connector in docs/connectors.md is real: it keeps the contract as it stands there."""

import re
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from connectors.base import Source
from connectors.context import Context, Network, Secret
from connectors.testing import HttpContract, SourceContract, VirtualClock
from connectors.transport import MockTransport, Request, Response

GUIDE = Path(__file__).parents[2] / "docs" / "connectors.md"
CUSTOMERS = [
    {"id": n, "name": f"Customer {n}", "balance": n + 0.5, "owner": None, "updated": 1_767_225_600 + n * 86_400}
    for n in range(1, 6)
]  # one a day from 2026-01-02


def documented() -> type[Source]:
    found = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert found, "the guide shows a connector"
    module = ModuleType("documented")
    exec(compile(found[1], str(GUIDE), "exec"), module.__dict__)  # noqa: S102 - our own guide's code is under test
    source = module.AcmeSource
    assert isinstance(source, type)
    assert issubclass(source, Source)
    return source


def platform(request: Request, *, hole: bool = False, circle: bool = False) -> Response:
    """Acme: two customers a page, the token is the next position."""
    if request.headers.get("x-api-key") != "test-key-123":
        return Response(401, json={"code": "bad_key"})
    if request.url.path == "/v2/me":
        return Response(200, json={"company": "Acme Ltd"})
    params = request.url.params
    chosen = [one for one in CUSTOMERS if int(str(one["updated"])) >= int(params.get("updated_since", "0"))]
    at = int(params.get("cursor", "0").rstrip("h"))
    if hole and at == 2 and not params["cursor"].endswith("h"):
        return Response(200, json={"items": [], "paging": {"next": "2h"}})
    paging = {"next": "2" if circle else str(at + 2)} if at + 2 < len(chosen) else {}
    return Response(200, json={"items": chosen[at : at + 2], "paging": paging})


def context_of(**faults: bool) -> Context:
    return Context(
        settings={"base_url": "https://acme.example"},
        secrets={"api_key": Secret("test-key-123")},
        network=Network(transport=MockTransport(lambda request: platform(request, **faults))),
        clock=VirtualClock(),
    )


class TestTheDocumentedConnector(HttpContract, SourceContract):
    connector = documented()
    entity = "customers"
    since = datetime(2026, 1, 5, tzinfo=UTC)
    since_ids = frozenset({"4", "5"})

    @pytest.fixture
    def context(self) -> Context:
        return context_of()

    @pytest.fixture
    def empty_middle_page(self) -> Context:
        return context_of(hole=True)

    @pytest.fixture
    def repeated_token(self) -> Context:
        return context_of(circle=True)
