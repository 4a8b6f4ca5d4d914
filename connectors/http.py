"""The one HTTP client: guarded connections, bounded retries, the shared rate budget, errors by meaning.

httpx builds the requests and carries them; its ``Client`` is left out on purpose, because it follows
redirects, keeps cookies, obeys proxy variables and logs whole URLs. Retrying is tenacity's, which, unlike
its wrapper stamina, lets the sleeping go through ``context.clock``.
"""

import io
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Protocol
from urllib.parse import urljoin

import httpx
import orjson
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential_jitter

from connectors.addresses import checked_base_url
from connectors.answers import Answer, Dialect
from connectors.context import Clock, Context, KeepAlive, Secret, Transport
from connectors.errors import (
    AuthenticationFailed,
    BudgetUsedUp,
    ConnectorError,
    ContractChanged,
    RateLimited,
    SettingsInvalid,
    Unavailable,
)
from connectors.redaction import Redactor
from connectors.transport import GuardedTransport, Request, Response, decoded_body, first_bytes, open_transport

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110 §9.2.2
USER_AGENT: Final = "migration-factory/0.1"
ERROR_BODY: Final = 64 * 1024  # bytes of an error's body that are read


class NotReached(Unavailable):
    """No connection was made, so the platform has seen nothing of the request."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request. Times in seconds, sizes in bytes after decompression.

    ``read`` is the longest silence, ``total`` the longest answer. ``patience`` bounds the sleeping of all
    retries of a request together: a longer wait is raised as RateLimited for the engine to show.
    """

    connect: float = 10.0
    read: float = 120.0
    total: float = 600.0
    body: int = 64 * 1024 * 1024
    download: int = 2 * 1024 * 1024 * 1024
    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 30.0
    patience: float = 60.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What proves who we are, on one request: headers, and the base URL the vendor assigned (or blank)."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    base_url: str = ""


@dataclass(frozen=True, slots=True)
class Stream:
    """A request's body that is read while it is sent: its ``size`` in bytes, and its pieces, once more at each try."""

    size: int
    chunks: Callable[[], Iterator[bytes]]


class Auth(Protocol):
    """Where credentials come from; see ``connectors.auth``."""

    def credentials(self) -> Credentials:
        """The present ones; raises AuthenticationFailed where none can be had."""

    def renewed(self, stale: Credentials) -> Credentials | None:
        """Others in place of refused ones, or None where there are no others."""

    def secrets(self) -> tuple[Secret, ...]:
        """Values obtained on the way, for redaction."""


class Anonymous:
    """No credentials."""

    def credentials(self) -> Credentials:
        return Credentials()

    def renewed(self, stale: Credentials) -> Credentials | None:
        del stale
        return None

    def secrets(self) -> tuple[Secret, ...]:
        return ()


class HttpClient:
    """Requests to one platform. ``calls`` counts those that were sent, retries and failures included."""

    def __init__(
        self,
        context: Context,
        base_url: str,
        *,
        system: str,
        auth: Auth | None = None,
        dialect: Dialect | None = None,
        limits: Limits | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.calls = 0
        self.system = f"{system} ({context.name})" if context.name else system
        self.redact = Redactor(context.secrets.values())
        self._base_url = checked_base_url(base_url, system=self.system)
        self._context = context
        self._auth: Auth = auth or Anonymous()
        self._dialect = dialect or Dialect()
        self._limits = limits or Limits()
        self._headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "gzip", **(headers or {})}
        self._transport: Transport = context.network.transport or open_transport(context.network)

    def close(self) -> None:
        """Free the connections. May be called twice; a transport that was passed in stays open."""
        if self._context.network.transport is None and isinstance(self._transport, GuardedTransport):
            self._transport.close()

    def get(
        self, path: str, *, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """GET, repeated while that helps; raises the error the answer means."""
        return self.send("GET", path, params=params, headers=headers)

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        form: Mapping[str, str] | None = None,
        content: bytes | Stream | None = None,
        repeatable: bool | None = None,
        accept: Collection[int] = (),
    ) -> Answer:
        """Send one request and read the answer into memory.

        ``path`` is below the base URL, or an absolute URL of the same origin. ``repeatable`` says that
        sending twice does no harm; without it a POST or PATCH whose answer is lost is not sent again but
        raises Unavailable. Raises what ``connectors.answers`` makes of the answer, but for the statuses to ``accept``,
        whose answers the caller reads.
        """
        body = orjson.dumps(json) if json is not None else content
        extra = {"Content-Type": "application/json"} if json is not None else {}
        draft = _Draft(method.upper(), path, params, {**extra, **(headers or {})}, body, form, repeatable, accept)
        return self._persist(draft, lambda: self._authorised(draft, None))

    def download(
        self,
        path: str,
        into: BinaryIO,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """GET the body into a seekable file, from its present position; the answer's own body is empty.

        An attempt that fails leaves nothing behind: the file is cut back before the next one."""
        draft = _Draft("GET", path, params, dict(headers or {}))
        start = into.tell()

        def attempt() -> Answer:
            into.seek(start)
            into.truncate()
            return self._authorised(draft, into)

        return self._persist(draft, attempt)

    def _persist(self, draft: "_Draft", attempt: Callable[[], Answer]) -> Answer:
        """Repeat ``attempt`` within the limits, sleeping by the context's clock."""
        limits = self._limits
        backoff = wait_exponential_jitter(initial=limits.first_wait, max=limits.longest_wait, jitter=limits.first_wait)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after if isinstance(error, RateLimited) else 0.0
            return max(asked, backoff(state))

        def give_up(state: RetryCallState) -> bool:
            return state.attempt_number >= limits.attempts or state.idle_for + state.upcoming_sleep > limits.patience

        retrying = Retrying(
            sleep=self._context.clock.sleep,
            wait=wait,
            stop=give_up,
            retry=retry_if_exception(draft.may_repeat_after),
            reraise=True,
        )
        return retrying(attempt)

    def _authorised(self, draft: "_Draft", sink: BinaryIO | None) -> Answer:
        """One attempt; a 401 gets the credentials renewed, once."""
        credentials = self._credentials(self._auth.credentials)
        answer = self._exchange(draft, credentials, sink)
        error = self._error(draft, answer)
        if isinstance(error, AuthenticationFailed):
            renewed = self._credentials(lambda: self._auth.renewed(credentials) or credentials)
            if renewed is not credentials:
                answer = self._exchange(draft, renewed, sink)
                error = self._error(draft, answer)
        if error is not None:
            raise draft.outcome_unknown(error, answer)
        return answer

    def _error(self, draft: "_Draft", answer: Answer) -> ConnectorError | None:
        return None if answer.status in draft.accept else self._dialect.error(answer, self._context.clock.now())

    def _credentials(self, obtain: Callable[[], Credentials]) -> Credentials:
        credentials = obtain()
        for secret in self._auth.secrets():
            self.redact.add(secret)
        return credentials

    def _exchange(self, draft: "_Draft", credentials: Credentials, sink: BinaryIO | None) -> Answer:
        """Send once and read the answer, whatever its status."""
        upload = _Upload(draft.content) if isinstance(draft.content, Stream) else None
        request = self._request(draft, credentials, upload)
        label = f"{request.method} {request.url.path}"
        with self._context.budget.request() as keep_alive, _TransportErrors(self.system, label, self.redact):
            self.calls += 1
            if upload is not None:
                upload.keep_alive = keep_alive
            response = self._transport.handle_request(request)
            try:
                body = self._read(response, sink, label, keep_alive)
            finally:
                response.close()
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = Answer(self.system, label, response.status_code, headers, body, self.redact)
        self._observe(answer)
        return answer

    def _request(self, draft: "_Draft", credentials: Credentials, upload: "_Upload | None") -> Request:
        base = checked_base_url(credentials.base_url or self._base_url, system=self.system)
        url = httpx.URL(_within(base, draft.path, self.system))
        limits = self._limits
        length = {"Content-Length": str(upload.stream.size)} if upload is not None else {}
        return Request(
            draft.method,
            url.copy_merge_params(draft.params) if draft.params else url,
            headers={**self._headers, **draft.headers, **credentials.headers, **length},
            content=draft.content if isinstance(draft.content, bytes) else upload,
            data=draft.form,
            extensions={
                "timeout": {
                    "connect": limits.connect, "read": limits.read, "write": limits.read, "pool": limits.connect
                }
            },
        )  # fmt: skip

    def _read(self, response: Response, sink: BinaryIO | None, label: str, keep_alive: KeepAlive) -> bytes:
        """The decoded body, or nothing where it went into ``sink``; bounded in size and time."""
        chunks = decoded_body(response, self._deadline(label, keep_alive), self.system, label)
        if response.status_code >= 300:
            return first_bytes(chunks, ERROR_BODY)
        memory = io.BytesIO()
        limit = self._limits.body if sink is None else self._limits.download
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise ContractChanged(
                    f"{self.system} answered {label} with more than {limit // 2**20} MiB, more than we accept at once."
                )
            (memory if sink is None else sink).write(chunk)
        return memory.getvalue()

    def _deadline(self, label: str, keep_alive: KeepAlive) -> Callable[[], None]:
        """A check that raises once the answer has taken longer than ``Limits.total``, and until then keeps
        its place in the budget."""
        clock: Clock = self._context.clock
        started = clock.now()

        def check() -> None:
            if (clock.now() - started).total_seconds() > self._limits.total:
                raise httpx.ReadTimeout(f"the answer to {label} took longer than {self._limits.total:.0f} s")
            keep_alive()

        return check

    def _observe(self, answer: Answer) -> None:
        quota = self._dialect.read_quota(answer)
        error = self._dialect.error(answer, self._context.clock.now())
        wait = error.retry_after if isinstance(error, RateLimited) else None
        if wait is not None or quota.remaining is not None:
            self._context.budget.observe(
                remaining=quota.remaining, limit=quota.limit, retry_after=wait, daily=quota.daily
            )


@dataclass(frozen=True, slots=True)
class _Draft:
    """A request before it has credentials."""

    method: str
    path: str
    params: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Stream | None = None
    form: Mapping[str, str] | None = None
    repeatable: bool | None = None
    accept: Collection[int] = ()

    @property
    def is_repeatable(self) -> bool:
        return self.method in IDEMPOTENT if self.repeatable is None else self.repeatable

    def may_repeat_after(self, error: BaseException) -> bool:
        """A slowed-down or never-delivered request was not carried out; any other failure leaves that open."""
        if isinstance(error, BudgetUsedUp):
            return False  # the budget has waited as long as a worker may in silence
        if isinstance(error, RateLimited | NotReached):
            return True
        return isinstance(error, Unavailable) and self.is_repeatable

    def outcome_unknown(self, error: Exception, answer: Answer) -> Exception:
        """The error, saying so where nobody can tell whether the request was carried out."""
        if isinstance(error, Unavailable) and not self.is_repeatable:
            return Unavailable(
                _unknown(answer.system, answer.request, f"answered {answer.status}"), detail=answer.detail
            )
        return error


class _Upload:
    """A stream on its way out, which keeps its place in the budget as it goes."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.keep_alive: KeepAlive = lambda: None

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.stream.chunks():
            self.keep_alive()
            yield piece


def _unknown(system: str, label: str, what: str) -> str:
    return (
        f"{system} {what} to {label}; whether it carried out the request is not known. "
        "Look there before it is sent again."
    )


def _within(base: str, path: str, system: str) -> str:
    """The absolute URL; raises ContractChanged where it leaves the base's origin, credentials in hand."""
    url = path if "://" in path else f"{base}/{path.lstrip('/')}"
    if path.startswith("/"):
        url = urljoin(base, path)
    target, origin = httpx.URL(url), httpx.URL(base)
    if (target.scheme, target.host, target.port) != (origin.scheme, origin.host, origin.port):
        raise ContractChanged(
            f"{system} sent us on to {target.host}, another host than {origin.host}; we do not follow."
        )
    return url


class _TransportErrors:
    """Turns httpx's errors into ours. What failed before a connection existed is NotReached."""

    def __init__(self, system: str, label: str, redact: Redactor) -> None:
        self._system, self._label, self._redact = system, label, redact

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if error is None or not isinstance(error, httpx.HTTPError | httpx.InvalidURL | OSError):
            return
        detail = self._redact(f"{self._label}: {type(error).__name__}: {error}")
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise SettingsInvalid(
                f"{self._system} shows a certificate that is not trusted here. Check the org's address; for a private "
                "certificate authority, have its file configured for this installation.",
                detail=detail,
            ) from None
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | OSError):
            raise NotReached(
                f"{self._system} could not be reached for {self._label}. Check the org's address and the network.",
                detail=detail,
            ) from None
        what = (
            "gave no complete answer in time" if isinstance(error, httpx.TimeoutException) else "broke off its answer"
        )
        raise Unavailable(_unknown(self._system, self._label, what), detail=detail) from None
