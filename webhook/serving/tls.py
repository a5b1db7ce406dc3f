"""Load the serving certificate, and load it again when its files change.

Every load makes a new SSLContext, and the listener's callback for the server name (OpenSSL
calls it for clients that send no name, too) hands each new connection the latest. Loading
into the live context instead has three traps (tried with OpenSSL 3.0): a certificate and
key that do not match break it for good; a certificate with another type of key stands
beside the old one, which goes on being served; a client CA can be added, never taken away.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

# OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for.
_NO_CHECK_TIME: Final = 0x200000
# What the two ends of a TLS 1.3 handshake need at most, taking turns.
_HANDSHAKE_TURNS: Final = 4

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
    context = _context(files, resolved)
    loaded = _Loaded(context, *_validity(files, context, chain))
    if now >= loaded.not_after:
        raise CertificateError(f"{files.certificate}: {loaded.problem(now)}")
    if files.client_ca is not None and resolved.client_ca is not None:
        context.load_verify_locations(cadata=_certificates(files.client_ca, resolved.client_ca))
        context.verify_mode = ssl.CERT_REQUIRED
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

    def password() -> str:
        # Without one OpenSSL would ask the terminal.
        raise CertificateError(f"{files.key}: the key is encrypted")

    _read(files.key, resolved.key)  # its absence is told here: OpenSSL does not say which file
    try:
        context.load_cert_chain(resolved.certificate, resolved.key, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            what = f"key of another certificate than {files.certificate}"
        else:
            what = f"not a PEM private key ({_cause(error)})"
        raise CertificateError(f"{files.key}: {what}") from error
    return context


def _validity(files: Files, context: ssl.SSLContext, chain: str) -> tuple[datetime, datetime]:
    """From when and until when the certificate is valid, by a handshake with it in memory.

    That also shows that it can serve. Reading it with the cryptography package would keep
    10 MiB more resident.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    client.load_verify_locations(cadata=chain)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = client.wrap_bio(to_client, to_server)
    ends = (peer, context.wrap_bio(to_server, to_client, server_side=True))
    try:
        for turn in range(_HANDSHAKE_TURNS):
            with suppress(ssl.SSLWantReadError):
                ends[turn % 2].do_handshake()
    except ssl.SSLError as error:
        raise CertificateError(f"{files.certificate}: cannot serve: {_cause(error)}") from error
    found = peer.getpeercert() or {}
    return _time(found["notBefore"]), _time(found["notAfter"])


def _time(text: object) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(text)), UTC)


def _certificates(shown: Path, path: Path) -> str:
    """The PEM text of a file, every certificate of which can be read."""
    try:
        text = _read(shown, path).decode("ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ValueError, ssl.SSLError) as error:
        raise CertificateError(f"{shown}: not a PEM certificate") from error
    return text


def _read(shown: Path, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{shown}: {_cause(error)}") from error


def _cause(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):  # an OSError, too
        return error.reason or str(error)
    return error.strerror or str(error)
