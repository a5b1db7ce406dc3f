"""certs.shared.clients: who gets a certificate, and when another one."""

from __future__ import annotations

from base64 import encodebytes
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from certs.authority import KeyPair
from certs.records import Secret
from certs.shared import clients
from certs.shared.clients import Authorities
from certs.shared.policy import CLIENT_CA, SERVER_CA, Policy
from tests.certs.openssl import complaint
from webhook.asking import rules

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
POLICY = Policy()
CLIENT, OTHER = (POLICY.issue_ca(CLIENT_CA, NOW) for _ in range(2))
SERVERS = POLICY.issue_ca(SERVER_CA, NOW).certificate
SIGNING = Authorities(CLIENT, SERVERS)
PAIR = POLICY.issue_client(CLIENT, "tenant", NOW)
DATA = clients.data(PAIR, SIGNING)
VALUES = [None, "", "sidecar", "daemonset", "service", "allowed", "Daemonset", "true"]


def problem(data: Mapping[str, bytes], after: timedelta = timedelta()) -> str | None:
    return clients.problem(Secret(data, "1"), SIGNING, POLICY.client_lifetime, NOW + after)


@pytest.mark.parametrize("shared", [None, "allowed", "true", "Allowed"])
def test_allowed(shared: str | None) -> None:
    """A namespace is allowed where the webhook lets its Pods have a shared daemon, and only there."""
    for inject, migrate in product(VALUES, VALUES):
        wanted = {rules.SHARED_DAEMON: shared, rules.INJECT: inject, rules.MIGRATE: migrate}
        labels = {key: value for key, value in wanted.items() if value is not None}
        rule = rules.for_namespace("tenant", labels)
        assert rule is not None
        assert rule.allows_shared == clients.is_allowed(labels), labels


def test_certificate() -> None:
    """OpenSSL takes it as a client's by the CA of clients, and not as a server's; it names whose it is."""
    then = ("-attime", str(int(NOW.timestamp())))
    assert "" == complaint(PAIR.certificate, CLIENT.certificate, "-purpose", "sslclient", *then)
    assert "unsuitable" in complaint(PAIR.certificate, CLIENT.certificate, *then)
    parsed = x509.load_pem_x509_certificate(PAIR.certificate)
    assert "CN=namespace:tenant" == parsed.subject.rfc4514_string()
    assert NOW + timedelta(hours=24) == parsed.not_valid_after_utc


def test_the_longest_name_of_a_namespace() -> None:
    """63 characters, more than fit into a commonName beside our prefix."""
    assert POLICY.issue_client(CLIENT, "n" * 63, NOW).certificate


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (DATA, None),
        ({**DATA, "other": b"somebody's"}, None),
        ({}, "damaged"),
        ({**DATA, "key.pem": CLIENT.key}, "damaged"),
        ({**DATA, "cert.pem": b"nonsense"}, "damaged"),
        ({**DATA, "ca.pem": b""}, "the CAs of servers have changed"),
        ({**DATA, "ca.pem": SERVERS + CLIENT.certificate}, "the CAs of servers have changed"),
        (
            clients.data(POLICY.issue_client(OTHER, "tenant", NOW), SIGNING),
            "of another CA than the one that signs",
        ),
    ],
)
def test_problems(data: Mapping[str, bytes], expected: str | None) -> None:
    """What others have written into the Secret, or a CA that has changed, is made right."""
    assert expected == problem(data)


@pytest.mark.parametrize(
    ("hours", "expected"), [(0, None), (11.99, None), (12, "due"), (24, "due"), (240, "due")]
)
def test_due(hours: float, expected: str | None) -> None:
    """It is renewed when half of its lifetime is over."""
    assert expected == problem(DATA, timedelta(hours=hours))


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [(0, None), (-19, None), (-21, "from the future"), (-60 * 24 * 400, "from the future")],
)
def test_from_the_future(minutes: int, expected: str | None) -> None:
    """One that a clock has issued which was ahead by more than clocks may differ is replaced."""
    assert expected == problem(DATA, timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, False),
        ({"other": b"somebody's", "cert.pem": b""}, False),
        (DATA, False),
        ({"cert.pem": DATA["cert.pem"]}, False),
        ({"ca.pem": b"somebody's"}, True),
        ({**DATA, "cert.pem": b""}, True),
        (clients.data(POLICY.issue_client(OTHER, "tenant", NOW), SIGNING), True),
    ],
)
def test_foreign(data: Mapping[str, bytes], expected: bool) -> None:
    """Without dinp's label what would be overwritten decides: it is somebody else's, or it is not."""
    signing = Authorities(CLIENT, SERVERS, (CLIENT.certificate,))
    assert expected is clients.is_foreign(Secret(data, "1"), signing)


def test_due_by_the_lifetime_of_today() -> None:
    """A shorter lifetime counts at once, for those that were issued for longer."""
    hour = timedelta(hours=1)
    secret = Secret(DATA, "1")
    assert clients.problem(secret, SIGNING, hour, NOW + hour / 2) == "due"
    assert clients.problem(secret, SIGNING, hour, NOW + hour / 3) is None


def test_due_before_its_ca_ends() -> None:
    """A certificate that its CA's end has cut short is renewed at half of what it has."""
    short = Policy(
        ca_lifetime=timedelta(hours=2),
        server_lifetime=timedelta(hours=1),
        client_lifetime=timedelta(hours=2),
        daemon_restart=timedelta(minutes=5),
    )
    ca = short.issue_ca(CLIENT_CA, NOW)
    pair = short.issue_client(ca, "tenant", NOW + timedelta(hours=1))
    due = clients.due_at(pair.certificate, short.client_lifetime)
    assert NOW + timedelta(minutes=90) == due


@given(
    st.sampled_from(["ca.pem", "cert.pem", "key.pem"]),
    st.integers(0, 700),
    st.binary(min_size=1, max_size=5),
)
def test_whatever_a_tenant_writes(key: str, at: int, noise: bytes) -> None:
    """Bytes that a tenant has overwritten are an answer, and no error: it is everybody's process."""
    whole = DATA[key]
    assert problem({**DATA, key: whole[:at] + noise + whole[at + len(noise) :]}) in {
        None,
        "damaged",
        "of another CA than the one that signs",
        "the CAs of servers have changed",
        "due",
    }


def with_byte(pair: KeyPair, found: bytes, value: int) -> bytes:
    """The PEM with the byte behind `found` overwritten."""
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    der = bytearray(certificate.public_bytes(Encoding.DER))
    der[der.index(found) + len(found)] = value
    mark = b"CERTIFICATE-----\n"
    return b"-----BEGIN " + mark + encodebytes(bytes(der)) + b"-----END " + mark


@pytest.mark.parametrize(
    ("found", "value"),
    [
        (b"\xa0\x03\x02\x01", 5),  # no version of X.509
        (b"\x06\x03\x55\x1d", 14),  # the first extension twice
        (b"\x2a\x86\x48\xce\x3d\x04\x03", 9),  # no algorithm that anybody knows
    ],
)
def test_certificates_that_no_parser_takes(found: bytes, value: int) -> None:
    """What `cryptography` has exceptions of its own for is damaged, too."""
    data = {**DATA, "cert.pem": with_byte(PAIR, found, value)}
    assert problem(data) in {"damaged", "of another CA than the one that signs"}
