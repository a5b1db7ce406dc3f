"""Client certificates of the namespaces that may use shared daemons. Pure.

A namespace has one, in the Secret dinp-client-tls, by the names that Docker's clients want:
ca.pem (the CAs of servers), cert.pem and key.pem. Which namespaces those are is the rule of the
webhook's entries (manifests/base/webhook.yaml); manifests/base/certs-secrets.yaml enforces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from certs import inspection
from certs.authority import KeyPair
from certs.records import Secret

_SHARED: Final = frozenset({"daemonset", "service"})
_MODES: Final = _SHARED | {"sidecar"}


def is_allowed(namespace: Mapping[str, Any]) -> bool:
    """Whether Pods of a namespace may use shared daemons; one that is ending gets nothing new.

    | dinp.io/shared-daemon | dinp.io/inject | dinp.io/migrate | allowed |
    |---|---|---|---|
    | allowed | any | any | yes |
    | else | daemonset, service | any | yes |
    | else | sidecar | any | no |
    | else | else | daemonset, service | yes |
    | else | else | else | no |
    """
    labels = namespace["metadata"].get("labels") or {}
    inject, migrate = labels.get("dinp.io/inject"), labels.get("dinp.io/migrate")
    return not is_ending(namespace) and (
        labels.get("dinp.io/shared-daemon") == "allowed"
        or inject in _SHARED
        or (inject not in _MODES and migrate in _SHARED)
    )


def is_ending(namespace: Mapping[str, Any]) -> bool:
    """Whether it is about to be gone, with all that is in it."""
    return (namespace.get("status") or {}).get("phase") == "Terminating"


@dataclass(frozen=True, slots=True)
class Authorities:
    """The CA that signs clients' certificates, and the bundle of the CAs of servers, as PEM."""

    client: KeyPair
    servers: bytes


def problem(
    secret: Secret | None, authorities: Authorities, lifetime: timedelta, now: datetime
) -> str | None:
    """Why a namespace needs another certificate; None: what it has is right."""
    if secret is None:
        return "there is none"
    pair = KeyPair(secret.data.get("cert.pem", b""), secret.data.get("key.pem", b""))
    if not inspection.is_pair(pair):
        return "damaged"
    if not inspection.is_issued_by(pair.certificate, authorities.client.certificate):
        return "of another CA than the one that signs"
    if secret.data.get("ca.pem") != authorities.servers:
        return "the CAs of servers have changed"
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
    return {"ca.pem": authorities.servers, "cert.pem": pair.certificate, "key.pem": pair.key}
