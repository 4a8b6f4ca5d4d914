"""The application and permission set we make in an org: key pair, certificate, and what is deployed.

Types: https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/meta_externalclientapplication.htm
New connected apps can be made in few orgs since Spring '26; there the old type serves the same purpose.
"""

import datetime as dt
import secrets
import string
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from connectors.clients.salesforce_package import AppKind, Component, Content, package, permission_set, removal
from connectors.context import Secret

KEY_BITS: Final = 2048
VALID: Final = dt.timedelta(days=730)
CONSUMER_KEY_LENGTH: Final = 119
PERMISSIONS: Final = ("ApiEnabled", "ViewSetup", "ViewAllData", "ModifyAllData")
CALLBACK: Final = "https://login.salesforce.com/services/oauth2/success"  # never called: JWT needs no return


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
    said = "What Migration Factory may do here. Take it away to shut it out."
    return package([permission_set(plan.permission_set, f"{plan.label} access", said, {"userPermissions": granted})])


def app_package(plan: AppPlan, permission_set_id: str) -> bytes:
    """The app, admitting holders of the permission set and nobody else."""
    name = plan.name
    if plan.kind is AppKind.CONNECTED:
        whole = Component.whole("connectedApps", "connectedApp", "ConnectedApp", name, _connected(plan))
        return package([whole])
    parent = {"externalClientApplication": name, "label": plan.label}
    application: Content = {
        "contactEmail": plan.contact_email,
        "description": "Made by Migration Factory to move this org's records.",
        "distributionState": "Local",
        "isProtected": "false",
        "label": plan.label,
    }
    shared: Content = {
        "callbackUrl": CALLBACK,
        "certificate": plan.certificate,
        "consumerKey": plan.consumer_key,
        "isConsumerSecretOptional": "true",
        "isPkceRequired": "true",
        **parent,
    }
    policies: Content = {
        "commaSeparatedPermissionSet": permission_set_id,
        "ipRelaxationPolicyType": "Enforce",
        "permittedUsersPolicyType": "AdminApprovedPreAuthorized",
        "refreshTokenPolicyType": "Infinite",
        **parent,
    }
    switches: Content = {"isEnabled": "true", "isOauthPluginEnabled": "true", **parent}
    scopes: Content = {"commaSeparatedOauthScopes": "Api, RefreshToken", **parent}
    made: tuple[tuple[str, str, str, str, Content], ...] = (
        ("externalClientApps", "eca", "ExternalClientApplication", name, application),
        ("extlClntAppOauthSettings", "ecaOauth", "ExtlClntAppOauthSettings", f"{name}_OAuth", scopes),
        ("extlClntAppGlobalOauthSets", "ecaGlblOauth", "ExtlClntAppGlobalOauthSettings", f"{name}_Global", shared),
        (
            "extlClntAppOauthPolicies",
            "ecaOauthPlcy",
            "ExtlClntAppOauthConfigurablePolicies",
            f"{name}_OAuthPolicy",
            policies,
        ),
        ("extlClntAppPolicies", "ecaPlcy", "ExtlClntAppConfigurablePolicies", f"{name}_Policy", switches),
    )
    return package(Component.whole(*each) for each in made)


def removal_package(plan: AppPlan) -> bytes:
    """Takes away the app and the permission set, as far as they are there."""
    kind = "ConnectedApp" if plan.kind is AppKind.CONNECTED else "ExternalClientApplication"
    return removal([(kind, plan.name), ("PermissionSet", plan.permission_set)])


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
