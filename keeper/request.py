"""The key and the certificate signing request of a daemon. Pure but for the random key.

The key never leaves the Pod. Who judges the request is `dinp certs run`, by the Pod that has
sent it: it ignores the subject, and refuses any name that is not the Pod's.
"""

from __future__ import annotations

import ipaddress
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SIGNER: Final = "dinp.io/docker-server"
_USAGES: Final = ("digital signature", "server auth")
# The API server appends five characters to generateName, and objects' names end at 253.
_LONGEST_PREFIX: Final = 240


@dataclass(frozen=True, slots=True)
class Request:
    """A new private key (PKCS #8, not encrypted) and the request for it, both PEM."""

    key: bytes
    csr: bytes

    def __repr__(self) -> str:
        """Without the key: a repr ends up in logs."""
        return f"Request({self.csr!r})"


def new(pod: str, names: Sequence[str]) -> Request:
    """Make an ECDSA P-256 key, and a request for these DNS names and addresses.

    Raises:
        ValueError: a name is not ASCII.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    # 64 characters is what X.520 allows a commonName.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, pod[:64])])
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(alternatives, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Request(pem, csr.public_bytes(serialization.Encoding.PEM))


def manifest(request: Request, pod: str, lifetime: timedelta | None) -> dict[str, Any]:
    """The CertificateSigningRequest, certificates.k8s.io/v1; without `lifetime` the signer's."""
    spec: dict[str, Any] = {
        "request": b64encode(request.csr).decode(),
        "signerName": SIGNER,
        "usages": list(_USAGES),
    }
    if lifetime is not None:
        spec["expirationSeconds"] = int(lifetime.total_seconds())
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {
            "generateName": f"{f'dinp-docker-{pod}'[:_LONGEST_PREFIX]}-",
            "labels": {"app.kubernetes.io/part-of": "dinp"},
        },
        "spec": spec,
    }


@dataclass(frozen=True, slots=True)
class Refusal:
    """The request will not be signed: condition Denied or Failed."""

    kind: str
    reason: str
    message: str

    def __str__(self) -> str:
        """As a message has it."""
        return f"{self.kind}: {self.reason}: {self.message}"


def answer(found: dict[str, Any]) -> bytes | Refusal | None:
    """What has become of a CertificateSigningRequest; None: nothing yet.

    | conditions | status.certificate | answer |
    |---|---|---|
    | none, or Approved | none | None |
    | Approved | there | its PEM |
    | Denied or Failed | whatever | Refusal |
    """
    status = found.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition.get("type") in ("Denied", "Failed"):
            said = (
                condition.get("reason") or "no reason",
                condition.get("message") or "no message",
            )
            return Refusal(condition["type"], *said)
    certificate = status.get("certificate")
    return b64decode(certificate) if certificate else None


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
