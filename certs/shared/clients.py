"""Client certificates of the namespaces that may use shared daemons. Pure.

A namespace has one, in the Secret dinp-client-tls, by the names that Docker's clients want:
ca.pem (the CAs of servers), cert.pem and key.pem. Which namespaces those are is the rule of the
webhook's entries (manifests/base/webhook.yaml); manifests/base/certs-secrets.yaml enforces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from certs import inspection
from certs.authority import KeyPair
from certs.records import Secret

_SHARED: Final = frozenset({"daemonset", "service"})
_MODES: Final = _SHARED | {"sidecar"}
_KEYS: Final = ("ca.pem", "cert.pem", "key.pem")


def is_allowed(labels: Mapping[str, str]) -> bool:
    """Whether Pods of a namespace with these labels may use shared daemons.

    | dinp.io/shared-daemon | dinp.io/inject | dinp.io/migrate | allowed |
    |---|---|---|---|
    | allowed | any | any | yes |
    | else | daemonset, service | any | yes |
    | else | sidecar | any | no |
    | else | else | daemonset, service | yes |
    | else | else | else | no |
    """
    inject, migrate = labels.get("dinp.io/inject"), labels.get("dinp.io/migrate")
    return (
        labels.get("dinp.io/shared-daemon") == "allowed"
        or inject in _SHARED
        or (inject not in _MODES and migrate in _SHARED)
    )


@dataclass(frozen=True, slots=True)
class Authorities:
    """The CA that signs clients' certificates, and the bundle of the CAs of servers, as PEM.

    `known` are the certificates of all CAs of clients.
    """

    client: KeyPair
    servers: bytes
    known: tuple[bytes, ...] = ()


def is_foreign(secret: Secret, authorities: Authorities) -> bool:
    """Whether a Secret without dinp's label holds what would be lost if dinp wrote its keys.

    | ca.pem, cert.pem, key.pem | foreign |
    |---|---|
    | none of them, or all empty | no |
    | cert.pem is of a CA of dinp's: somebody has taken the label away | no |
    | anything else | yes |
    """
    if not any(secret.data.get(key) for key in _KEYS):
        return False
    certificate = secret.data.get("cert.pem", b"")
    return not any(inspection.is_issued_by(certificate, ca) for ca in authorities.known)


def problem(
    secret: Secret, authorities: Authorities, lifetime: timedelta, now: datetime
) -> str | None:
    """Why a namespace needs another certificate; None: what it has is right."""
    pair = KeyPair(secret.data.get("cert.pem", b""), secret.data.get("key.pem", b""))
    if not inspection.is_pair(pair):
        return "damaged"
    if not inspection.is_issued_by(pair.certificate, authorities.client.certificate):
        return "of another CA than the one that signs"
    if secret.data.get("ca.pem") != authorities.servers:
        return "the CAs of servers have changed"
    if inspection.is_of_the_future(pair.certificate, now):
        return "from the future"
    if now >= due_at(pair.certificate, lifetime):
        return "due"
    return None


def due_at(certificate: bytes, lifetime: timedelta) -> datetime:
    """When half of its lifetime is over, or of `lifetime` where that is less.

    Early, because Pods are told late: the kubelet looks once a minute, and a build that begins
    with the old certificate wants to end with it.
    """
    return inspection.issued_at(certificate) + inspection.lifetime(certificate, lifetime) / 2


def data(pair: KeyPair, authorities: Authorities) -> dict[str, bytes]:
    """What the Secret holds."""
    return dict(zip(_KEYS, (authorities.servers, pair.certificate, pair.key), strict=True))
