"""Serving certificates as a cluster has them: issued, mounted, and seen by a client."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from certs import authority
from certs.authority import KeyPair
from tests.cluster.installation import SERVICE_NAME
from tools.certificates import DAY, write_mounted


@dataclass(frozen=True, slots=True)
class Issued:
    """A leaf and the CA that has issued it."""

    ca: KeyPair
    leaf: KeyPair

    @property
    def serial(self) -> int:
        """Of the leaf."""
        return x509.load_pem_x509_certificate(self.leaf.certificate).serial_number


def issue(ca: KeyPair | None = None) -> Issued:
    """Issue a leaf for dinp's Service, by a new CA unless there is one.

    All CAs have one name, as those of a rotation have: only the key tells them apart.
    """
    now = datetime.now(UTC)
    ca = ca or authority.issue_ca("dinp", now=now, lifetime=DAY)
    usage = authority.Usage.SERVER
    leaf = authority.issue_leaf(
        ca, "dinp", names=(SERVICE_NAME,), usage=usage, now=now, lifetime=DAY
    )
    return Issued(ca, leaf)


class Volume:
    """A mounted Secret with a leaf, which may be swapped for another."""

    def __init__(self, directory: Path, leaf: KeyPair) -> None:
        self._directory = directory
        self.certificate, self.key = directory / "tls.crt", directory / "tls.key"
        self.write(leaf)

    def write(self, leaf: KeyPair) -> None:
        """Swap both files."""
        pair = {self.certificate.name: leaf.certificate, self.key.name: leaf.key}
        write_mounted(self._directory, pair)


def seen(address: str, port: int, trusted: bytes) -> int:
    """The serial number of what is served at an address now, to one who trusts these CAs.

    Raises:
        OSError: nobody serves there, or a certificate of another CA (ssl.SSLError).
    """
    context = ssl.create_default_context(cadata=trusted.decode("ascii"))
    source = ("127.0.0.1", 0)  # tells this connection from those of the API server
    with (
        socket.create_connection((address, port), timeout=5, source_address=source) as plain,
        context.wrap_socket(plain, server_hostname=SERVICE_NAME) as secure,
    ):
        certificate = secure.getpeercert() or {}
        return int(str(certificate["serialNumber"]), 16)
