"""Connecting an org in one of the ways its platform offers: by form, by a person's consent, by a set-up.

What a way asks for once is used in the call and stored nowhere: not in the org, not in a log, not in a row.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from django.db.models.functions import Now

from connectors.auth import Consent
from connectors.base import Connector
from connectors.context import Context, Secret
from connectors.errors import ConnectorError
from connectors.redaction import Redactor
from connectors.types import Connection, Flow, Setting, Way
from orgs import services
from orgs.models import AppProvisioning, Customer, Org, OrgStatus
from orgs.validation import Entry, EntryRefused, declared_settings, problems_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entered:
    """What a person filled in for a way, by setting name; blanks may be left out."""

    settings: Mapping[str, str]
    secrets: Mapping[str, str]


def ways_of(platform: str, role: str) -> tuple[Way, ...]:
    """The ways to connect, the recommended one first; none where one form is all there is."""
    return services.connector_classes(platform, role)[0].ways


def way_named(platform: str, role: str, slug: str) -> Way | None:
    return next((way for way in ways_of(platform, role) if way.slug == slug), None)


def asked_for(way: Way, declared: tuple[Setting, ...]) -> tuple[Setting, ...]:
    """The settings a way's form shows: the connector's, required as the way says, then those used once."""
    known = {each.name: each for each in declared}
    stored = tuple(replace(known[name], required=name in _required(way, known)) for name in way.settings)
    return (*stored, *way.one_time)


def connect(
    org: Org | None, way: Way, entered: Entered, *, customer: Customer | None, name: str, platform: str, role: str
) -> Org:
    """Create or change the org with what the way's form gave, and clear what other ways left.

    A consent or a set-up clears only once it has ended well: until then the org stays connected as it was. Raises
    EntryRefused with one sentence per problem.
    """
    declared = declared_settings(services.connector_classes(platform, role))
    once = {each.name for each in way.one_time}
    settings = {key: value for key, value in entered.settings.items() if key not in once}
    secrets = {key: value for key, value in entered.secrets.items() if key not in once and value}
    kept = _kept_secrets(org, way, settings)
    problems = problems_of(asked_for(way, declared), Entry(dict(entered.settings), dict(entered.secrets)), kept)
    if problems:
        raise EntryRefused(problems)
    settings |= _untouched(org, declared, way)
    others = [each.name for each in declared if each.secret and each.name not in way.settings]
    clear = others if org is not None and way.flow is Flow.FORM else []
    if org is not None and way.flow is not Flow.FORM:
        settings = {**org.settings, **settings}
    return services.submit_org(
        org, customer=customer, name=name, platform=platform, role=role, settings=settings, secrets=secrets,
        clear=clear,
    )  # fmt: skip


def start_consent(org: Org, redirect_uri: str) -> Consent:
    """Where to send the person. Raises SettingsInvalid."""
    return _connector(org).start_consent(services.context_of(org), redirect_uri)


def end_consent(org: Org, *, code: Secret, verifier: Secret, redirect_uri: str) -> Org:
    """Store what the consent gave, and check the org with it. Raises connector errors; nothing is stored then."""
    found = _connector(org).end_consent(
        services.context_of(org), code=code, verifier=verifier, redirect_uri=redirect_uri
    )
    return services.check_org(_stored(org, found))


def set_up(org: Org, entered: Entered, *, contact_email: str) -> Org:
    """Make in the org what connects from now on, store that, and check. The org with its new status.

    A refusal is kept with the org's provisioning and raised (connector errors); the org itself stays as it was.
    """
    row, _ = AppProvisioning.objects.update_or_create(
        org=org,
        defaults={
            "state": AppProvisioning.State.RUNNING,
            "step": "",
            "reason": "",
            "started_at": Now(),
            "finished_at": None,
        },
        create_defaults={"app_name": f"Migration_Factory_{org.public_id.hex[:10]}"},
    )
    context = services.context_of(org)
    once = {key: Secret(value) for key, value in entered.secrets.items() if value}
    used = replace(
        context,
        settings={**context.settings, **{key: value for key, value in entered.settings.items() if value}},
        secrets={**context.secrets, **once},
    )
    found = _made(org, used, row.app_name, contact_email)
    org = services.check_org(_stored(org, found))
    note = "" if org.status == OrgStatus.ACTIVE else found.note
    _note(org, state=AppProvisioning.State.DONE, reason=note, finished_at=Now())
    return org


def _made(org: Org, context: Context, app_name: str, contact_email: str) -> Connection:
    def tell(step: str) -> None:
        _note(org, step=step)

    try:
        return _connector(org).set_up(context, name=app_name, contact_email=contact_email, tell=tell)
    except ConnectorError as error:
        redact = Redactor(context.secrets.values())
        log.warning("The set-up of org %s failed: %s %s", org.pk, redact(error.message), redact(error.detail))
        _note(org, state=AppProvisioning.State.FAILED, reason=redact(error.message), finished_at=Now())
        raise


def _stored(org: Org, found: Connection) -> Org:
    declared = declared_settings(services.installed_connectors(org))
    secrets = {name: value.reveal() for name, value in found.secrets.items()}
    clear = [each.name for each in declared if each.secret and each.name not in secrets]
    carried = {name: value for name, value in org.settings.items() if name not in _named_by_ways(org)}
    return services.save_settings(org, {**carried, **found.settings}, secrets, clear=clear)


def _note(org: Org, **changes: object) -> None:
    AppProvisioning.objects.filter(org=org).update(**changes)


def _connector(org: Org) -> type[Connector]:
    return services.connector_classes(org.platform, org.role)[0]


def _named_by_ways(org: Org) -> frozenset[str]:
    return frozenset(name for way in _connector(org).ways for name in way.settings)


def _required(way: Way, known: Mapping[str, Setting]) -> frozenset[str]:
    always = {"login_url"} if "login_url" in way.settings and way.flow is not Flow.FORM else set()
    return frozenset(way.required or [name for name in way.settings if known[name].required]) | always


def _kept_secrets(org: Org | None, way: Way, settings: Mapping[str, str]) -> dict[str, str]:
    """Stored secrets a blank entry keeps: those of this way, as long as they belong to the same app and user."""
    if org is None:
        return {}
    same = all(org.settings.get(name, "") == settings.get(name, "") for name in ("client_id", "username"))
    return {name: value for name, value in org.open_secrets().items() if name in way.settings and same}


def _untouched(org: Org | None, declared: tuple[Setting, ...], way: Way) -> dict[str, str]:
    """Stored plain settings that no way asks for, for instance the API version."""
    if org is None:
        return {}
    named = _named_by_ways(org) | set(way.settings)
    return {
        each.name: org.settings[each.name] for each in declared if each.name not in named and each.name in org.settings
    }
