"""config_values, and what of the file is otherwise in some namespaces."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.webhook import small_pods as build
from webhook import admission
from webhook.asking import config as configs
from webhook.asking import config_values
from webhook.asking.config import Config, ConfigError
from webhook.pods import bounds

KEY = ec.generate_private_key(ec.SECP256R1())


def _certificate(name: str) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    builder = builder.not_valid_before(day).not_valid_after(day).serial_number(7)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.public_key(KEY.public_key()).sign(KEY, hashes.SHA256())


PEM = _certificate("a" * 30).public_bytes(serialization.Encoding.PEM).decode()
# Lengths that take one byte, two and three in DER.
LONG = _certificate("b" * 60).public_bytes(serialization.Encoding.PEM).decode()
SECRET = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
).decode()


def _pem(der: bytes) -> str:
    body = base64.b64encode(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


def _with_one_more(der: bytes) -> bytes:
    """A certificate with a NULL behind its signature; its length takes two bytes."""
    assert der[1] == 0x82
    inside = der[4:] + b"\x05\x00"
    return der[:2] + len(inside).to_bytes(2, "big") + inside


DER = base64.b64decode("".join(PEM.splitlines()[1:-1]))


@pytest.mark.parametrize(
    "text", [PEM, f"# ours\n{PEM}\nand\n{LONG}# end", PEM.replace("\n", "\r\n")]
)
def test_authorities(text: str) -> None:
    """One certificate or several, with comments and whatever ends their lines."""
    config_values.check_authorities(text)


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ("expected certificates in PEM", ""),
        ("expected certificates in PEM", "/etc/ssl/ca.pem"),
        ("expected certificates in PEM", PEM[:-20]),
        ("expected certificates in PEM", PEM + PEM[:-20]),
        ("block 2 is 'PRIVATE KEY': expected certificates alone", PEM + SECRET),
        ("a line of 64 characters of base64 is in no block", PEM + SECRET.partition("KEY-----")[2]),
        ("certificate 2 does not parse", PEM + PEM.replace("M", "*", 1).replace("\n", "\n*", 1)),
        ("certificate 1 does not parse", _pem(DER[:-1])),
        ("certificate 1 does not parse", _pem(b"")),
        # A fourth part, inside of a length that counts it.
        ("certificate 1 does not parse", _pem(_with_one_more(DER))),
        ("certificate 1 does not parse", _pem(b"\x30\x03\x02\x01\x01")),
        ("more than 32 KiB", PEM * (bounds.AUTHORITIES // len(PEM) + 1)),
    ],
)
def test_what_are_no_authorities(says: str, text: str) -> None:
    """What dockerd would not read, and what must not be in the spec of every Pod."""
    with pytest.raises(ConfigError) as caught:
        configs.parse(json.dumps({"sidecar": {"certificateAuthorities": text}}).encode())
    assert says in str(caught.value)
    assert str(caught.value).endswith("at `$.sidecar.certificateAuthorities`")
    assert not any(line in str(caught.value) for line in SECRET.splitlines())
    assert "MIG" not in str(caught.value)  # nothing of a key


FILE = b"""
sidecar: {transport: tls, requests: {cpu: 500m, memory: 1Gi}}
namespaces:
- match: ["team-a-*", ci]
  sidecar: {image: "docker:28-dind", requests: {cpu: "2"}}
- match: ["*"]
  sidecar: {cli: true}
"""


@pytest.mark.parametrize(
    ("image", "requests", "cli", "namespace"),
    [
        ("docker:28-dind", {"cpu": "2"}, False, "ci"),
        ("docker:28-dind", {"cpu": "2"}, False, "team-a-x"),
        (Config().sidecar.image, {"cpu": "500m", "memory": "1Gi"}, True, "team-a"),
        (Config().sidecar.image, {"cpu": "500m", "memory": "1Gi"}, False, "n" * 1000),
    ],
)
def test_settings_of_a_namespace(
    image: str, requests: dict[str, str], cli: bool, namespace: str
) -> None:
    """The first entry that matches, laid over the file key by key; no other entry counts."""
    sidecar = configs.of_namespace(configs.parse(FILE), namespace).sidecar
    assert (image, requests, cli) == (sidecar.image, sidecar.requests, sidecar.cli)
    assert sidecar.transport == "tls"


def test_no_entry_matches() -> None:
    """The file is as it is, the same object."""
    config = configs.parse(b"namespaces: [{match: [a], sidecar: {cli: true}}]")
    assert config is configs.of_namespace(config, "b")


def test_the_process_for_large_reviews_has_them_too() -> None:
    """It gets the file as msgpack."""
    config = configs.parse(FILE)
    assert config == msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=Config)


def test_the_namespace_is_that_of_the_review() -> None:
    """A Pod of a review need not name its namespace."""
    pod: Any = build.asking()
    request = {
        "uid": "u",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": "ci",
        "object": pod,
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    answer = admission.review(json.dumps(review).encode(), build.ANNOTATED, configs.parse(FILE))
    patch = base64.b64decode(json.loads(answer.body)["response"]["patch"])
    assert b'"docker:28-dind"' in patch


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ("`transprt` - at `$.namespaces[0].sidecar`", "[{match: [a], sidecar: {transprt: tls}}]"),
        ("at `$.namespaces[1].match`", "[{match: [a], sidecar: {}}, {match: [], sidecar: {}}]"),
        ("`match` - at `$.namespaces[0]`", "[{sidecar: {}}]"),
        ("`sidecar` - at `$.namespaces[0]`", "[{match: [a]}]"),
        ("at `$.namespaces[0].sidecar`", "[{match: [a], sidecar: null}]"),
        ("at `$.namespaces[0]`", "[a]"),
        ("at `$.namespaces`", "{}"),
        ("at `$.namespaces[0].sidecar.storage`", "[{match: [a], sidecar: {storage: nfs}}]"),
        ("at `$.namespaces[0].sidecar.bip`", "[{match: [a], sidecar: {bip: 10.0.0.1}}]"),
        ("unknown field `daemonset`", "[{match: [a], sidecar: {}, daemonset: {}}]"),
    ],
)
def test_errors_of_an_entry(says: str, text: str) -> None:
    """They name the path in the entry."""
    with pytest.raises(ConfigError) as caught:
        configs.parse(f"namespaces: {text}".encode())
    assert says in str(caught.value)


def test_an_entry_of_a_file_that_is_wrong() -> None:
    """The file's own sidecar is what is wrong then."""
    with pytest.raises(ConfigError, match=r"at `\$\.sidecar`"):
        configs.parse(b"{sidecar: [], namespaces: [{match: [a], sidecar: {}}]}")


def test_an_error_of_the_file_is_told_there() -> None:
    """An entry has the file's keys, too, and the path is where the wrong one stands, in any order."""
    with pytest.raises(ConfigError, match=r"at `\$\.sidecar`"):
        configs.parse(b"{namespaces: [{match: [a], sidecar: {}}], sidecar: {imagee: x}}")
