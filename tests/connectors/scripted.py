"""A transport that plays a script: every request takes the next answer and is kept for inspection."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from connectors.context import Context, KeepAlive, Network, RateBudget, Secret, TokenStore, Unlimited
from connectors.errors import RateLimited
from connectors.testing import VirtualClock
from connectors.transport import Request, Response

Step = Response | Exception | Callable[[Request], Response]


class Script:
    """Answers in order; running out of them fails the test, and so does ``assert_played`` with some left."""

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)
        self.requests: list[Request] = []

    def handle_request(self, request: Request, /) -> Response:
        request.read()
        self.requests.append(request)
        assert self._steps, f"one request too many: {request.method} {request.url}"
        step = self._steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, Response) else step(request)

    def assert_played(self) -> None:
        assert not self._steps, f"{len(self._steps)} answers were never asked for"

    @property
    def asked(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]


class CountingBudget:
    """Counts, keeps what it was told, and can refuse. ``places`` are those held now, ``kept_alive`` counts."""

    def __init__(self, refuse: RateLimited | None = None) -> None:
        self.acquired = 0
        self.places = 0
        self.kept_alive = 0
        self.closed = 0
        self.observed: list[Mapping[str, float | None]] = []
        self._refuse = refuse

    def acquire(self, cost: int = 1) -> None:
        if self._refuse:
            raise self._refuse
        self.acquired += cost

    @contextmanager
    def request(self, cost: int = 1) -> Iterator[KeepAlive]:
        self.acquire(cost)
        self.places += 1
        try:
            yield self._keep_alive
        finally:
            self.places -= 1

    def observe(
        self, *, remaining: int | None, limit: int | None, retry_after: float | None, daily: bool = False
    ) -> None:
        self.observed.append({"remaining": remaining, "limit": limit, "retry_after": retry_after, "daily": daily})

    def close(self) -> None:
        self.closed += 1

    def _keep_alive(self) -> None:
        self.kept_alive += 1


def context_for(
    transport: object,
    *,
    settings: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    budget: RateBudget | None = None,
    tokens: TokenStore | None = None,
    clock: VirtualClock | None = None,
) -> Context:
    hidden = {name: Secret(value) for name, value in (secrets or {}).items()}
    context = Context(
        settings=settings or {},
        secrets=hidden,
        budget=budget or Unlimited(),
        clock=clock or VirtualClock(),
        network=Network(transport=transport),  # type: ignore[arg-type]  # tests pass any shape of transport
    )
    return context if tokens is None else replace(context, tokens=tokens)


def answer(body: object = None, status: int = 200, **headers: str) -> Response:
    """A JSON answer; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, content=json.dumps(body).encode(), headers=named)
