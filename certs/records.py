"""What is kept in the API server, and what it means. Pure.

| object | key | holds |
|---|---|---|
| Secret `dinp-ca` | `ca.crt`, `ca.key` | the CA that signs |
| | `next.crt`, `next.key` | the CA that will sign, once every API server trusts it |
| | `old.crt` | certificates of CAs that sign no more, while leaves of theirs may still be served |
| Secret `dinp-tls` | `tls.crt`, `tls.key`, `ca.crt` | what the webhook serves, and the CA that issued it |
| MutatingWebhookConfiguration | every `caBundle` | the certificates of all CAs above |

An object that is missing, empty or damaged reads as less, never as an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from certs import inspection
from certs.authority import KeyPair


@dataclass(frozen=True, slots=True)
class Secret:
    """The data of a Secret, decoded, and its resourceVersion."""

    data: Mapping[str, bytes]
    version: str


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of the metadata of an object, when objects are listed."""

    name: str
    namespace: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}
    deletion_timestamp: str | None = None

    @property
    def is_ending(self) -> bool:
        """Whether it is about to be gone, with all that is in it."""
        return self.deletion_timestamp is not None


@dataclass(frozen=True, slots=True)
class Configuration:
    """The caBundle of each webhook by the webhook's name, decoded, and the resourceVersion."""

    bundles: Mapping[str, bytes]
    version: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one read of the API server found; None: there is no such object.

    It has to be read in the order of the fields. Whoever writes does so in the opposite one, so
    what the CA Secret says is never older than what it is compared with; see `store.read`.
    """

    leaf: Secret | None
    configuration: Configuration | None
    ca: Secret | None


@dataclass(frozen=True, slots=True)
class Authorities:
    """The CAs: the one that signs, the one that will, and certificates of those that did."""

    signing: KeyPair | None = None
    next: KeyPair | None = None
    old: tuple[bytes, ...] = ()

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """What caBundle has to hold."""
        pairs = [pair.certificate for pair in (self.signing, self.next) if pair is not None]
        return tuple(dict.fromkeys([*pairs, *self.old]))

    def promoted(self) -> Authorities:
        """`next` signs, and the CA that signed until now is an old one."""
        old = () if self.signing is None else (self.signing.certificate,)
        return Authorities(self.next, None, (*old, *self.old))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a snapshot means. `bundles` holds the certificates of each caBundle."""

    authorities: Authorities
    leaf: KeyPair | None
    leaf_authority: bytes | None  # as stored beside the leaf
    bundles: tuple[frozenset[bytes], ...]

    @property
    def trusted_somewhere(self) -> frozenset[bytes]:
        """All certificates of all caBundles."""
        return frozenset().union(*self.bundles)

    def is_trusted(self, certificate: bytes) -> bool:
        """Whether every caBundle has it."""
        return all(certificate in bundle for bundle in self.bundles)


def seen(snapshot: Snapshot) -> Seen:
    """Make sense of what was read."""
    leaf = {} if snapshot.leaf is None else snapshot.leaf.data
    configuration = snapshot.configuration
    bundles = () if configuration is None else tuple(configuration.bundles.values())
    return Seen(
        authorities=read_authorities({} if snapshot.ca is None else snapshot.ca.data),
        leaf=_pair(leaf, "tls"),
        leaf_authority=_authority(leaf.get("ca.crt", b"")),
        bundles=tuple(inspection.blocks(bundle) for bundle in bundles),
    )


def read_authorities(data: Mapping[str, bytes]) -> Authorities:
    """Read the data of the CA Secret; of a pair whose key is damaged the certificate stays."""
    signing, following = _authority_pair(data, "ca"), _authority_pair(data, "next")
    old = sorted(inspection.blocks(data.get("old.crt", b"")))
    for name, pair in (("ca", signing), ("next", following)):
        lost = _authority(data.get(f"{name}.crt", b""))
        if pair is None and lost is not None:
            old.append(lost)
    return Authorities(signing, following, tuple(filter(inspection.is_authority, old)))


def write_authorities(authorities: Authorities) -> dict[str, bytes | None]:
    """Make the data of the CA Secret; None: no such key."""
    return {
        **_write_pair("ca", authorities.signing),
        **_write_pair("next", authorities.next),
        "old.crt": inspection.join(authorities.old) or None,
    }


def write_leaf(leaf: KeyPair, authority: bytes) -> dict[str, bytes | None]:
    """Make the data of the serving Secret."""
    return {**_write_pair("tls", leaf), "ca.crt": authority}


def _write_pair(name: str, pair: KeyPair | None) -> dict[str, bytes | None]:
    if pair is None:
        return {f"{name}.crt": None, f"{name}.key": None}
    return {f"{name}.crt": pair.certificate, f"{name}.key": pair.key}


def _pair(data: Mapping[str, bytes], name: str) -> KeyPair | None:
    pair = KeyPair(data.get(f"{name}.crt", b""), data.get(f"{name}.key", b""))
    return pair if inspection.is_pair(pair) else None


def _authority_pair(data: Mapping[str, bytes], name: str) -> KeyPair | None:
    pair = _pair(data, name)
    certificate = None if pair is None else _authority(pair.certificate)
    return None if pair is None or certificate is None else KeyPair(certificate, pair.key)


def _authority(pem: bytes) -> bytes | None:
    return inspection.rewritten(pem) if inspection.is_authority(pem) else None
