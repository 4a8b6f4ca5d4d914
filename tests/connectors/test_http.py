"""The HTTP client: what it repeats and what it does not, what every status means, what it refuses to read."""

import gzip
import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime

import httpx
import pytest

from connectors.answers import STATUS_ERRORS, Answer, Dialect, Quota, Rule, retry_after, standard_quota
from connectors.auth import bearer
from connectors.context import Context, Network, Secret
from connectors.errors import (
    AuthenticationFailed,
    BudgetUsedUp,
    ConnectorError,
    ContractChanged,
    NotFound,
    PermissionMissing,
    RateLimited,
    Rejected,
    SettingsInvalid,
    Unavailable,
)
from connectors.http import HttpClient, Limits, NotReached
from connectors.redaction import Redactor
from connectors.testing import VirtualClock
from connectors.transport import MockTransport, Response
from tests.connectors.scripted import CountingBudget, Script, Step, answer, context_for

BASE = "https://api.acme.example/v1"


def client(script: Script, context: Context | None = None, **options: object) -> HttpClient:
    return HttpClient(context or context_for(script), BASE, system="Acme", **options)  # type: ignore[arg-type]


def test_an_answer_is_read_and_counted() -> None:
    script = Script(answer({"a": 1}))
    http = client(script)
    assert http.get("things", params={"q": "x y"}).object() == {"a": 1}
    assert script.asked == ["GET /v1/things?q=x+y"]
    assert http.calls == 1


def test_paths_are_below_the_base_or_from_the_root() -> None:
    script = Script(answer(), answer(), answer())
    http = client(script)
    http.get("things")
    http.get("/other?page=2")
    http.get("https://api.acme.example/next?token=t", params={"size": "5"})
    assert script.asked == ["GET /v1/things", "GET /other?page=2", "GET /next?token=t&size=5"]


@pytest.mark.parametrize(
    "url", ["https://evil.example/x", "http://api.acme.example/x", "https://api.acme.example:444/x", "//evil.example/x"]
)
def test_credentials_never_follow_a_link_to_another_origin(url: str) -> None:
    script = Script()
    with pytest.raises(ContractChanged, match="another host"):
        client(script, auth=bearer(Secret("topsecret"))).get(url)
    assert script.requests == []


@pytest.mark.parametrize(("status", "rule"), sorted(STATUS_ERRORS.items()))
def test_every_status_means_its_error(status: int, rule: Rule) -> None:
    http = client(Script(*[answer({}, status)] * 9), limits=Limits(attempts=1))
    with pytest.raises(rule.error) as caught:
        http.get("things")
    assert f"({status} on GET /v1/things)" in str(caught.value)
    assert f"→ {status}" in caught.value.detail


@pytest.mark.parametrize(
    ("status", "kind"), [(302, SettingsInvalid), (418, ContractChanged), (507, Unavailable), (304, SettingsInvalid)]
)
def test_a_status_without_a_row_is_sorted_by_its_class(status: int, kind: type[ConnectorError]) -> None:
    with pytest.raises(kind):
        client(Script(answer({}, status)), limits=Limits(attempts=1)).get("things")


def test_a_connector_overrides_rows_and_reads_bodies() -> None:
    def read_error(found: Answer, now: datetime) -> ConnectorError | None:
        is_limit = found.json().get("code") == "LIMIT"
        return Rule(RateLimited, "has no requests left", wait=900).build(found, now) if is_limit else None

    dialect = Dialect(errors={404: Rule(PermissionMissing, "hides this")}, read_error=read_error)
    with pytest.raises(PermissionMissing, match="Acme hides this"):
        client(Script(answer({}, 404)), dialect=dialect).get("x")
    with pytest.raises(RateLimited) as caught:
        client(Script(answer({"code": "LIMIT"}, 403)), dialect=dialect).get("x")
    assert caught.value.retry_after == 900


def test_a_rejection_carries_the_status_as_code() -> None:
    with pytest.raises(Rejected) as caught:
        client(Script(answer({}, 422))).send("POST", "x", json={})
    assert caught.value.code == "422"


# --- repeating -----------------------------------------------------------------------------------------------


def test_an_outage_is_outlasted_with_growing_waits() -> None:
    clock = VirtualClock()
    script = Script(answer({}, 503), answer({}, 500), httpx.ReadTimeout("slow"), answer({"ok": True}))
    assert client(script, context_for(script, clock=clock)).get("x").object() == {"ok": True}
    assert len(clock.slept) == 3
    assert clock.slept[0] < clock.slept[2] < 10
    script.assert_played()


def test_a_lasting_outage_ends_after_the_agreed_attempts() -> None:
    script = Script(*[answer({}, 503)] * 9)
    http = client(script, limits=Limits(attempts=4))
    with pytest.raises(Unavailable):
        http.get("x")
    assert http.calls == 4


def test_the_patience_of_all_waits_together_is_bounded() -> None:
    clock = VirtualClock()
    script = Script(*[answer({}, 429, retry_after="25")] * 9)
    with pytest.raises(RateLimited):
        client(script, context_for(script, clock=clock)).get("x")
    assert sum(clock.slept) <= 60
    assert len(script.requests) == 3


@pytest.mark.parametrize(
    "header", ["7", "7.0", format_datetime(datetime(2026, 11, 20, 8, 0, 7, tzinfo=UTC), usegmt=True)]
)
def test_retry_after_is_obeyed_in_both_forms(header: str) -> None:
    clock = VirtualClock(datetime(2026, 11, 20, 8, 0, tzinfo=UTC))
    script = Script(answer({}, 429, retry_after=header), answer({}))
    client(script, context_for(script, clock=clock)).get("x")
    assert clock.slept == [7.0]


def test_a_long_wait_is_raised_at_once() -> None:
    clock = VirtualClock()
    script = Script(answer({}, 429, retry_after="3600"))
    with pytest.raises(RateLimited) as caught:
        client(script, context_for(script, clock=clock)).get("x")
    assert caught.value.retry_after == 3600
    assert clock.slept == []


@pytest.mark.parametrize("text", ["", "soon", "-5", "Fri, 99 Nov 2026"])
def test_an_unreadable_retry_after_is_none(text: str) -> None:
    assert retry_after(text, datetime(2026, 11, 20, tzinfo=UTC)) is None


def test_a_date_in_the_past_or_without_a_zone_still_counts() -> None:
    now = datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert retry_after("Fri, 20 Nov 2026 07:00:00 GMT", now) == 0
    assert retry_after("Fri, 20 Nov 2026 08:00:09 -0000", now) == 9


@pytest.mark.parametrize(
    "step", [httpx.ReadTimeout("x"), httpx.RemoteProtocolError("cut"), answer({}, 500), answer({}, 503)]
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_post_whose_fate_is_unknown_is_not_sent_again(method: str, step: Step) -> None:
    script = Script(step)
    with pytest.raises(Unavailable, match="whether it carried out the request is not known") as caught:
        client(script).send(method, "orders", json={"a": 1})
    assert "Acme" in str(caught.value)
    assert f"{method} /v1/orders" in str(caught.value)


@pytest.mark.parametrize("step", [httpx.ReadTimeout("x"), answer({}, 500)])
def test_a_post_declared_repeatable_is_sent_again(step: Step) -> None:
    script = Script(step, answer({"id": 1}))
    assert client(script).send("POST", "search", json={}, repeatable=True).object() == {"id": 1}


@pytest.mark.parametrize("step", [httpx.ConnectError("refused"), httpx.ConnectTimeout("x"), answer({}, 429)])
def test_a_post_that_was_certainly_not_carried_out_is_sent_again(step: Step) -> None:
    script = Script(step, answer({"id": 1}))
    assert client(script).send("POST", "orders", json={}).object() == {"id": 1}


def test_a_platform_that_cannot_be_reached_is_told() -> None:
    with pytest.raises(NotReached, match="could not be reached"):
        client(Script(*[httpx.ConnectError("no route")] * 5)).get("x")


def test_an_untrusted_certificate_needs_a_person() -> None:
    script = Script(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"))
    with pytest.raises(SettingsInvalid, match="certificate"):
        client(script).get("x")


def test_bodies_are_sent_as_json_or_as_a_form() -> None:
    script = Script(answer(), answer())
    http = client(script)
    http.send("POST", "x", json={"ä": 1})
    http.send("POST", "x", form={"a": "b c"})
    assert script.requests[0].content == '{"ä":1}'.encode()
    assert script.requests[0].headers["content-type"] == "application/json"
    assert script.requests[1].content == b"a=b+c"


# --- the rate budget -------------------------------------------------------------------------------------------


def test_every_request_takes_from_the_budget_and_reports_back() -> None:
    budget = CountingBudget()
    script = Script(answer({}, 429, retry_after="2"), answer({}, x_ratelimit_remaining="41", x_ratelimit_limit="100"))
    client(script, context_for(script, budget=budget)).get("x")
    assert budget.acquired == 2
    assert budget.observed == [
        {"remaining": None, "limit": None, "retry_after": 2.0, "daily": False},
        {"remaining": 41, "limit": 100, "retry_after": None, "daily": False},
    ]


def test_a_budget_that_says_wait_long_stops_before_sending() -> None:
    script = Script()
    budget = CountingBudget(refuse=BudgetUsedUp("quiet hours", retry_after=7))
    clock = VirtualClock()
    with pytest.raises(BudgetUsedUp, match="quiet hours"):
        client(script, context_for(script, budget=budget, clock=clock)).get("x")
    assert script.requests == []
    assert clock.slept == []


@pytest.mark.parametrize("step", [answer({"a": 1}), answer({}, 400), httpx.ReadError("gone")])
def test_a_place_is_held_for_the_life_of_a_request_however_it_ends(step: Step) -> None:
    budget = CountingBudget()
    held: list[int] = []

    def look(request: httpx.Request) -> Response:
        held.append(budget.places)
        if isinstance(step, Exception):
            raise step
        assert isinstance(step, Response)
        return step

    script = Script(look)
    with suppress(ConnectorError):
        client(script, context_for(script, budget=budget)).send("POST", "x")
    assert (held, budget.places) == ([1], 0)


def test_an_answer_that_takes_long_to_arrive_keeps_its_place() -> None:
    budget = CountingBudget()
    script = Script(Response(200, content=iter([b"[1,", b"2,", b"3]"])))
    assert client(script, context_for(script, budget=budget)).get("x").json() == [1, 2, 3]
    assert budget.kept_alive == 3


def test_sentences_tell_one_org_of_a_platform_from_another() -> None:
    script = Script(answer({}, 403))
    with pytest.raises(PermissionMissing, match=r"^Acme \(Production of Blue Ltd\) does not permit this"):
        client(script, replace(context_for(script), name="Production of Blue Ltd")).get("x")


@pytest.mark.parametrize(
    ("headers", "quota"),
    [({"ratelimit-remaining": "3", "ratelimit-limit": "9"}, Quota(3, 9)), ({"x-ratelimit-remaining": "many"}, Quota())],
)
def test_standard_limit_headers_are_read(headers: dict[str, str], quota: Quota) -> None:
    assert standard_quota(Answer("Acme", "GET /x", 200, headers, b"", Redactor())) == quota


# --- credentials -----------------------------------------------------------------------------------------------


def test_a_fixed_credential_that_is_refused_is_final() -> None:
    script = Script(answer({}, 401))
    with pytest.raises(AuthenticationFailed):
        client(script, auth=bearer(Secret("abcdefgh"))).get("x")
    assert script.requests[0].headers["authorization"] == "Bearer abcdefgh"


# --- answers that are not what they claim ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!doctype html><title>Log in</title>", "a web page"),
        (b'{"records": [1, 2, }', "truncated JSON"),
        (b"", "nothing"),
        (b'{"a": NaN}', "broken"),
        (b"\xff\xfe\x00", "broken"),
        (b"[" * 100_000, "broken"),
    ],
)
def test_a_body_that_is_not_json_is_told(body: bytes, words: str) -> None:
    with pytest.raises(ContractChanged, match=words):
        client(Script(Response(200, content=body))).get("x").json()


@pytest.mark.parametrize("body", [b'{"records": [1, 2', b'[{"a": "b', b"["])
def test_an_answer_that_broke_off_is_asked_for_again(body: bytes) -> None:
    """Its length was right, so that no transport noticed: a proxy gave up in the middle."""
    with pytest.raises(Unavailable, match="broke off in the middle of its answer to GET /v1/x"):
        client(Script(Response(200, content=body))).get("x").json()


def test_fractions_stay_exact() -> None:
    found = client(Script(Response(200, content=b'{"n": 9999999999999999.99}'))).get("x").object()
    assert str(found["n"]) == "9999999999999999.99"


def test_something_other_than_an_object_is_told() -> None:
    with pytest.raises(ContractChanged, match="other than an object"):
        client(Script(answer([1]))).get("x").object()


def test_a_body_shorter_than_announced_is_asked_for_again() -> None:
    cut = Response(200, content=b'{"a"', headers={"content-length": "8"})
    assert client(Script(cut, answer({"a": 1}))).get("x").object() == {"a": 1}


def test_gzip_is_read_and_a_cut_gzip_is_not_taken_for_whole() -> None:
    packed = gzip.compress(b'{"a": 1}' + b" " * 5_000)
    bodies = (packed[:-9], b"not gzip at all", packed + packed, packed)
    script = Script(*[_raw(200, body, {"content-encoding": "gzip"}) for body in bodies])
    assert client(script).get("x").object() == {"a": 1}
    script.assert_played()


def test_a_decompression_bomb_is_stopped_at_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    with pytest.raises(ContractChanged, match="more than 1 MiB"):
        client(Script(_raw(200, bomb, {"content-encoding": "gzip"})), limits=Limits(body=2**20)).get("x")


def test_an_error_page_that_cannot_be_unpacked_still_means_its_status() -> None:
    broken = _raw(403, b"not gzip at all", {"content-encoding": "gzip"})
    with pytest.raises(PermissionMissing):
        client(Script(broken)).get("x")


def test_an_unknown_encoding_is_told() -> None:
    with pytest.raises(ContractChanged, match="zstd"):
        client(Script(_raw(200, b"xx", {"content-encoding": "zstd"}))).get("x")


def test_an_answer_that_trickles_is_given_up() -> None:
    clock = VirtualClock()

    class Trickle(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                clock.sleep(50)
                yield b"."

    script = Script(Response(200, stream=Trickle()))
    with pytest.raises(Unavailable, match="no complete answer in time"):
        client(script, context_for(script, clock=clock), limits=Limits(attempts=1)).get("x")


def test_a_huge_error_page_is_read_in_part() -> None:
    with pytest.raises(Unavailable) as caught:
        client(Script(Response(503, content=b"x" * 10_000_000)), limits=Limits(attempts=1)).get("x")
    assert len(caught.value.detail) < 1_000


# --- downloads -------------------------------------------------------------------------------------------------


def test_a_download_streams_into_the_file_and_starts_over_after_a_cut() -> None:
    file = io.BytesIO()
    file.write(b"before|")
    cut = Response(200, content=b"half", headers={"content-length": "10"})
    whole = Response(200, content=b"whole body", headers={"sforce-locator": "null"})
    found = client(Script(cut, whole)).download("results", file)
    assert file.getvalue() == b"before|whole body"
    assert found.body == b""
    assert found.header("Sforce-Locator") == "null"


def test_an_error_during_a_download_leaves_the_file_alone() -> None:
    file = io.BytesIO()
    with pytest.raises(NotFound):
        client(Script(answer({"why": "gone"}, 404))).download("results", file)
    assert file.getvalue() == b""


def test_a_download_is_bounded() -> None:
    with pytest.raises(ContractChanged, match="more than 1 MiB"):
        client(Script(Response(200, content=b"x" * 2**21)), limits=Limits(download=2**20)).download("x", io.BytesIO())


# --- secrets ---------------------------------------------------------------------------------------------------


def test_no_secret_leaves_in_an_error_or_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secret = 'hün"ter2 secret&value'

    def echo(request: httpx.Request) -> Response:
        sent = f"{request.url} {request.headers!r} {request.headers['authorization']} {request.content.decode()}"
        return Response(400, text=f"{sent} {secret}")

    script = Script(echo)
    http = client(script, context_for(script, secrets={"key": secret}), auth=bearer(Secret("token-0123456789")))
    with pytest.raises(ContractChanged) as caught:
        http.send("POST", "x", params={"code": "param-secret"}, json={"password": secret})
    for text in (str(caught.value), caught.value.detail, caplog.text, repr(http), repr(vars(http))):
        for hidden in (secret, "ter2", "token-0123456789", "param-secret"):
            assert hidden not in text


# --- where we connect ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["ftp://x.example", "x.example", "https://", "https://u:p@x.example", "https://x.example/?a=1",
            "https://x.example/#f", "https://x .example", "https://x.example:99999", "file:///etc/passwd", "https://a\\b"],
)  # fmt: skip
def test_a_base_url_is_plain_http(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="Acme"):
        HttpClient(context_for(Script()), url, system="Acme")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_loopback_is_refused_unless_the_installation_allows_it(host: str) -> None:
    http = HttpClient(Context(clock=VirtualClock()), f"https://{host}:1", system="Acme")
    with pytest.raises(SettingsInvalid, match="private or reserved network"):
        http.get("x")
    http.close()


def test_plain_http_is_refused_outside_allowed_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("93.184.216.34", 80))])
    http = HttpClient(Context(clock=VirtualClock()), "http://acme.example", system="Acme")
    with pytest.raises(SettingsInvalid, match="unencrypted"):
        http.get("x")
    http.close()


def test_a_host_that_does_not_resolve_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    http = HttpClient(Context(clock=VirtualClock()), "https://acme.example", system="Acme")
    with pytest.raises(NotReached):
        http.get("x")
    http.close()


def test_a_bad_certificate_file_is_told() -> None:
    context = replace(Context(), network=Network(ca_file=__file__))
    with pytest.raises(SettingsInvalid, match="certificate file"):
        HttpClient(context, BASE, system="Acme")


def test_an_injected_transport_may_be_httpx_own() -> None:
    transport = MockTransport(lambda _: Response(200, json={"a": 1}))
    assert HttpClient(context_for(transport), BASE, system="Acme").get("x").object() == {"a": 1}


class _Stream(httpx.SyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self._body


def _raw(status: int, body: bytes, headers: dict[str, str]) -> Response:
    """An answer whose body httpx has not decoded yet, as from a real connection."""
    return Response(status, stream=_Stream(body), headers=headers)
