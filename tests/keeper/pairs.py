"""Certificates of a daemon as certs signs them, at any age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from certs import inspection
from certs.authority import KeyPair, Usage, issue_ca, issue_leaf
from keeper.files import Files, Published

NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
LIFETIME: Final = timedelta(hours=12)
YEARS: Final = timedelta(days=1825)


def authority(name: str, age: timedelta = timedelta(), lifetime: timedelta = YEARS) -> KeyPair:
    """A CA that was issued `age` ago."""
    return issue_ca(name, now=NOW - age, lifetime=lifetime)


SERVERS: Final = authority("servers", timedelta(days=30))
CLIENTS: Final = authority("clients", timedelta(days=30))


def rewritten(pair: KeyPair) -> bytes:
    """Its certificate, as inspection writes it."""
    return inspection.rewritten(pair.certificate) or b""


def leaf(age: timedelta, ca: KeyPair = SERVERS) -> KeyPair:
    """A daemon's certificate that was issued `age` ago."""
    at = NOW - age
    names = ("192.0.2.1",)
    return issue_leaf(ca, "x", usage=Usage.SERVER, now=at, lifetime=LIFETIME, names=names)


def files(pair: KeyPair, *clients: KeyPair) -> Files:
    """What dockerd runs with."""
    return Files(pair, frozenset(map(rewritten, clients or (CLIENTS,))))


def published(*clients: KeyPair, servers: tuple[KeyPair, ...] = (SERVERS,)) -> Published:
    """What certs has published."""
    return Published(
        frozenset(map(rewritten, clients or (CLIENTS,))), frozenset(map(rewritten, servers))
    )
