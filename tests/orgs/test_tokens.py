"""The access token of an org: one renewal for all workers, never a lost or a stale one."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction

from connectors.context import Secret, Token, TokenRenewal
from connectors.errors import AuthenticationFailed, SettingsInvalid
from orgs.models import Org
from orgs.services import save_settings
from orgs.tokens import OrgTokens
from tests.orgs.fakes import CANARY, SETTINGS, make_org

FULL = Token(Secret("access 1"), "https://eu1.example", Secret("refresh 1"), datetime(2026, 1, 2, 3, 4, tzinfo=UTC))


def plain(token: Token | None) -> tuple[str, str, str | None, datetime | None] | None:
    if token is None:
        return None
    return (
        token.access.reveal(),
        token.instance_url,
        token.refresh.reveal() if token.refresh else None,
        token.expires_at,
    )


def giving(token: Token) -> TokenRenewal:
    def renew(current: Token | None) -> Token:
        return token

    return renew


@pytest.mark.django_db
def test_a_token_is_stored_sealed_and_loaded_whole() -> None:
    org = make_org()
    tokens = OrgTokens(org)
    assert tokens.load() is None
    assert tokens.refresh(None, giving(FULL)) is FULL
    assert plain(OrgTokens(org).load()) == plain(FULL)
    bare = Token(Secret("access 2"))
    tokens.refresh(FULL, giving(bare))
    assert plain(tokens.load()) == ("access 2", "", None, None)


@pytest.mark.django_db
def test_renewal_sees_the_stored_token_and_happens_only_for_the_stale_one() -> None:
    tokens = OrgTokens(make_org())
    tokens.refresh(None, giving(FULL))
    seen: list[Token | None] = []

    def renew(current: Token | None) -> Token:
        seen.append(current)
        return Token(Secret("access 2"), refresh=Secret("refresh 2"))

    assert tokens.refresh(Token(Secret("older")), renew).access.reveal() == "access 1"
    assert seen == []
    assert tokens.refresh(tokens.load(), renew).access.reveal() == "access 2"
    assert [plain(each) for each in seen] == [plain(FULL)]


@pytest.mark.django_db
def test_a_failed_renewal_leaves_the_stored_token() -> None:
    tokens = OrgTokens(make_org())
    tokens.refresh(None, giving(FULL))

    def fail(current: Token | None) -> Token:
        raise AuthenticationFailed("The refresh token was revoked.")

    with pytest.raises(AuthenticationFailed):
        tokens.refresh(FULL, fail)
    assert plain(tokens.load()) == plain(FULL)


@pytest.mark.django_db
def test_changed_settings_end_the_use_of_tokens_made_with_the_old_ones() -> None:
    org = make_org()
    tokens = OrgTokens(org)
    tokens.refresh(None, giving(FULL))
    changed = save_settings(org, SETTINGS | {"region": "us"}, {})
    with pytest.raises(SettingsInvalid, match="were changed while it was in use"):
        tokens.load()
    with pytest.raises(SettingsInvalid, match="were changed while it was in use"):
        tokens.refresh(FULL, giving(Token(Secret("of the old password"))))
    assert OrgTokens(changed).load() is None


@pytest.mark.django_db
def test_an_old_token_put_back_into_the_row_is_not_used() -> None:
    org = make_org()
    OrgTokens(org).refresh(None, giving(FULL))
    old = Org.objects.get(pk=org.pk).token
    changed = save_settings(org, SETTINGS | {"region": "us"}, {})
    Org.objects.filter(pk=org.pk).update(token=old)
    assert OrgTokens(changed).load() is None


@pytest.mark.django_db
def test_a_token_from_another_row_is_refused() -> None:
    mine, theirs = make_org("Mine"), make_org("Theirs")
    OrgTokens(theirs).refresh(None, giving(FULL))
    Org.objects.filter(pk=mine.pk).update(token=Org.objects.get(pk=theirs.pk).token)
    with pytest.raises(SettingsInvalid, match="belongs to another row"):
        OrgTokens(mine).load()


@pytest.mark.django_db(transaction=True)
def test_a_renewal_inside_a_transaction_is_refused_before_it_happens() -> None:
    tokens = OrgTokens(make_org())
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        tokens.refresh(None, giving(FULL))
    assert tokens.load() is None


@pytest.mark.django_db(transaction=True)
def test_workers_that_find_the_token_stale_at_once_renew_it_once() -> None:
    org = make_org()
    OrgTokens(org).refresh(None, giving(FULL))
    together = threading.Barrier(6)
    renewals: list[str] = []

    def renew(current: Token | None) -> Token:
        renewals.append(current.refresh.reveal() if current and current.refresh else "")
        return Token(Secret(f"renewed {len(renewals)} {CANARY}"), refresh=Secret("refresh 2"))

    def work(_number: int) -> str:
        try:
            tokens = OrgTokens(org)
            stale = tokens.load()
            together.wait(timeout=10)
            return tokens.refresh(stale, renew).access.reveal()
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        got = set(pool.map(work, range(6)))
    assert renewals == ["refresh 1"]
    assert got == {f"renewed 1 {CANARY}"}


@pytest.mark.django_db(transaction=True)
def test_rows_that_refer_to_the_org_are_written_during_a_renewal() -> None:
    org = make_org()

    def renew(current: Token | None) -> Token:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(write_a_file_row).result(timeout=10)
        return FULL

    def write_a_file_row() -> None:
        try:
            org.files.create(name="a.csv", size=0, sha256="0" * 64)
        finally:
            connection.close()

    OrgTokens(org).refresh(None, renew)
    assert org.files.count() == 1
