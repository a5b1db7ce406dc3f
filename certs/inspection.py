"""Look into certificates and keys that others may have written: bad bytes are an answer, no error.

Pure. A certificate is its PEM, written the one way that `cryptography` writes it, so that two
that are equal compare equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from certs.authority import BACKDATE, KeyPair

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
# What `cryptography` raises for bytes that are not what they should be: only some are ValueErrors.
UNUSABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
CLOCKS_DIFFER: Final = timedelta(minutes=20)
"""Two clocks, each of them wrong by the ten minutes that certs bears. A certificate from further
ahead comes of a clock that was wrong."""
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_END: Final = b"-----END CERTIFICATE-----"
# One of dinp's has 700 bytes, one of RSA-4096 with a hundred names 6 KiB. What is longer is
# remembered by no cache below: others may write it, and a megabyte each.
_LONGEST: Final = 32 * 1024


def parse(pem: bytes) -> x509.Certificate | None:
    """Parse the first certificate in `pem`; None if there is none that can be used, or over 32 KiB."""
    return None if len(pem) > _LONGEST else _parse(pem)


@lru_cache(maxsize=64)
def _parse(pem: bytes) -> x509.Certificate | None:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        _ = certificate.extensions  # parsed when asked for
    except UNUSABLE:
        return None
    return certificate


def blocks(pem: bytes) -> frozenset[bytes]:
    """Split a bundle into its certificates; a block that is no certificate stays as it is.

    So a bundle with a broken block never equals a good one. Text between blocks is nobody's harm.
    """
    *parts, _ = pem.split(_END)
    found = [part[part.index(_BEGIN) :] + _END for part in parts if _BEGIN in part]
    return frozenset(rewritten(block) or block for block in found)


def rewritten(pem: bytes) -> bytes | None:
    """The first certificate in `pem`, written our way; None if it is none."""
    certificate = parse(pem)
    return None if certificate is None else certificate.public_bytes(Encoding.PEM)


def join(certificates: Iterable[bytes]) -> bytes:
    """Write a bundle: each certificate once, in this order."""
    return b"".join(dict.fromkeys(certificates))


def is_authority(pem: bytes) -> bool:
    """Whether it is the certificate of a CA."""
    basic = _extension(pem, x509.BasicConstraints)
    return basic is not None and basic.ca


def is_pair(pair: KeyPair) -> bool:
    """Whether both parse, and the key is that of the certificate."""
    return max(len(pair.certificate), len(pair.key)) <= _LONGEST and _is_pair(pair)


@lru_cache(maxsize=64)
def _is_pair(pair: KeyPair) -> bool:
    certificate = parse(pair.certificate)
    if certificate is None:
        return False
    try:
        key = load_pem_private_key(pair.key, password=None)
        return key.public_key() == certificate.public_key()
    except UNUSABLE:
        return False


def is_issued_by(pem: bytes, authority: bytes) -> bool:
    """Whether `authority` has signed `pem`. Says nothing of dates and names."""
    return max(len(pem), len(authority)) <= _LONGEST and _is_issued_by(pem, authority)


@lru_cache(maxsize=256)
def _is_issued_by(pem: bytes, authority: bytes) -> bool:
    certificate, issuer = parse(pem), parse(authority)
    if certificate is None or issuer is None:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except UNUSABLE:
        return False
    return True


def issued_at(pem: bytes) -> datetime:
    """When it was issued, if we have issued it: its beginning is backdated.

    Raises:
        ValueError: it is no certificate.
    """
    return _must_parse(pem).not_valid_before_utc + BACKDATE


def is_of_the_future(pem: bytes, now: datetime) -> bool:
    """Whether whoever issued it had a clock that was wrong, by more than clocks may differ.

    Raises:
        ValueError: it is no certificate.
    """
    return now < issued_at(pem) - CLOCKS_DIFFER


def ends_at(pem: bytes) -> datetime:
    """From when on it is not valid any more.

    Raises:
        ValueError: it is no certificate.
    """
    return _must_parse(pem).not_valid_after_utc


def due_at(pem: bytes, wanted: timedelta) -> datetime:
    """When two thirds of its lifetime are over, or of `wanted` where that is less.

    Raises:
        ValueError: it is no certificate.
    """
    return issued_at(pem) + lifetime(pem, wanted) * 2 / 3


def lifetime(pem: bytes, wanted: timedelta = timedelta.max) -> timedelta:
    """Its lifetime from its issue on, or `wanted` where that is less.

    Raises:
        ValueError: it is no certificate.
    """
    return min(ends_at(pem) - issued_at(pem), wanted)


def dns_names(pem: bytes) -> frozenset[str]:
    """The DNS names that it is valid for."""
    names = _extension(pem, x509.SubjectAlternativeName)
    return frozenset() if names is None else frozenset(names.get_values_for_type(x509.DNSName))


def names(pem: bytes) -> frozenset[str]:
    """All that it is valid for: DNS names and addresses, written as `ipaddress` writes them."""
    found = _extension(pem, x509.SubjectAlternativeName)
    if found is None:
        return frozenset()
    kinds = (x509.DNSName, x509.IPAddress)
    return frozenset(str(name.value) for name in found if isinstance(name, kinds))


def permits(authority: bytes, names: Iterable[str]) -> bool:
    """Whether the CA's constraints, if any, let it vouch for these DNS names."""
    constraints = _extension(authority, x509.NameConstraints)
    if constraints is None:
        return parse(authority) is not None
    permitted = [
        subtree.value
        for subtree in constraints.permitted_subtrees or ()
        if isinstance(subtree, x509.DNSName)
    ]
    return all(
        any(name == tree or name.endswith(f".{tree}") for tree in permitted) for name in names
    )


def _extension(pem: bytes, kind: type[_Extension]) -> _Extension | None:
    """An extension of the certificate; None where it has none, or is no certificate."""
    certificate = parse(pem)
    if certificate is None:
        return None
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _must_parse(pem: bytes) -> x509.Certificate:
    certificate = parse(pem)
    if certificate is None:
        raise ValueError("not a PEM certificate")
    return certificate
