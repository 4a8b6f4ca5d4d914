"""A transport in front of a real platform that spoils chosen answers on their way back, or acts in between."""

from collections.abc import Callable
from dataclasses import dataclass, field

from connectors.context import Transport
from connectors.transport import Request, Response

Chosen = Callable[[Request], bool]


@dataclass
class Tampering:
    """Requests that are ``chosen`` (the first ``times`` of them) run ``before`` and have their body ``changed``.

    ``seen`` keeps every request."""

    inner: Transport
    chosen: Chosen
    changed: Callable[[bytes], bytes] | None = None
    before: Callable[[Request], None] | None = None
    times: int = 1
    seen: list[Request] = field(default_factory=list)

    def handle_request(self, request: Request, /) -> Response:
        request.read()
        self.seen.append(request)
        if self.times <= 0 or not self.chosen(request):
            return self._passed(request)
        self.times -= 1
        if self.before:
            self.before(request)
        answer = self._passed(request)
        if self.changed is None or answer.status_code != 200:
            return answer
        return Response(200, content=self.changed(answer.read()), headers=_plain(answer))

    def _passed(self, request: Request) -> Response:
        answer: Response = self.inner.handle_request(request)
        return answer


def asked(method: str, part: str) -> Chosen:
    """Requests of that method whose path has ``part`` in it."""
    return lambda request: request.method == method and part in request.url.path


def _plain(answer: Response) -> dict[str, str]:
    """The headers of a body that has been decoded."""
    coded = {"content-encoding", "content-length", "transfer-encoding"}
    return {name: value for name, value in answer.headers.items() if name not in coded}
