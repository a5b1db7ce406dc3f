"""certs.shared.requests: what is signed, and each way in which a request is denied."""

from __future__ import annotations

import ipaddress
from base64 import encodebytes
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from certs.shared import requests
from certs.shared.requests import Approval, Daemons, Denial, Object, Reason, State
from tests.certs.shared.objects import (
    EXTRA,
    HEADLESS,
    SERVICE_NAMES,
    node,
    pem,
    pod,
    request,
    service_pod,
)

A, B, C, SIX = "192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"
POD, NODE = pod(A), node(A)
DAEMONS: Final = Daemons()


def decided(
    asked: Object, its_pod: Object | None = POD, its_node: Object | None = NODE
) -> Approval | Denial:
    """What is made of a request, as a pass does it."""
    sender = requests.requester(asked, DAEMONS)
    if isinstance(sender, Denial):
        return sender
    return requests.judge(asked, sender, its_pod, its_node, DAEMONS)


def reason(*case: Any) -> Reason | None:
    """Why it is denied; None: it is not."""
    verdict = decided(*case)
    return verdict.reason if isinstance(verdict, Denial) else None


@pytest.mark.parametrize(
    ("asked", "its_pod", "its_node", "names"),
    [
        ([A], pod(A), node(A), {A}),
        ([A], pod(A), node(A, B), {A}),
        ([A], pod(A), node(A, kind="ExternalIP"), {A}),
        (["2001:DB8:0::1"], pod("2001:db8:0:0::1"), node("2001:db8::1"), {SIX}),
        ([SIX, A], pod(A, SIX), node(A, SIX), {A, SIX}),
    ],
)
def test_of_a_node(
    asked: Sequence[str], its_pod: Object, its_node: Object, names: set[str]
) -> None:
    """A DaemonSet's Pod gets a certificate for its hostIPs, however they are written."""
    verdict = decided(request(pem(asked)), its_pod, its_node)
    assert isinstance(verdict, Approval)
    assert ("dinp-docker-0", names) == (verdict.pod, set(verdict.names))


@pytest.mark.parametrize("key", ["subdomain", "hostname"])
def test_of_the_service(key: str) -> None:
    """A StatefulSet's Pod gets one for the Service and for itself, by hostname, else by its name."""
    asked = request(pem(SERVICE_NAMES), account="dinp-docker-service")
    verdict = decided(asked, service_pod(), None)
    assert isinstance(verdict, Approval)
    assert set(SERVICE_NAMES) == set(verdict.names)
    without = service_pod(**{key: ""})
    expected = Reason.NAMES if key == "subdomain" else None
    assert expected == reason(asked, without, None)


@pytest.mark.parametrize(
    ("names", "its_pod", "its_node"),
    [
        ([], POD, NODE),
        ([B], POD, NODE),
        ([A, B], POD, NODE),
        ([A, B], POD, node(A, B)),
        ([A], pod(A, B), node(A, B)),
        ([A, "one"], POD, NODE),
        ([*SERVICE_NAMES], POD, NODE),
        ([A], pod(), NODE),
        ([B], pod(B), NODE),
        (["::ffff:192.0.2.1"], POD, NODE),
        (["*.dinp-daemons.svc"], POD, NODE),
    ],
)
def test_other_names_than_the_nodes(
    names: Sequence[str], its_pod: Object, its_node: Object
) -> None:
    """One name more, one less or another one, and a Pod's address that is not its Node's."""
    assert Reason.NAMES == reason(request(pem(names)), its_pod, its_node)


@pytest.mark.parametrize(
    "names",
    [
        SERVICE_NAMES[:1],
        SERVICE_NAMES[1:],
        (*SERVICE_NAMES, A),
        (*SERVICE_NAMES, "dinp-docker"),
        (SERVICE_NAMES[0], HEADLESS.replace("-0.", "-1.")),
        (SERVICE_NAMES[0], "*.dinp-docker-headless.dinp-daemons.svc"),
        [A],
    ],
)
def test_other_names_than_the_services(names: Sequence[str]) -> None:
    """Neither another replica's name nor a wildcard, an address or half of what is due."""
    asked = request(pem(names), account="dinp-docker-service")
    assert Reason.NAMES == reason(asked, service_pod(), NODE)


@pytest.mark.parametrize(
    "name",
    [
        x509.RFC822Name("root@example.com"),
        x509.UniformResourceIdentifier("spiffe://cluster/daemon"),
        x509.DirectoryName(x509.Name([])),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ],
)
def test_other_kinds_of_names(name: x509.GeneralName) -> None:
    """A daemon has DNS names and addresses, and no other kind of name beside them."""
    assert Reason.NAMES == reason(request(pem([A], general_names=[name])))


@pytest.mark.parametrize(
    "username",
    [
        "",
        "admin",
        "system:serviceaccount:dinp-daemons:default",
        "system:serviceaccount:elsewhere:dinp-docker-daemonset",
        "system:serviceaccount:dinp-daemons:dinp-docker-daemonset ",
        "system:serviceaccount:dinp-system:dinp-certs",
    ],
)
def test_other_requesters(username: str) -> None:
    """Nobody but the two ServiceAccounts; the sentence names who asked, and who may."""
    verdict = decided(request(pem([A]), username=username))
    assert isinstance(verdict, Denial)
    assert Reason.REQUESTER == verdict.reason
    assert username in verdict.message
    assert "system:serviceaccount:dinp-daemons:dinp-docker-daemonset" in verdict.message


@pytest.mark.parametrize("key", ["pod-name", "pod-uid", "node-name"])
@pytest.mark.parametrize("value", [None, [], ["one", "two"]])
def test_a_token_that_is_not_bound(key: str, value: list[str] | None) -> None:
    """Each of the three extras has to be there once; the sentence names the one that is not."""
    asked = request(pem([A]))
    asked["spec"]["extra"][f"{EXTRA}{key}"] = value
    verdict = decided(asked)
    assert isinstance(verdict, Denial)
    assert Reason.TOKEN == verdict.reason
    assert f"{EXTRA}{key}" in verdict.message


def test_no_extras_at_all() -> None:
    """As of an API server before Kubernetes 1.32, or of a token that is bound to nothing."""
    assert Reason.TOKEN == reason(request(pem([A]), extra=None))


PODS: Final[Mapping[str, Object | None]] = {
    "gone": None,
    "another of the same name": pod(A, metadata={"uid": "other"}),
    "of another ServiceAccount": pod(A, account="default"),
    "of the other mode's": pod(A, account="dinp-docker-service"),
    "on another node": pod(A, nodeName="two"),
    "on no node": pod(A, nodeName=None),
    "of nobody's": pod(A, metadata={"ownerReferences": []}),
    "of a ReplicaSet": pod(A, kind="ReplicaSet"),
    "of a StatefulSet": pod(A, kind="StatefulSet"),
    "owned and not controlled": pod(A, metadata={"ownerReferences": [{"kind": "DaemonSet"}]}),
    "about to end": pod(A, metadata={"deletionTimestamp": "2026-11-24T12:00:00Z"}),
    "that has failed": {**POD, "status": {**POD["status"], "phase": "Failed"}},
    "that has succeeded": {**POD, "status": {**POD["status"], "phase": "Succeeded"}},
}


@pytest.mark.parametrize("case", PODS)
def test_pods_that_are_not_ours(case: str) -> None:
    """The Pod has to be the one of the token, ours, and alive; the sentence names it."""
    verdict = decided(request(pem([A])), PODS[case], NODE)
    assert isinstance(verdict, Denial)
    assert Reason.POD == verdict.reason
    assert "dinp-daemons/dinp-docker-0" in verdict.message


def test_a_node_that_is_gone() -> None:
    """Without the Node nobody can say which addresses are its own."""
    assert Reason.POD == reason(request(pem([A])), POD, None)


@pytest.mark.parametrize(
    ("usages", "expected"),
    [
        (["server auth"], None),
        (["digital signature", "server auth"], None),
        (["digital signature", "key encipherment", "server auth"], None),
        ([], Reason.USAGE),
        (["digital signature"], Reason.USAGE),
        (["client auth"], Reason.USAGE),
        (["server auth", "client auth"], Reason.USAGE),
        (["server auth", "cert sign"], Reason.USAGE),
        (["any"], Reason.USAGE),
    ],
)
def test_usages(usages: list[str], expected: Reason | None) -> None:
    """A server's and no other."""
    assert expected == reason(request(pem([A]), usages=usages))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (ec.generate_private_key(ec.SECP256R1()), None),
        (ec.generate_private_key(ec.SECP384R1()), None),
        (ec.generate_private_key(ec.SECP521R1()), Reason.KEY),
        (ec.generate_private_key(ec.SECP256K1()), Reason.KEY),
        (rsa.generate_private_key(65537, 2048), None),
        (rsa.generate_private_key(65537, 1024), Reason.KEY),  # noqa: S505 - that is the abuse
    ],
)
def test_keys(key: Any, expected: Reason | None) -> None:
    """ECDSA P-256 and P-384, RSA from 2048 bits on."""
    assert expected == reason(request(pem([A], key=key)))


def test_a_key_of_no_known_kind() -> None:
    """Ed25519 is none that Docker's clients of today all take."""
    key = ed25519.Ed25519PrivateKey.generate()
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(A))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = builder.add_extension(names, critical=False).sign(key, None)
    assert Reason.KEY == reason(request(csr.public_bytes(Encoding.PEM)))


@pytest.mark.parametrize(
    "extension",
    [
        x509.BasicConstraints(ca=True, path_length=None),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
    ],
)
def test_other_extensions(extension: x509.ExtensionType) -> None:
    """Whatever else a request wants to be: the sentence names the extension."""
    verdict = decided(request(pem([A], extension)))
    assert isinstance(verdict, Denial)
    assert Reason.REQUEST == verdict.reason
    assert extension.oid.dotted_string in verdict.message


def test_signed_by_another_key() -> None:
    """A request that its key has not signed is no proof that the requester has that key."""
    csr = x509.load_pem_x509_csr(pem([A]))
    der = bytearray(csr.public_bytes(Encoding.DER))
    der[-1] ^= 1
    mark = b"CERTIFICATE REQUEST-----\n"
    broken = b"-----BEGIN " + mark + encodebytes(bytes(der)) + b"-----END " + mark
    assert Reason.REQUEST == reason(request(broken))


@given(st.one_of(st.binary(max_size=200), st.integers(0, 300).map(lambda cut: pem([A])[:cut])))
def test_nonsense(csr: bytes) -> None:
    """Bytes that are no request are denied, never an error."""
    assert Reason.REQUEST == reason(request(csr))


@given(st.binary(min_size=1, max_size=4), st.integers(30, 400))
def test_damaged_requests(noise: bytes, at: int) -> None:
    """A request with some bytes overwritten is denied, or means what it meant: never more."""
    whole = pem([A])
    verdict = decided(request(whole[:at] + noise + whole[at + len(noise) :]))
    assert isinstance(verdict, Denial) or {A} == set(verdict.names)


def test_messages_are_short() -> None:
    """However many names a request asks for: a condition has to fit into an object."""
    many = [f"{number}.example.com" for number in range(3000)]
    verdict = decided(request(pem(many)))
    assert isinstance(verdict, Denial)
    assert "0.example.com" in verdict.message
    assert A in verdict.message
    assert len(verdict.message) < 1000


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, State.PENDING),
        ({"conditions": [{"type": "Approved"}]}, State.APPROVED),
        ({"conditions": [{"type": "Denied"}]}, State.ANSWERED),
        ({"conditions": [{"type": "Approved"}, {"type": "Failed"}]}, State.ANSWERED),
        ({"conditions": [{"type": "Approved"}], "certificate": "eA=="}, State.ANSWERED),
    ],
)
def test_states(status: dict[str, Any], expected: State) -> None:
    """By conditions and certificate; the API server writes no status where there is none."""
    assert expected == requests.state({"status": status})


def test_conditions_are_added() -> None:
    """What others have written of a request stays."""
    approved = {"type": "Approved", "status": "True"}
    asked = {**request(pem([A])), "status": {"conditions": [approved], "certificate": "eA=="}}
    failed = requests.with_condition(asked, "Failed", "NamesNotAllowed", "why")
    assert [approved, "Failed"] == [
        failed["status"]["conditions"][0],
        failed["status"]["conditions"][1]["type"],
    ]
    assert "eA==" == failed["status"]["certificate"]
    assert asked["spec"] is failed["spec"]


def test_lifetimes() -> None:
    """expirationSeconds, where it is set."""
    assert timedelta(minutes=10) == requests.wanted_lifetime(
        request(pem([A]), expirationSeconds=600)
    )
    assert requests.wanted_lifetime(request(pem([A]))) is None


def test_reasons_are_words() -> None:
    """Each reason is CamelCase, as conditions have it."""
    assert all(each.value.isalpha() and each.value[0].isupper() for each in Reason)
