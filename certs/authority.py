"""Issue a certificate authority, and leaf certificates by it. Pure: names, now and lifetime come in.

Keys are ECDSA P-256: a handshake costs 0.01 ms, where RSA-2048 costs 54. The fields are those
that RFC 5280 asks for, written out by name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Clocks of nodes differ: a certificate has to be valid on those that are behind, too. Ten
# minutes are what certs promises to bear; what an API server refuses is "not yet valid" at once.
BACKDATE: Final = timedelta(minutes=15)

_NO_USAGE: Final = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}
# What excludes every IP address: permitting DNS names alone says nothing of addresses
# (RFC 5280, 4.2.1.10: each form of name has restrictions of its own).
_EVERY_ADDRESS: Final = tuple(
    x509.IPAddress(ipaddress.ip_network(network)) for network in ("0.0.0.0/0", "::/0")
)


class Usage(Enum):
    """What a leaf certificate is for."""

    SERVER = ExtendedKeyUsageOID.SERVER_AUTH
    CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, both PEM; the key as PKCS #8, not encrypted."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        """Without the key: a repr ends up in logs."""
        return f"KeyPair({self.certificate!r})"


@dataclass(frozen=True, slots=True)
class Leaf:
    """Who a leaf certificate is for: its commonName, its key, its DNS names and addresses."""

    name: str
    public_key: CertificatePublicKeyTypes
    names: tuple[str, ...] = ()


def issue_ca(
    name: str, *, now: datetime, lifetime: timedelta, permitted: Sequence[str] = ()
) -> KeyPair:
    """Issue a self-signed certificate authority that signs leaf certificates only.

    `permitted` narrows what it can vouch for: DNS names (with all names below them) and
    networks such as 10.0.0.0/8. Without a network among them no address is permitted.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(subject, key.public_key(), now)
        .issuer_name(subject)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(**{**_NO_USAGE, "key_cert_sign": True, "crl_sign": True}), critical=True
        )
        .add_extension(key_id, critical=False)
    )
    if permitted:
        builder = builder.add_extension(_constraints(permitted), critical=True)
    return KeyPair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def issue_leaf(
    ca: KeyPair,
    name: str,
    *,
    usage: Usage,
    now: datetime,
    lifetime: timedelta,
    names: Sequence[str] = (),
) -> KeyPair:
    """Issue a key, and a certificate for it as `sign` makes it.

    Raises:
        ValueError: the PEM of `ca` is unusable, or a name is not ASCII.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = Leaf(name, key.public_key(), tuple(names))
    return KeyPair(sign(ca, leaf, usage=usage, now=now, lifetime=lifetime), _key_pem(key))


def sign(ca: KeyPair, leaf: Leaf, *, usage: Usage, now: datetime, lifetime: timedelta) -> bytes:
    """Sign a certificate for a key that somebody else holds; return its PEM.

    It never outlives its CA: the earlier of both ends is its end.

    Raises:
        ValueError: the PEM of `ca` is unusable, or a name is not ASCII.
    """
    issuer = x509.load_pem_x509_certificate(ca.certificate)
    issuer_key = serialization.load_pem_private_key(ca.key, password=None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise ValueError("the CA's key is not an elliptic-curve key")  # noqa: TRY004 - bad bytes, not a bad type
    key_id = x509.SubjectKeyIdentifier.from_public_key(leaf.public_key)
    builder = (
        _builder(_name(leaf.name), leaf.public_key, now)
        .issuer_name(issuer.subject)
        .not_valid_after(min(now + lifetime, issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{**_NO_USAGE, "digital_signature": True}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage.value]), critical=False)
        .add_extension(key_id, critical=False)
        .add_extension(_issuer_key_id(issuer), critical=False)
    )
    if leaf.names:
        alternatives = [_general_name(alternative) for alternative in leaf.names]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return _pem(builder.sign(issuer_key, hashes.SHA256()))


def _builder(
    subject: x509.Name, public_key: CertificatePublicKeyTypes, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _constraints(permitted: Sequence[str]) -> x509.NameConstraints:
    subtrees = [_subtree(name) for name in permitted]
    has_network = any(isinstance(subtree, x509.IPAddress) for subtree in subtrees)
    return x509.NameConstraints(
        permitted_subtrees=subtrees,
        excluded_subtrees=None if has_network else _EVERY_ADDRESS,
    )


def _subtree(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_network(name))
    except ValueError:
        return x509.DNSName(name)


def _issuer_key_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
