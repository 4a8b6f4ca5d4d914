"""Deploying metadata to an org.

Deployments go through simple-salesforce's metadata client; its requests travel by our own HTTP client, so that
addresses are checked, secrets redacted and errors told as everywhere else. Imported where a deployment is made and
nowhere else: the client brings a SOAP stack that takes half a second and 20 MiB, and few processes ever deploy.
Docs: https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/meta_deploy.htm
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import requests
from simple_salesforce.metadata import SfdcMetadataApi

from connectors.clients.salesforce_package import METADATA_VERSION
from connectors.clients.salesforce_soap import client
from connectors.context import Context, Secret
from connectors.errors import SettingsInvalid, Unavailable
from connectors.http import HttpClient

FINAL_STATES: Final = frozenset({"Succeeded", "SucceededPartial", "Failed", "Canceled"})
_DEPLOY_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deployment came to. ``problems`` are sentences of the org's about components, ``tests`` names of Apex
    tests that failed."""

    succeeded: bool
    problems: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()

    def require(self, what: str, *, otherwise: str) -> None:
        """Raises SettingsInvalid where it did not succeed, with the org's reasons and the other way to go."""
        if self.succeeded:
            return
        if self.tests:
            raise SettingsInvalid(
                f"Salesforce did not take {what}, because Apex tests of the org fail ({', '.join(self.tests[:3])}). "
                f"Have them mended, or go another way. {otherwise}"
            )
        said = "; ".join(self.problems[:3]).rstrip(".") or "it gave no reason"
        raise SettingsInvalid(f"Salesforce did not take {what}: {said}. {otherwise}")


class Metadata:
    """Deployments to one org with an administrator's session. Close it when done."""

    def __init__(self, context: Context, base_url: str, session: Secret) -> None:
        self._clock = context.clock
        self._http = client(context, base_url)
        self._http.redact.add(session)
        self._carrier = requests.Session()
        self._carrier.trust_env = False
        for scheme in ("http://", "https://"):
            self._carrier.mount(scheme, _Adapter(self._http))
        url = f"{base_url}/services/Soap/m/{METADATA_VERSION}/"
        self._api = SfdcMetadataApi(self._carrier, session.reveal(), base_url, url, {}, METADATA_VERSION)

    def close(self) -> None:
        self._carrier.close()
        self._http.close()

    def deploy(self, package: bytes) -> Deployed:
        """Deploy a zip as a whole or not at all, and wait for its end. Raises connector errors; Unavailable where it
        takes longer than ten minutes."""
        key, _ = self._api.deploy(io.BytesIO(package), sandbox=False)
        waited = 0.0
        while waited < _DEPLOY_SECONDS:
            state, _, components, tests = self._api.check_deploy_status(key or "")
            if state in FINAL_STATES:
                return Deployed(state == "Succeeded", _problems(components), _named_tests(tests))
            self._clock.sleep(_POLL_SECONDS)
            waited += _POLL_SECONDS
        raise Unavailable(
            f"Salesforce has not finished the deployment {key} after ten minutes. Look there, then try again."
        )


class _Adapter(requests.adapters.BaseAdapter):
    """Carries the metadata client's requests over ours."""

    def __init__(self, http: HttpClient) -> None:
        super().__init__()
        self._http = http

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        kept = {name: str(request.headers[name]) for name in ("Content-Type", "SOAPAction") if name in request.headers}
        answer = self._http.send(
            request.method or "POST", request.url or "", content=cast("bytes", body), headers=kept, repeatable=False
        )
        response = requests.Response()
        response.status_code = answer.status
        response.raw = io.BytesIO(answer.body)
        response.encoding = "utf-8"
        response.url = request.url or ""
        response.request = request
        return response

    def close(self) -> None:
        """The HTTP client is closed by whoever opened it."""


def _problems(components: Mapping[str, Any] | None) -> tuple[str, ...]:
    errors: Sequence[Mapping[str, str]] = (components or {}).get("errors") or ()
    return tuple(f"{error.get('type') or error.get('file')}: {error.get('message')}" for error in errors)


def _named_tests(tests: Mapping[str, Any] | None) -> tuple[str, ...]:
    errors: Sequence[Mapping[str, str]] = (tests or {}).get("errors") or ()
    return tuple(f"{error.get('class')}.{error.get('method')}" for error in errors)
