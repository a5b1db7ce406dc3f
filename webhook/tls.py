"""Load the serving certificate, and load it again when its files change.

Every load makes a new SSLContext, and the listener's callback for the server name (OpenSSL
calls it for clients that send no name, too) hands each new connection the latest. Loading
into the live context instead has three traps (tried with OpenSSL 3.0): a certificate and
key that do not match break it for good; a certificate with another type of key stands
beside the old one, which goes on being served; a client CA can be added, never taken away.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

_Signature = tuple[tuple[int, int, int, int, int] | None, ...]


class CertificateError(Exception):
    """The files hold no certificate to serve with; names the file and what is wrong. Exit code 2."""


class Files(NamedTuple):
    """PEM files: the certificate with its chain, its key, the CAs of clients."""

    certificate: Path
    key: Path
    client_ca: Path | None = None  # given: clients without a certificate of these CAs are refused


@dataclass(frozen=True, slots=True)
class _Loaded:
    context: ssl.SSLContext
    not_before: datetime
    not_after: datetime

    def problem(self, now: datetime) -> str | None:
        if now < self.not_before:
            return f"not valid before {self.not_before.isoformat()}"
        if now >= self.not_after:
            return f"expired on {self.not_after.isoformat()}"
        return None


class ServingCertificate:
    """The certificate in use. `context` is for the listener and stays the same for good."""

    def __init__(self, files: Files, *, now: datetime) -> None:
        """Load it for the first time. One that is valid in the future only is taken, but not ready.

        Raises:
            CertificateError: a file is missing or not PEM, expired, or the key of another certificate.
        """
        self._files = files
        self._signature = _signature(files)
        self._refused: tuple[_Signature, str] | None = None
        self._loaded = _load(files, now)
        self.context = self._loaded.context
        self.context.sni_callback = self._choose

    @property
    def not_after(self) -> datetime:
        """When the certificate in use ends."""
        return self._loaded.not_after

    def problem(self, now: datetime) -> str | None:
        """Why the certificate in use cannot serve at `now`, or None."""
        return self._loaded.problem(now)

    def reload(self, now: datetime) -> bool:
        """Load again if the files have changed, and say whether a new certificate is in use.

        What cannot be used is tried again at every call, as it may be half written or not
        valid yet.

        Raises:
            CertificateError: the new files cannot be used, so the old certificate stays.
                Raised once for each change.
        """
        signature = _signature(self._files)
        if signature == self._signature:
            return False
        try:
            loaded = _load(self._files, now)
            self._check_not_early(loaded, now)
        except CertificateError as error:
            if self._refused == (signature, str(error)):
                return False
            self._refused = (signature, str(error))
            raise
        self._signature, self._refused, self._loaded = signature, None, loaded
        return True

    def _check_not_early(self, loaded: _Loaded, now: datetime) -> None:
        problem = loaded.problem(now)
        if problem is not None and self.problem(now) is None:
            raise CertificateError(f"{self._files.certificate}: {problem}")

    def _choose(
        self,
        connection: ssl.SSLObject,
        _server_name: str | None,
        _listener: ssl.SSLContext,
    ) -> None:
        connection.context = self._loaded.context


def _signature(files: Files) -> _Signature:
    """What tells a changed file, seen through links: 6 µs a poll."""
    return tuple(None if path is None else _file_signature(path) for path in files)


def _file_signature(path: Path) -> tuple[int, int, int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size


def _load(files: Files, now: datetime) -> _Loaded:
    resolved = _resolve(files)
    chain = _certificates(files.certificate, resolved.certificate)
    _check_key(files, resolved, chain[0])
    context = _context(files, resolved)
    loaded = _Loaded(context, chain[0].not_valid_before_utc, chain[0].not_valid_after_utc)
    if now >= loaded.not_after:
        raise CertificateError(f"{files.certificate}: {loaded.problem(now)}")
    return loaded


def _resolve(files: Files) -> Files:
    """Follow the kubelet's `..data` links once, so that a pair comes from one directory.

    The kubelet swaps all files of a mounted Secret by renaming that link (AtomicWriter,
    Kubernetes 1.30): two opens through it may see two generations.
    """
    parents = {path.parent for path in files if path is not None}
    directories = {parent: _generation(parent) for parent in parents}

    def resolved(path: Path) -> Path:
        return directories[path.parent] / path.name

    client_ca = None if files.client_ca is None else resolved(files.client_ca)
    return Files(resolved(files.certificate), resolved(files.key), client_ca)


def _generation(directory: Path) -> Path:
    data = directory / "..data"
    return data.resolve() if data.is_symlink() else directory


def _context(files: Files, resolved: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session would show neither a new certificate nor a client CA taken away.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        # Without a password OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(resolved.certificate, resolved.key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CertificateError(f"{files.certificate}: {_cause(error)}") from error
    if files.client_ca is not None and resolved.client_ca is not None:
        trusted = _certificates(files.client_ca, resolved.client_ca)
        context.load_verify_locations(
            cadata=b"".join(ca.public_bytes(Encoding.DER) for ca in trusted)
        )
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _certificates(shown: Path, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(shown, path))
    except ValueError as error:
        raise CertificateError(f"{shown}: not a PEM certificate") from error


def _check_key(files: Files, resolved: Files, leaf: x509.Certificate) -> None:
    text = _read(files.key, resolved.key)
    try:
        key = load_pem_private_key(text, password=None)
    except TypeError as error:
        raise CertificateError(f"{files.key}: the key is encrypted") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{files.key}: not a PEM private key") from error
    if key.public_key() != leaf.public_key():
        raise CertificateError(f"{files.key}: key of another certificate than {files.certificate}")


def _read(shown: Path, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{shown}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
