"""certs.authority: what is in the certificates, and that OpenSSL agrees."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.authority import KeyPair, Usage, issue_ca, issue_leaf

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def parsed(pair: KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate)


def a_ca(now: datetime = NOW, lifetime: timedelta = 10 * DAY) -> KeyPair:
    return issue_ca("dinp CA", now=now, lifetime=lifetime)


def a_leaf(
    ca: KeyPair,
    *names: str,
    usage: Usage = Usage.SERVER,
    now: datetime = NOW,
    lifetime: timedelta = DAY,
) -> KeyPair:
    return issue_leaf(ca, "dinp", names=names, usage=usage, now=now, lifetime=lifetime)


def test_ca_extensions() -> None:
    """A CA may sign certificates and revocation lists, leaves only, and says so critically."""
    certificate = parsed(a_ca())
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)

    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (True, True, True)
    assert not usage.value.digital_signature
    assert certificate.subject == certificate.issuer
    certificate.verify_directly_issued_by(certificate)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage.SERVER, ExtendedKeyUsageOID.SERVER_AUTH),
        (Usage.CLIENT, ExtendedKeyUsageOID.CLIENT_AUTH),
    ],
)
def test_leaf_extensions(usage: Usage, expected: x509.ObjectIdentifier) -> None:
    """A leaf signs handshakes and nothing else, for one side only, and is tied to its CA."""
    ca = a_ca()
    certificate = parsed(a_leaf(ca, "dinp.svc", usage=usage))
    extensions = certificate.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    use = extensions.get_extension_for_class(x509.KeyUsage)
    ca_key_id = parsed(ca).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value

    assert (basic.critical, basic.value.ca) == (True, False)
    assert (
        use.critical,
        use.value.digital_signature,
        use.value.key_cert_sign,
    ) == (True, True, False)
    assert [expected] == list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert (
        ca_key_id.digest
        == extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    )
    certificate.verify_directly_issued_by(parsed(ca))


def test_alternative_names() -> None:
    """DNS names and addresses of both families come out as what they are; the name is the CN."""
    certificate = parsed(a_leaf(a_ca(), "dinp.svc", "10.0.0.1", "fd00::1"))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert names.get_values_for_type(x509.DNSName) == ["dinp.svc"]
    assert [ip_address("10.0.0.1"), ip_address("fd00::1")] == names.get_values_for_type(
        x509.IPAddress
    )
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "dinp"


def test_no_alternative_names() -> None:
    """A client certificate without names has no such extension: an empty one is malformed."""
    with pytest.raises(x509.ExtensionNotFound):
        parsed(a_leaf(a_ca(), usage=Usage.CLIENT)).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )


def test_backdated() -> None:
    """Both are valid 15 minutes before they are issued, and end where the lifetime says."""
    ca = a_ca()
    for certificate, lifetime in ((parsed(ca), 10 * DAY), (parsed(a_leaf(ca)), DAY)):
        assert NOW - timedelta(minutes=15) == certificate.not_valid_before_utc
        assert NOW + lifetime == certificate.not_valid_after_utc


def test_leaf_does_not_outlive_its_ca() -> None:
    """A leaf that is to live longer than its CA ends with it."""
    leaf = parsed(a_leaf(a_ca(lifetime=DAY), lifetime=30 * DAY))

    assert leaf.not_valid_after_utc == NOW + DAY


def test_serials_and_keys_are_random() -> None:
    """No two certificates share a serial number or a key."""
    ca = a_ca()
    leaves = [a_leaf(ca) for _ in range(20)]

    assert len({parsed(leaf).serial_number for leaf in leaves}) == 20
    assert len({leaf.key for leaf in leaves}) == 20


def test_keys_are_p256() -> None:
    """Keys are ECDSA P-256 in PKCS #8."""
    pair = a_ca()
    key = serialization.load_pem_private_key(pair.key, password=None)

    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert pair.key.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_repr_hides_the_key() -> None:
    """The repr of a pair holds the certificate and not the key."""
    pair = a_ca()

    assert "PRIVATE" not in repr(pair)
    assert "CERTIFICATE" in repr(pair)


def test_name_constraints_of_dns_names_exclude_addresses() -> None:
    """A CA that is narrowed to DNS names may not vouch for any address."""
    constraints = parsed(
        issue_ca("dinp", now=NOW, lifetime=DAY, permitted=["svc"])
    ).extensions.get_extension_for_class(x509.NameConstraints)

    assert constraints.critical
    assert [x509.DNSName("svc")] == constraints.value.permitted_subtrees
    assert [
        x509.IPAddress(ip_network("0.0.0.0/0")),
        x509.IPAddress(ip_network("::/0")),
    ] == constraints.value.excluded_subtrees


def test_name_constraints_with_a_network() -> None:
    """A permitted network is the only one that the CA may vouch for."""
    constraints = parsed(
        issue_ca("dinp", now=NOW, lifetime=DAY, permitted=["svc", "10.0.0.0/8"])
    ).extensions.get_extension_for_class(x509.NameConstraints)

    assert [
        x509.DNSName("svc"),
        x509.IPAddress(ip_network("10.0.0.0/8")),
    ] == constraints.value.permitted_subtrees
    assert constraints.value.excluded_subtrees is None


@pytest.mark.parametrize(
    ("name", "permitted", "accepted"),
    [
        ("localhost", (), True),
        ("127.0.0.1", (), True),
        ("localhost", ("localhost",), True),
        ("127.0.0.1", ("localhost", "127.0.0.0/8"), True),
        ("other.svc", (), False),
        ("localhost", ("svc",), False),
        ("127.0.0.1", ("localhost",), False),
        ("127.0.0.1", ("10.0.0.0/8",), False),
    ],
)
def test_handshake(name: str, permitted: tuple[str, ...], accepted: bool, tmp_path: Path) -> None:
    """OpenSSL accepts the certificate exactly for its names and within its CA's constraints."""
    host = "127.0.0.1" if name == "127.0.0.1" else "localhost"
    now = datetime.now(UTC)
    ca = issue_ca("dinp", now=now, lifetime=DAY, permitted=permitted)

    assert accepted is shakes_hands(ca, a_leaf(ca, name, now=now), host, tmp_path)


def test_client_certificate_is_no_server_certificate(tmp_path: Path) -> None:
    """A certificate for clients is refused from a server."""
    now = datetime.now(UTC)
    ca = a_ca(now)

    assert not shakes_hands(
        ca, a_leaf(ca, "localhost", usage=Usage.CLIENT, now=now), "localhost", tmp_path
    )


def shakes_hands(ca: KeyPair, leaf: KeyPair, host: str, directory: Path) -> bool:
    """Whether a client that trusts `ca` accepts `leaf` from the server `host`."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (directory / "pair").write_bytes(leaf.certificate + leaf.key)
    server.load_cert_chain(directory / "pair")
    client = ssl.create_default_context(cadata=ca.certificate.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = socket.socketpair()
    near.settimeout(20)
    far.settimeout(20)

    def accept() -> None:
        try:
            with server.wrap_socket(far, server_side=True) as connection:
                connection.recv(1)
        except OSError:
            far.close()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        with client.wrap_socket(near, server_hostname=host) as connection:
            connection.send(b"x")
    except ssl.SSLCertVerificationError:
        return False
    else:
        return True
    finally:
        near.close()
        accepting.join()


def test_ca_with_another_kind_of_key() -> None:
    """A CA whose key is not of our making is refused with a sentence."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

    with pytest.raises(ValueError, match="elliptic-curve"):
        a_leaf(KeyPair(a_ca().certificate, pem))
