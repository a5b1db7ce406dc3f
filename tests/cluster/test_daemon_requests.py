"""Certificates of shared daemons and their clients: what `dinp certs run-shared` signs, and what it denies.

Requests are sent with tokens that a real API server has bound to Pods, so the extras are its own;
certs uses the ServiceAccount of the manifests, so their permissions and policies suffice. No
kubelet runs: the tests write what one would write to Nodes and Pods.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
import tempfile
import threading
from base64 import b64decode, b64encode, encodebytes
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
from aiohttp import web
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs import calls
from certs.authority import KeyPair, Usage, issue_ca, issue_leaf
from certs.shared import rotation
from certs.shared.names import Names
from certs.shared.policy import Policy
from certs.shared.requests import SIGNER, Reason
from certs.shared.store import Store
from keeper import certificates, files
from keeper.files import Files
from tests.cluster.api import MERGE_PATCH, Api, Cluster, Object
from tests.cluster.installation import kustomization, write_kubeconfig
from tests.cluster.processes import PATIENCE, wait_until
from webhook.cli import main

pytestmark = pytest.mark.cluster

REQUESTS: Final = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
DAEMONS: Final = "/api/v1/namespaces/dinp-daemons"
SERVER: Final = ("digital signature", "server auth")
SERVICE_NAMES: Final = (
    "dinp-docker.dinp-daemons.svc",
    "dinp-docker-0.dinp-docker-headless.dinp-daemons.svc",
)
_ONES: Final = count()


@dataclass(frozen=True)
class Node:
    """A node of the tests, with its addresses."""

    name: str
    addresses: tuple[str, ...]


ONE: Final = Node("one", ("192.0.2.1",))
TWO: Final = Node("two", ("192.0.2.2",))
SIX: Final = Node("six", ("2001:db8::6",))
BOTH: Final = Node("both", ("192.0.2.4", "2001:db8::4"))
NOWHERE: Final = Node("", ONE.addresses)  # of a Pod that nobody has scheduled


@dataclass(frozen=True)
class Sent:
    """A request as somebody sends it; all that a good one has, unless a test says otherwise."""

    node: Node = ONE
    names: tuple[str, ...] = ("192.0.2.1",)
    account: str = "dinp-docker-daemonset"
    owner: str | None = "DaemonSet"
    namespace: str = "dinp-daemons"
    usages: tuple[str, ...] = SERVER
    bound: bool = True
    expiration: int | None = None
    make: Callable[[Sequence[str]], tuple[Any, bytes]] | None = None


def request_for(
    names: Sequence[str],
    key: CertificateIssuerPrivateKeyTypes | None = None,
    extensions: Sequence[x509.ExtensionType] = (),
) -> tuple[CertificateIssuerPrivateKeyTypes, bytes]:
    """A key, and the PEM of a request for these names."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        alternatives = x509.SubjectAlternativeName([general_name(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return key, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def general_name(name: str) -> x509.GeneralName:
    """An address or a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Site:
    """A cluster with the manifests, and certs at work in a thread."""

    def __init__(self, admin: Api, kubeconfig: Path) -> None:
        self.admin = admin
        self.kubeconfig = kubeconfig
        self.said: list[Any] = []

    @contextmanager
    def certs(self, policy: Policy) -> Iterator[None]:
        """Have certs at work, as `dinp certs run-shared` has it."""
        loop, stop = asyncio.new_event_loop(), asyncio.Event()

        async def work() -> None:
            async with calls.connected(self.kubeconfig) as api:
                await rotation.loop(Store(api, Names()), policy).run(stop)

        def run() -> None:
            loop.run_until_complete(work())
            loop.close()

        with structlog.testing.capture_logs() as self.said:
            thread = threading.Thread(target=run)
            thread.start()
            try:
                yield
            finally:
                loop.call_soon_threadsafe(stop.set)
                thread.join(PATIENCE)
        assert not thread.is_alive()

    def send(self, sent: Sent) -> tuple[Any, str]:
        """Send it; return the key and the name of the request."""
        token = self._token(sent)
        key, pem = (sent.make or request_for)(sent.names)
        spec: Object = {
            "request": b64encode(pem).decode(),
            "signerName": SIGNER,
            "usages": list(sent.usages),
        }
        if sent.expiration is not None:
            spec["expirationSeconds"] = sent.expiration
        metadata = {"generateName": "dinp-docker-"}
        with closing(Api(self.admin.cluster, token)) as api:
            made = api.must("POST", REQUESTS, {"metadata": metadata, "spec": spec})
        return key, made["metadata"]["name"]

    def _token(self, sent: Sent) -> str:
        if not sent.bound:
            return self.admin.service_account_token(sent.namespace, sent.account)
        name = self._pod(sent)
        reference = {"kind": "Pod", "apiVersion": "v1", "name": name}
        path = f"/api/v1/namespaces/{sent.namespace}/serviceaccounts/{sent.account}/token"
        request: Object = {"spec": {"boundObjectRef": reference}}
        return str(self.admin.must("POST", path, request)["status"]["token"])

    def _pod(self, sent: Sent) -> str:
        """Make the Pod as controller, scheduler and kubelet would."""
        number = next(_ONES)
        service = sent.account == "dinp-docker-service"
        name = f"dinp-docker-{number}"
        metadata: Object = {"name": name}
        if sent.owner is not None:
            owner = {"apiVersion": "apps/v1", "kind": sent.owner, "name": "dinp-docker"}
            metadata["ownerReferences"] = [{**owner, "uid": "1", "controller": True}]
        container = {"name": "docker", "image": "docker:29-dind"}
        spec: Object = {
            "serviceAccountName": sent.account,
            "automountServiceAccountToken": False,
            "nodeName": sent.node.name,
            "containers": [container],
        }
        if service:
            spec |= {"hostname": "dinp-docker-0", "subdomain": "dinp-docker-headless"}
        path = f"/api/v1/namespaces/{sent.namespace}/pods"
        self.admin.must("POST", path, {"metadata": metadata, "spec": spec})
        addresses = [{"ip": address} for address in sent.node.addresses]
        status = {"hostIP": sent.node.addresses[0], "hostIPs": addresses}
        patched: Object = {"status": status}
        self.admin.must("PATCH", f"{path}/{name}/status", patched, media_type=MERGE_PATCH)
        return name

    def answer(self, name: str) -> Object:
        """The status of a request, once somebody has decided."""

        def decided() -> bool:
            status = self.admin.must("GET", f"{REQUESTS}/{name}").get("status") or {}
            types = {condition["type"] for condition in status.get("conditions") or ()}
            return "certificate" in status or bool(types & {"Denied", "Failed"})

        wait_until(decided, f"{name} is answered")
        found: Object = self.admin.must("GET", f"{REQUESTS}/{name}")["status"]
        return found

    def signed(self, sent: Sent) -> KeyPair:
        """Send a request that is signed."""
        key, name = self.send(sent)
        status = self.answer(name)
        assert "certificate" in status, status
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return KeyPair(b64decode(status["certificate"]), pem)

    def client(self, namespace: str) -> Mapping[str, bytes]:
        """The client certificate of a namespace; empty: there is none."""
        found = self.admin.get(f"/api/v1/namespaces/{namespace}/secrets/dinp-client-tls")
        data = found.body.get("data") or {}
        return {key: b64decode(value) for key, value in data.items()}

    def published(self) -> Mapping[str, str]:
        """What daemons find in their ConfigMap."""
        found = self.admin.must("GET", f"{DAEMONS}/configmaps/dinp-docker-ca")
        data: Mapping[str, str] = found.get("data") or {}
        return data

    def label(self, namespace: str, **labels: str | None) -> None:
        """Set or remove labels dinp.io/<key>."""
        wanted = {f"dinp.io/{key.replace('_', '-')}": value for key, value in labels.items()}
        patch: Object = {"metadata": {"labels": wanted}}
        self.admin.must("PATCH", f"/api/v1/namespaces/{namespace}", patch, media_type=MERGE_PATCH)


@pytest.fixture(scope="module")
def installed(own_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The manifests, and four Nodes."""
    folder = tmp_path_factory.mktemp("requests")
    whole = kustomization(folder, "base", "shared", "daemonset", "service")
    with closing(Api(own_cluster)) as admin:
        done = own_cluster.kubectl("apply", "--kustomize", str(whole))
        assert done.code == 0, done.err
        for node in (ONE, TWO, SIX, BOTH):
            admin.must("POST", "/api/v1/nodes", {"metadata": {"name": node.name}})
            addresses = [{"type": "InternalIP", "address": at} for at in node.addresses]
            status: Object = {"status": {"addresses": addresses}}
            path = f"/api/v1/nodes/{node.name}/status"
            admin.must("PATCH", path, status, media_type=MERGE_PATCH)
        admin.create_namespace("elsewhere")
        admin.create_service_account("elsewhere", "dinp-docker-daemonset")
        admin.create_service_account("dinp-daemons", "other")
        allow_requests(admin)
        yield Site(admin, write_kubeconfig(admin, "dinp-certs-docker", folder / "kubeconfig"))


def allow_requests(admin: Api) -> None:
    """Let ServiceAccounts that are not ours send requests, so that certs has to deny them."""
    subjects = [
        {"kind": "ServiceAccount", "name": "other", "namespace": "dinp-daemons"},
        {"kind": "ServiceAccount", "name": "dinp-docker-daemonset", "namespace": "elsewhere"},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "dinp-docker"}
    binding: Object = {"metadata": {"name": "tests"}, "roleRef": role, "subjects": subjects}
    admin.must("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)


@pytest.fixture(scope="module")
def site(installed: Site) -> Iterator[Site]:
    """The same with certs at work."""
    with installed.certs(Policy(server_lifetime=timedelta(hours=2))):
        wait_until(lambda: set(installed.published()) == {"client-ca.pem", "server-ca.pem"}, "CAs")
        yield installed


GOOD: Final = {
    "IPv4": Sent(),
    "IPv6, however it is written": Sent(SIX, ("2001:DB8:0::6",)),
    "both families": Sent(BOTH, BOTH.addresses),
    "service": Sent(names=SERVICE_NAMES, account="dinp-docker-service", owner="StatefulSet"),
    "RSA": Sent(make=lambda names: request_for(names, rsa.generate_private_key(65537, 2048))),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_is_signed(site: Site, case: str) -> None:
    """For exactly the names that were asked for, for a server alone, and by the published CA."""
    sent = GOOD[case]
    pair = site.signed(sent)
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    expected = {general_name(name) for name in sent.names}
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert expected == set(names)
    assert [ExtendedKeyUsageOID.SERVER_AUTH] == list(usages)
    issuer = x509.load_pem_x509_certificate(site.published()["server-ca.pem"].encode())
    certificate.verify_directly_issued_by(issuer)


def test_no_longer_than_asked_for_nor_than_allowed(site: Site) -> None:
    """The lifetime is the shorter of what the request says and what certs allows."""
    lifetimes = []
    for expiration in (600, 86400):
        pem = site.signed(Sent(expiration=expiration)).certificate
        end = x509.load_pem_x509_certificate(pem).not_valid_after_utc
        lifetimes.append((end - datetime.now(UTC)).total_seconds())
    assert lifetimes[0] <= 600
    assert 600 < lifetimes[1] <= 7200


def with_client_usage(names: Sequence[str]) -> tuple[Any, bytes]:
    """A request whose own extension asks to be a client."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return request_for(names, extensions=[usage])


def of_no_version(names: Sequence[str]) -> tuple[Any, bytes]:
    """What the API server takes for a request, and our own parser has an exception of its own for."""
    key = ec.generate_private_key(ec.SECP256R1())
    content = bytearray(x509.load_pem_x509_csr(request_for(names, key)[1]).tbs_certrequest_bytes)
    content[content.index(b"\x02\x01\x00") + 2] = 5
    signature = key.sign(bytes(content), ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    bits = bytes([0x03, len(signature) + 1, 0]) + signature
    whole = bytes(content) + algorithm + bits
    return key, pem_of("CERTIFICATE REQUEST", bytes([0x30, 0x81, len(whole)]) + whole)


def pem_of(what: str, der: bytes) -> bytes:
    """Bytes as PEM."""
    return f"-----BEGIN {what}-----\n{encodebytes(der).decode()}-----END {what}-----\n".encode()


ABUSES: Final = {
    "the address of another node": (Sent(names=TWO.addresses), Reason.NAMES),
    "one address more": (Sent(names=(*ONE.addresses, *TWO.addresses)), Reason.NAMES),
    "a DNS name more": (Sent(names=(*ONE.addresses, "example.com")), Reason.NAMES),
    "one address less": (Sent(BOTH, BOTH.addresses[:1]), Reason.NAMES),
    "the Service's names on a node": (Sent(names=SERVICE_NAMES), Reason.NAMES),
    "no name": (Sent(names=()), Reason.NAMES),
    "a node's address behind a Service": (
        Sent(
            names=(*SERVICE_NAMES, "192.0.2.1"), account="dinp-docker-service", owner="StatefulSet"
        ),
        Reason.NAMES,
    ),
    "a Pod of nobody's": (Sent(owner=None), Reason.POD),
    "a Pod of another kind": (Sent(owner="StatefulSet"), Reason.POD),
    "another ServiceAccount": (Sent(account="other"), Reason.REQUESTER),
    "another namespace": (Sent(namespace="elsewhere"), Reason.REQUESTER),
    "a token without a Pod": (Sent(bound=False), Reason.TOKEN),
    "a token without a node": (Sent(NOWHERE), Reason.TOKEN),
    "usage of a client": (Sent(usages=("digital signature", "client auth")), Reason.USAGE),
    "usage of both": (Sent(usages=(*SERVER, "client auth")), Reason.USAGE),
    "a client by extension": (Sent(make=with_client_usage), Reason.REQUEST),
    "a version that does not exist": (Sent(make=of_no_version), Reason.REQUEST),
    "RSA of 1024 bits": (
        Sent(make=lambda names: request_for(names, rsa.generate_private_key(65537, 1024))),  # noqa: S505 - that is the abuse
        Reason.KEY,
    ),
    "a curve that is not ours": (
        Sent(make=lambda names: request_for(names, ec.generate_private_key(ec.SECP521R1()))),
        Reason.KEY,
    ),
}


@pytest.mark.parametrize("case", ABUSES)
def test_what_is_denied(site: Site, case: str) -> None:
    """Denied, with the reason in the request's condition and in the log; nothing is signed."""
    sent, reason = ABUSES[case]
    _, name = site.send(sent)
    status = site.answer(name)
    (condition,) = status["conditions"]
    assert ("Denied", reason.value) == (condition["type"], condition["reason"])
    assert condition["message"]
    assert "certificate" not in status
    wait_until(lambda: any(line.get("request") == name for line in site.said), "it is logged")
    (logged,) = [line for line in site.said if line.get("request") == name]
    assert reason.value == logged["reason"]


def test_a_pod_that_is_gone(site: Site) -> None:
    """Who holds the token of a Pod that has ended gets nothing: the API server takes it no more."""
    sent = Sent()
    token = site._token(sent)
    name = f"dinp-docker-{next(_ONES) - 1}"
    site.admin.must("DELETE", f"{DAEMONS}/pods/{name}?gracePeriodSeconds=0")
    _, pem = request_for(sent.names)
    spec = {"request": b64encode(pem).decode(), "signerName": SIGNER, "usages": list(SERVER)}
    whole: Object = {"metadata": {"generateName": "dinp-docker-"}, "spec": spec}
    with closing(Api(site.admin.cluster, token)) as api:

        def refused() -> bool:
            return api.request("POST", f"{REQUESTS}?dryRun=All", whole).status == 401

        wait_until(refused, "the token is refused", interval=0.5)


def test_approved_by_a_person_it_is_judged_all_the_same(site: Site) -> None:
    """An administrator's approval does not make a bad request good: it fails, with the reason."""
    _, name = site.send(Sent(names=TWO.addresses))
    # It may be denied before; then the approval is refused by the API server.
    whole = site.admin.must("GET", f"{REQUESTS}/{name}")
    condition = {"type": "Approved", "status": "True", "reason": "ByHand", "message": "trust me"}
    whole["status"] = {"conditions": [condition]}
    site.admin.request("PUT", f"{REQUESTS}/{name}/approval", whole)
    status = site.answer(name)
    assert "certificate" not in status
    assert Reason.NAMES.value in {condition["reason"] for condition in status["conditions"]}


def test_requests_to_others_are_left_alone(site: Site) -> None:
    """A request to another signer is neither approved nor denied."""
    _, pem = request_for(("192.0.2.1",))
    spec = {"request": b64encode(pem).decode(), "signerName": "example.com/other", "usages": []}
    whole: Object = {"metadata": {"name": "others"}, "spec": {**spec, "usages": list(SERVER)}}
    site.admin.must("POST", REQUESTS, whole)
    site.signed(Sent())  # a pass that came later
    assert not site.admin.must("GET", f"{REQUESTS}/others").get("status")


def test_a_namespace_that_is_allowed(site: Site) -> None:
    """Its Secret comes with the label, opens what certs has signed, and goes with the label."""
    assert site.admin.create_namespace("tenant").status == 201
    assert not site.client("tenant")
    site.label("tenant", shared_daemon="allowed")
    wait_until(lambda: bool(site.client("tenant")), "the client certificate is there")
    client = site.client("tenant")
    assert {"ca.pem", "cert.pem", "key.pem"} == set(client)
    assert client["ca.pem"].decode() == site.published()["server-ca.pem"]
    certificate = x509.load_pem_x509_certificate(client["cert.pem"])
    assert "CN=namespace:tenant" == certificate.subject.rfc4514_string()
    server = site.signed(Sent())
    pair = KeyPair(client["cert.pem"], client["key.pem"])
    assert is_let_in(site, server, pair)
    site.label("tenant", shared_daemon=None)
    wait_until(lambda: not site.client("tenant"), "the client certificate is gone")
    assert is_let_in(site, server, pair), "the certificate lives to its end"


def test_what_a_tenant_writes_over_it(site: Site) -> None:
    """Whatever a tenant writes into its Secret is made right, and stops nobody else's certificates."""
    assert site.admin.create_namespace("careless", {"dinp.io/inject": "service"}).status == 201
    wait_until(lambda: bool(site.client("careless")), "the client certificate is there")
    good = site.client("careless")
    der = bytearray(
        x509.load_pem_x509_certificate(good["cert.pem"]).public_bytes(serialization.Encoding.DER)
    )
    der[der.index(b"\xa0\x03\x02\x01") + 4] = 5  # no version of X.509
    path = "/api/v1/namespaces/careless/secrets/dinp-client-tls"
    for bad in (pem_of("CERTIFICATE", bytes(der)), b"nonsense", b""):
        data = {"cert.pem": b64encode(bad).decode()}
        site.admin.must("PATCH", path, {"data": data}, media_type=MERGE_PATCH)
        wait_until(lambda: site.client("careless")["cert.pem"].count(b"BEGIN") == 1, "it is right")
        wait_until(lambda bad=bad: site.client("careless")["cert.pem"] != bad, "it is another")  # type: ignore[misc]  # mypy sees no default
    assert site.signed(Sent()).certificate


def test_whom_a_daemon_lets_in(site: Site) -> None:
    """Neither a client of another CA nor another daemon: only who has a client's certificate."""
    server, other = site.signed(Sent()), site.signed(Sent(TWO, TWO.addresses))
    now, hour = datetime.now(UTC), timedelta(hours=1)
    foreign = issue_ca("foreign", now=now, lifetime=hour)
    stranger = issue_leaf(foreign, "stranger", usage=Usage.CLIENT, now=now, lifetime=hour)
    assert not is_let_in(site, server, stranger)
    assert not is_let_in(site, server, other)


def is_let_in(site: Site, server: KeyPair, client: KeyPair) -> bool:
    """Whether both sides of a handshake verify each other, by what certs has published."""
    published = site.published()
    listening = context(ssl.PROTOCOL_TLS_SERVER, server, published["client-ca.pem"])
    listening.verify_mode = ssl.CERT_REQUIRED
    calling = context(ssl.PROTOCOL_TLS_CLIENT, client, published["server-ca.pem"])
    return shake_hands(listening, calling, "192.0.2.1")


def context(protocol: int, pair: KeyPair, authorities: str) -> ssl.SSLContext:
    """One side's."""
    made = ssl.SSLContext(protocol)
    made.load_verify_locations(cadata=authorities)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pair.certificate + pair.key)
        file.flush()
        made.load_cert_chain(file.name)
    return made


def shake_hands(listening: ssl.SSLContext, calling: ssl.SSLContext, name: str) -> bool:
    """In memory: whether both sides come to its end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = listening.wrap_bio(to_server, to_client, server_side=True)
    client = calling.wrap_bio(to_client, to_server, server_hostname=name)
    done: set[str] = set()
    for _ in range(10):
        for side, one in (("client", client), ("server", server)):
            try:
                one.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return done == {"client", "server"}


# ---- the daemon's side -------------------------------------------------------------------


@dataclass(frozen=True)
class Daemon:
    """What a shared daemon's Pod has: a token, the published CAs, and its memory volume."""

    directory: Path
    authorities: Path
    kubeconfig: Path

    def settings(self, *names: str) -> certificates.Settings:
        """What the keeper goes by."""
        return certificates.Settings(
            names, "dinp-docker-x", self.directory, self.authorities, None, self.kubeconfig
        )

    def prepare(self, *names: str) -> Result:
        """Run `dinp daemon prepare`, which gives up at once."""
        return CliRunner().invoke(
            main,
            [
                *(
                    "daemon",
                    "prepare",
                    f"--names={','.join(names)}",
                    f"--directory={self.directory}",
                ),
                *(f"--ca-directory={self.authorities}", f"--kubeconfig={self.kubeconfig}"),
                "--timeout=0s",
            ],
        )


@pytest.fixture
def daemon(site: Site, tmp_path: Path) -> Daemon:
    """A Pod of the DaemonSet on node one."""
    made = Daemon(tmp_path / "daemon", tmp_path / "ca", tmp_path / "kubeconfig")
    for folder in (made.directory, made.authorities):
        folder.mkdir()
    for name, pem in site.published().items():
        (made.authorities / name).write_text(pem, encoding="ascii")
    known = json.loads(site.admin.cluster.kubeconfig.read_text(encoding="utf-8"))
    known["users"] = [{"name": "admin", "user": {"token": site._token(Sent())}}]
    made.kubeconfig.write_text(json.dumps(known), encoding="utf-8")
    return made


def test_a_daemon_prepares(site: Site, daemon: Daemon) -> None:
    """It has a certificate that clients trust, and runs again without another request."""
    for _ in range(2):
        done = daemon.prepare(*ONE.addresses)
        assert 0 == done.exit_code, done.output
        found = files.read(daemon.directory / files.TLS)
        assert found is not None
        assert blocks(site.published()["client-ca.pem"]) == [
            pem.decode() for pem in sorted(found.client_authorities)
        ]
    assert found is not None
    x509.load_pem_x509_certificate(found.pair.certificate).verify_directly_issued_by(
        x509.load_pem_x509_certificate(site.published()["server-ca.pem"].encode())
    )


def test_a_daemon_is_refused(daemon: Daemon) -> None:
    """It says by which reason, ends with an error, and leaves nothing to start dockerd with."""
    done = daemon.prepare(*TWO.addresses)
    assert 2 == done.exit_code
    assert "Denied: NamesNotAllowed: it asks for 192.0.2.2" in done.output
    assert files.read(daemon.directory / files.TLS) is None


@pytest.mark.parametrize("containers", [0, 1, None])
async def test_a_keeper_renews(site: Site, daemon: Daemon, containers: int | None) -> None:
    """What is due is signed anew, and dockerd is to be restarted once no container runs."""
    secret = f"{DAEMONS.replace('dinp-daemons', 'dinp-system')}/secrets/dinp-docker-server-ca"
    data = site.admin.must("GET", secret)["data"]
    ca = KeyPair(b64decode(data["ca.crt"]), b64decode(data["ca.key"]))
    then, hour = datetime.now(UTC) - timedelta(minutes=50), timedelta(hours=1)
    old = issue_leaf(ca, "x", usage=Usage.SERVER, now=then, lifetime=hour, names=ONE.addresses)
    clients = files.published(daemon.authorities).client
    files.put(daemon.directory / files.TLS, Files(old, clients))
    socket = str(daemon.directory / "docker.sock")
    renewal = certificates.Renewal(daemon.settings(*ONE.addresses), socket, timedelta(days=30))
    async with engine_at(socket, containers):
        await renewal.check()
    waiting = files.read(daemon.directory / files.NEXT)
    assert waiting is not None
    assert old.certificate != waiting.pair.certificate
    asked = daemon.directory / files.RESTART
    assert ("idle" if containers == 0 else None) == (
        asked.read_text(encoding="ascii") if asked.exists() else None
    )


@asynccontextmanager
async def engine_at(socket: str, containers: int | None) -> AsyncIterator[None]:
    """A socket that says how many containers run; None: nobody listens there."""
    app = web.Application()

    async def listed(_: web.Request) -> web.Response:
        return web.json_response([{}] * (containers or 0))

    app.router.add_get("/containers/json", listed)
    runner = web.AppRunner(app)
    await runner.setup()
    if containers is not None:
        await web.UnixSite(runner, socket).start()
    yield
    await runner.cleanup()


# ---- over time ---------------------------------------------------------------------------


def test_rotation(installed: Site) -> None:
    """Certificates of clients are renewed, CAs follow each other, and none vanishes in between."""
    policy = Policy(
        ca_lifetime=timedelta(seconds=48),
        server_lifetime=timedelta(seconds=40),
        client_lifetime=timedelta(seconds=16),
        delivery=timedelta(seconds=4),
        daemon_restart=timedelta(seconds=8),
    )
    for name in ("dinp-docker-server-ca", "dinp-docker-client-ca"):
        installed.admin.request("DELETE", f"/api/v1/namespaces/dinp-system/secrets/{name}")
    assert installed.admin.create_namespace("rotating", {"dinp.io/inject": "service"}).status == 201
    revoked = frozenset(blocks(installed.published().get("client-ca.pem", "")))
    clients: dict[bytes, bytes] = {}
    bundles: list[frozenset[str]] = []

    def look() -> bool:
        client = installed.client("rotating")
        if client:
            clients[client["cert.pem"]] = client["ca.pem"]
        bundle = frozenset(blocks(installed.published().get("client-ca.pem", "")))
        if bundle != revoked and (not bundles or bundles[-1] != bundle):
            bundles.append(bundle)
        return len(clients) > 4 and len(frozenset().union(*bundles)) >= 3

    with installed.certs(policy):
        wait_until(look, "certificates and CAs have followed each other")
    for before, after in pairwise(bundles):
        assert before & after, "a CA is published before the last one goes"


def blocks(pem: str) -> list[str]:
    """The certificates of a bundle."""
    end = "-----END CERTIFICATE-----\n"
    return [block + end for block in pem.split(end) if block]


def test_a_deleted_ca_is_revoked(installed: Site) -> None:
    """Who deletes a CA's Secret has another CA at once, and the old one is published no more."""
    with installed.certs(Policy()):
        wait_until(lambda: "client-ca.pem" in installed.published(), "the CAs are published")
        before = installed.published()["client-ca.pem"]
        installed.admin.must(
            "DELETE", "/api/v1/namespaces/dinp-system/secrets/dinp-docker-client-ca"
        )

        def is_another() -> bool:
            now = set(blocks(installed.published()["client-ca.pem"]))
            return bool(now) and not now & set(blocks(before))

        wait_until(is_another, "another CA is published, and the old one no more")


def test_a_replica_more(installed: Site) -> None:
    """Two at once get in nobody's way: one certificate a request, one Secret a namespace."""
    assert installed.admin.create_namespace("two", {"dinp.io/migrate": "daemonset"}).status == 201
    with installed.certs(Policy()), installed.certs(Policy()):
        assert installed.signed(Sent()).certificate
        wait_until(lambda: bool(installed.client("two")), "the client certificate is there")
