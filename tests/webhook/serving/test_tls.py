"""webhook.serving.tls: what is loaded, what is refused, and what a handshake shows after a change."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from certs.authority import KeyPair, Usage
from tests.conftest import DAY, Authority, write
from tools.certificates import write_mounted
from webhook.serving.tls import CertificateError, Files, ServingCertificate


def now() -> datetime:
    return datetime.now(UTC)


def serial(pair: KeyPair) -> int:
    return x509.load_pem_x509_certificate(pair.certificate).serial_number


@asynccontextmanager
async def echo(context: ssl.SSLContext) -> AsyncIterator[int]:
    """A server that answers each byte with itself."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while byte := await reader.read(1):
                writer.write(byte)
        except OSError:
            pass  # a handshake that was refused
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def handshake(
    port: int, context: ssl.SSLContext, host: str = "localhost"
) -> tuple[int, str | None]:
    """Connect, exchange a byte, and return the serial number and the TLS version."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=host
    )
    try:
        writer.write(b"x")
        if await reader.read(1) != b"x":
            raise ConnectionError("closed")
        session = writer.get_extra_info("ssl_object")
        found = x509.load_der_x509_certificate(session.getpeercert(binary_form=True))
        return found.serial_number, session.version()
    finally:
        writer.close()


async def refused(port: int, context: ssl.SSLContext) -> bool:
    try:
        await handshake(port, context)
    except OSError:
        return True
    return False


def swap(directory: Path, pair: KeyPair) -> Files:
    """Write a pair as the kubelet does."""
    write_mounted(directory, {"tls.crt": pair.certificate, "tls.key": pair.key})
    return Files(directory / "tls.crt", directory / "tls.key")


async def test_newest_version(files: Files, ca: Authority) -> None:
    """A client that speaks TLS 1.3 gets it, one of 1.2 gets that, an older one nothing."""
    client = ca.trusting()
    async with echo(ServingCertificate(files, now=now()).context) as port:
        assert (await handshake(port, client))[1] == "TLSv1.3"
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        assert (await handshake(port, client))[1] == "TLSv1.2"

    assert ssl.TLSVersion.TLSv1_2 == ServingCertificate(files, now=now()).context.minimum_version


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_reload_is_served(host: str, files: Files, ca: Authority, tmp_path: Path) -> None:
    """After a reload a handshake shows the new certificate, with a server name or without."""
    certificate = ServingCertificate(files, now=now())
    new = ca.issue(lifetime=2 * DAY)
    async with echo(certificate.context) as port:
        old_serial, _ = await handshake(port, ca.trusting(), host)
        write(tmp_path, new)
        assert certificate.reload(now())
        new_serial, _ = await handshake(port, ca.trusting(), host)

    assert serial(new) == new_serial != old_serial
    assert abs(certificate.not_after - (ca.now + 2 * DAY)) < timedelta(seconds=1)


async def test_open_connection_survives_reload(files: Files, ca: Authority, tmp_path: Path) -> None:
    """A connection that is open when the certificate changes goes on."""
    certificate = ServingCertificate(files, now=now())
    async with echo(certificate.context) as port:
        reader, writer = await asyncio.open_connection("localhost", port, ssl=ca.trusting())
        writer.write(b"a")
        assert await reader.read(1) == b"a"
        write(tmp_path, ca.issue())
        assert certificate.reload(now())
        writer.write(b"b")
        assert await reader.read(1) == b"b"
        writer.close()


@pytest.mark.parametrize("kinds", [("ECDSA", "RSA"), ("RSA", "ECDSA")])
async def test_another_kind_of_key(kinds: tuple[str, str], tmp_path: Path) -> None:
    """A new certificate replaces one with another type of key, which OpenSSL would keep beside it."""
    authority = trustme.CA()
    client = ssl.create_default_context()
    authority.configure_trust(client)
    old, new = (as_pair(authority, trustme.KeyType[kind]) for kind in kinds)
    certificate = ServingCertificate(write(tmp_path, old), now=now())
    async with echo(certificate.context) as port:
        assert serial(old) == (await handshake(port, client))[0]
        write(tmp_path, new)
        assert certificate.reload(now())
        assert serial(new) == (await handshake(port, client))[0]


def as_pair(authority: trustme.CA, kind: trustme.KeyType) -> KeyPair:
    leaf = authority.issue_cert("localhost", key_type=kind)
    return KeyPair(leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes())


def test_unchanged_files_are_not_loaded(files: Files) -> None:
    """A poll without a change does nothing, even when the certificate has expired."""
    certificate = ServingCertificate(files, now=now())

    assert not certificate.reload(now())
    assert not certificate.reload(now() + 365 * DAY)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing certificate", "{crt}: No such file or directory"),
        ("missing key", "{key}: No such file or directory"),
        ("empty certificate", "{crt}: not a PEM certificate"),
        ("certificate is text", "{crt}: not a PEM certificate"),
        ("certificate is binary", "{crt}: not a PEM certificate"),
        ("key is text", "{key}: not a PEM private key"),
        ("key is encrypted", "{key}: the key is encrypted"),
        ("key of another", "{key}: key of another certificate than {crt}"),
        ("expired", "{crt}: expired on "),
        ("certificate is cut short", "{crt}: not a PEM certificate"),
        ("chain is cut short", "{crt}: "),  # in OpenSSL's words
        ("for clients", "{crt}: cannot serve: "),
    ],
)
async def test_bad_pair(
    damage: str, message: str, files: Files, ca: Authority, tmp_path: Path
) -> None:
    """A bad pair is refused at the start, and later the old one keeps serving; one line says why."""
    certificate = ServingCertificate(files, now=now())
    expected = message.format(crt=files.certificate, key=files.key)
    async with echo(certificate.context) as port:
        before, _ = await handshake(port, ca.trusting())
        write(tmp_path, ca.issue())
        DAMAGES[damage](files.certificate, files.key, ca)
        for attempt in (certificate.reload, lambda now: ServingCertificate(files, now=now)):
            with pytest.raises(CertificateError) as caught:
                attempt(now())
            assert str(caught.value).startswith(expected)
            assert "\n" not in str(caught.value)

        assert before == (await handshake(port, ca.trusting()))[0]
    assert certificate.problem(now()) is None


DAMAGES: dict[str, Callable[[Path, Path, Authority], object]] = {
    "missing certificate": lambda crt, _key, _ca: crt.unlink(),
    "missing key": lambda _crt, key, _ca: key.unlink(),
    "empty certificate": lambda crt, _key, _ca: crt.write_bytes(b""),
    "certificate is text": lambda crt, _key, _ca: crt.write_text("tls.crt\n"),
    "certificate is binary": lambda crt, _key, _ca: crt.write_bytes(os.urandom(500)),
    "certificate is cut short": lambda crt, _key, _ca: crt.write_bytes(crt.read_bytes()[:-40]),
    "chain is cut short": lambda crt, _key, ca: crt.write_bytes(
        crt.read_bytes() + ca.pair.certificate[:-40]
    ),
    "key is text": lambda _crt, key, _ca: key.write_text("tls.key\n"),
    "key is encrypted": lambda _crt, key, _ca: key.write_bytes(encrypted(key.read_bytes())),
    "key of another": lambda _crt, key, ca: key.write_bytes(ca.issue().key),
    "for clients": lambda crt, _key, ca: write(crt.parent, ca.issue(Usage.CLIENT)),
    "expired": lambda crt, _key, ca: write(crt.parent, ca.issue(now=ca.now - 2 * DAY)),
}


def encrypted(pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(pem, password=None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def test_bad_pair_is_told_once_per_change(files: Files, ca: Authority, tmp_path: Path) -> None:
    """A bad pair raises at the first poll that sees it and at no later one, until it changes."""
    certificate = ServingCertificate(files, now=now())
    files.key.write_bytes(ca.issue().key)
    with pytest.raises(CertificateError):
        certificate.reload(now())
    assert not certificate.reload(now())

    files.key.write_bytes(ca.issue().key + b"\n")
    with pytest.raises(CertificateError):
        certificate.reload(now())
    assert not certificate.reload(now())

    write(tmp_path, ca.issue())
    assert certificate.reload(now())


def test_half_written_pair(files: Files, ca: Authority) -> None:
    """A pair whose certificate arrives before its key is loaded when both are there."""
    certificate = ServingCertificate(files, now=now())
    new = ca.issue()
    files.certificate.write_bytes(new.certificate)
    with pytest.raises(CertificateError):
        certificate.reload(now())
    files.key.write_bytes(new.key)

    assert certificate.reload(now())


def test_not_valid_yet(files: Files, ca: Authority, tmp_path: Path) -> None:
    """A certificate of tomorrow waits while the old one is valid, and is loaded when its time comes."""
    certificate = ServingCertificate(files, now=now())
    write(tmp_path, ca.issue(now=ca.now + DAY / 2, lifetime=3 * DAY))
    with pytest.raises(CertificateError, match="not valid before"):
        certificate.reload(now())

    assert not certificate.reload(now())
    assert certificate.reload(now() + DAY / 2)


def test_problem_at_both_ends(ca: Authority, tmp_path: Path) -> None:
    """A certificate can serve from its first second up to its last, and says what is wrong else."""
    start = ca.now + DAY
    files = write(tmp_path, ca.issue(now=start))
    certificate = ServingCertificate(files, now=now())

    assert "not valid before" in str(certificate.problem(now()))
    assert certificate.problem(start) is None
    assert "expired on" in str(certificate.problem(start + DAY))


async def test_kubelet_swap(ca: Authority, tmp_path: Path) -> None:
    """A mounted Secret's swap of `..data` is one change of both files."""
    first, second = ca.issue(), ca.issue()
    certificate = ServingCertificate(swap(tmp_path, first), now=now())
    swap(tmp_path, second)
    assert certificate.reload(now())
    assert not certificate.reload(now())

    async with echo(certificate.context) as port:
        assert serial(second) == (await handshake(port, ca.trusting()))[0]


async def test_client_ca(files: Files, ca: Authority, tmp_path: Path) -> None:
    """With a client CA only clients with a certificate of it are served."""
    trusted, stranger = Authority("clients"), Authority("strangers")
    given = files._replace(client_ca=tmp_path / "ca.crt")
    (tmp_path / "ca.crt").write_bytes(trusted.pair.certificate)
    async with echo(ServingCertificate(given, now=now()).context) as port:
        assert not await refused(port, ca.trusting(trusted.issue(Usage.CLIENT), tmp_path))
        assert await refused(port, ca.trusting(stranger.issue(Usage.CLIENT), tmp_path))
        assert await refused(port, ca.trusting(trusted.issue(Usage.SERVER), tmp_path))
        assert await refused(port, ca.trusting())


async def test_client_ca_is_replaced(files: Files, ca: Authority, tmp_path: Path) -> None:
    """A client CA that is taken out of the file is not trusted any more, and a new one is."""
    old, new = Authority("old"), Authority("new")
    given = files._replace(client_ca=tmp_path / "ca.crt")
    (tmp_path / "ca.crt").write_bytes(old.pair.certificate + new.pair.certificate)
    certificate = ServingCertificate(given, now=now())
    async with echo(certificate.context) as port:
        assert not await refused(port, ca.trusting(old.issue(Usage.CLIENT), tmp_path))
        (tmp_path / "ca.crt").write_bytes(new.pair.certificate)
        assert certificate.reload(now())
        assert await refused(port, ca.trusting(old.issue(Usage.CLIENT), tmp_path))
        assert not await refused(port, ca.trusting(new.issue(Usage.CLIENT), tmp_path))


@pytest.mark.parametrize("text", [None, b"", b"ca\n"])
def test_bad_client_ca(text: bytes | None, files: Files, tmp_path: Path) -> None:
    """A client CA file that is missing or not PEM is refused, never taken as `no client CA`."""
    given = files._replace(client_ca=tmp_path / "ca.crt")
    if text is not None:
        (tmp_path / "ca.crt").write_bytes(text)

    with pytest.raises(CertificateError, match=r"ca\.crt: (No such file|not a PEM)"):
        ServingCertificate(given, now=now())
