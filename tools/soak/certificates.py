"""Serving certificates as a cluster has them: issued, mounted, and seen by a client."""

from __future__ import annotations

import shutil
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from certs import authority
from certs.authority import KeyPair
from tests.cluster.installation import SERVICE_NAME

_DAY: Final = timedelta(days=1)
_FILES: Final = ("tls.crt", "tls.key")


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
    ca = ca or authority.issue_ca("dinp", now=now, lifetime=_DAY)
    usage = authority.Usage.SERVER
    leaf = authority.issue_leaf(
        ca, "dinp", names=(SERVICE_NAME,), usage=usage, now=now, lifetime=_DAY
    )
    return Issued(ca, leaf)


class Volume:
    """A mounted Secret: files that are links, changed all at once by renaming `..data`.

    As the kubelet's AtomicWriter does it (Kubernetes 1.30).
    """

    def __init__(self, directory: Path, leaf: KeyPair) -> None:
        self._directory = directory
        self._generation = 0
        directory.mkdir()
        self.write(leaf)
        self.certificate, self.key = (directory / name for name in _FILES)
        for file in (self.certificate, self.key):
            file.symlink_to(Path("..data", file.name))

    def write(self, leaf: KeyPair) -> None:
        """Swap both files."""
        old = self._directory / f"..{self._generation}"
        self._generation += 1
        new = self._directory / f"..{self._generation}"
        new.mkdir(mode=0o700)
        for name, content in zip(_FILES, (leaf.certificate, leaf.key), strict=True):
            (new / name).write_bytes(content)
        link = self._directory / "..data_tmp"
        link.symlink_to(new.name)
        link.rename(self._directory / "..data")
        shutil.rmtree(old, ignore_errors=True)


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
