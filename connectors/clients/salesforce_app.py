"""The application and permission set we make in an org: key pair, certificate, and the files of a deployment.

Types: https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/meta_externalclientapplication.htm
New connected apps can be made in few orgs since Spring '26; there the old type serves the same purpose.
"""

import datetime as dt
import io
import secrets
import string
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from connectors.clients.salesforce_soap import METADATA_VERSION
from connectors.context import Secret

KEY_BITS: Final = 2048
VALID: Final = dt.timedelta(days=730)
CONSUMER_KEY_LENGTH: Final = 119
PERMISSIONS: Final = ("ApiEnabled", "ViewSetup", "ViewAllData", "ModifyAllData")
CALLBACK: Final = "https://login.salesforce.com/services/oauth2/success"  # never called: JWT needs no return

Content: TypeAlias = "Mapping[str, str | Sequence[str] | Content | Sequence[Content]]"


class AppKind(StrEnum):
    EXTERNAL = "external"
    CONNECTED = "connected"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key and its self-signed certificate, both PEM; ``expires_at`` is the certificate's end."""

    private_key: Secret
    certificate: str
    expires_at: dt.datetime


def new_consumer_key() -> str:
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(CONSUMER_KEY_LENGTH))


@dataclass(frozen=True, slots=True)
class AppPlan:
    """What is to be made. ``name`` is the app's and the beginning of every other name."""

    kind: AppKind
    name: str
    label: str
    contact_email: str
    certificate: str
    consumer_key: str = field(default_factory=new_consumer_key)

    @property
    def permission_set(self) -> str:
        return f"{self.name}_Access"


def new_key_pair(common_name: str, now: dt.datetime) -> KeyPair:
    """An RSA key and a certificate for it, good for two years from ``now``."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - dt.timedelta(days=1),
        not_valid_after=now + VALID,
    )
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(Secret(private.decode()), certificate.decode(), now + VALID)


def permission_set_package(plan: AppPlan) -> bytes:
    """The permission set alone: the app's policy names it by the id it gets."""
    granted: list[Content] = [{"enabled": "true", "name": name} for name in PERMISSIONS]
    content: Content = {
        "description": "What Migration Factory may do here. Take it away to shut it out.",
        "label": f"{plan.label} access",
        "userPermissions": granted,
    }
    path = f"permissionsets/{plan.permission_set}.permissionset"
    return _zipped({path: ("PermissionSet", plan.permission_set, content)})


def app_package(plan: AppPlan, permission_set_id: str) -> bytes:
    """The app, admitting holders of the permission set and nobody else."""
    if plan.kind is AppKind.CONNECTED:
        return _zipped({f"connectedApps/{plan.name}.connectedApp": ("ConnectedApp", plan.name, _connected(plan))})
    parent = {"externalClientApplication": plan.name, "label": plan.label}
    files: dict[str, tuple[str, str, Content]] = {
        f"externalClientApps/{plan.name}.eca": (
            "ExternalClientApplication",
            plan.name,
            {
                "contactEmail": plan.contact_email,
                "description": "Made by Migration Factory to move this org's records.",
                "distributionState": "Local",
                "isProtected": "false",
                "label": plan.label,
            },
        ),
        f"extlClntAppOauthSettings/{plan.name}_OAuth.ecaOauth": (
            "ExtlClntAppOauthSettings",
            f"{plan.name}_OAuth",
            {"commaSeparatedOauthScopes": "Api, RefreshToken", **parent},
        ),
        f"extlClntAppGlobalOauthSets/{plan.name}_Global.ecaGlblOauth": (
            "ExtlClntAppGlobalOauthSettings",
            f"{plan.name}_Global",
            {
                "callbackUrl": CALLBACK,
                "certificate": plan.certificate,
                "consumerKey": plan.consumer_key,
                "isConsumerSecretOptional": "true",
                "isPkceRequired": "true",
                **parent,
            },
        ),
        f"extlClntAppOauthPolicies/{plan.name}_OAuthPolicy.ecaOauthPlcy": (
            "ExtlClntAppOauthConfigurablePolicies",
            f"{plan.name}_OAuthPolicy",
            {
                "commaSeparatedPermissionSet": permission_set_id,
                "ipRelaxationPolicyType": "Enforce",
                "permittedUsersPolicyType": "AdminApprovedPreAuthorized",
                "refreshTokenPolicyType": "Infinite",
                **parent,
            },
        ),
        f"extlClntAppPolicies/{plan.name}_Policy.ecaPlcy": (
            "ExtlClntAppConfigurablePolicies",
            f"{plan.name}_Policy",
            {"isEnabled": "true", "isOauthPluginEnabled": "true", **parent},
        ),
    }
    return _zipped(files)


def removal_package(plan: AppPlan) -> bytes:
    """Takes away the app and the permission set, as far as they are there."""
    kind = "ConnectedApp" if plan.kind is AppKind.CONNECTED else "ExternalClientApplication"
    types: list[Content] = [
        {"members": plan.name, "name": kind},
        {"members": plan.permission_set, "name": "PermissionSet"},
    ]
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("package.xml", _document("Package", {"version": METADATA_VERSION}))
        archive.writestr("destructiveChanges.xml", _document("Package", {"types": types}))
    return written.getvalue()


def _connected(plan: AppPlan) -> Content:
    return {
        "contactEmail": plan.contact_email,
        "description": "Made by Migration Factory to move this org's records.",
        "label": plan.label,
        "oauthConfig": {
            "callbackUrl": CALLBACK,
            "certificate": plan.certificate,
            "consumerKey": plan.consumer_key,
            "isAdminApproved": "true",
            "scopes": ["Api", "RefreshToken"],
        },
        "oauthPolicy": {"ipRelaxation": "ENFORCE", "refreshTokenPolicy": "infinite"},
        "permissionSetName": plan.permission_set,
    }


def _zipped(files: Mapping[str, tuple[str, str, Content]]) -> bytes:
    """A package of these components: path → type, full name and content."""
    types: list[Content] = [{"members": name, "name": kind} for kind, name, _ in files.values()]
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("package.xml", _document("Package", {"types": types, "version": METADATA_VERSION}))
        for path, (kind, _, content) in files.items():
            archive.writestr(path, _document(kind, content))
    return written.getvalue()


def _document(kind: str, content: Content) -> str:
    inner = "".join(_element(name, value) for name, value in content.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{kind} xmlns="http://soap.sforce.com/2006/04/metadata">{inner}</{kind}>'


def _element(name: str, value: "str | Sequence[str] | Content | Sequence[Content]") -> str:
    if isinstance(value, str):
        return f"<{name}>{escape(value)}</{name}>"
    if isinstance(value, Mapping):
        return f"<{name}>{''.join(_element(each, inner) for each, inner in value.items())}</{name}>"
    return "".join(_element(name, each) for each in value)
