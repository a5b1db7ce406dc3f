"""Who is refused by a shared daemon, and by which layer.

| who | what refuses |
|---|---|
| a client without TLS | the server's HTTP: it tells plain HTTP from TLS |
| a client without a certificate, with one of another CA, a server's, or one that has ended | the server's TLS handshake, before it reads a request |
| a Pod of a namespace that is not allowed | admission |
| the same with a mount of another namespace's Secret | the kubelet: a Pod's Secrets are of its namespace |
"""

from __future__ import annotations

import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from certs import authority
from certs.authority import KeyPair, Usage
from tests.cluster.api import MERGE_PATCH
from tests.cluster.processes import wait_until
from tests.installation.deployed import is_ready
from tests.node import pods
from tests.shared_daemons.daemons import CLIENT_SECRET, DAEMONSET, SERVICE, Daemons, client
from webhook.asking import rules

pytestmark = pytest.mark.node

NAMESPACE: Final = "refused"
NEIGHBOUR: Final = "not-allowed"
LOST: Final = "lost-its-label"
CLIENT: Final = "client"
_NOW: Final = ("--client-lifetime=40s", "--delivery=12s")
_WAITS: Final = "trap 'exit 0' TERM; sleep 100000 & wait"
# Docker's CLI keeps back a certificate that is of none of the CAs that the server names; OpenSSL,
# by which docker-py connects, does not.
_CLI_IS_TOLD: Final = {
    "none": "certificate required",
    "other CA": "unknown certificate authority",
    "server": "certificate required",
    "server's usage": "bad certificate",
}
_OPENSSL_IS_TOLD: Final = {
    "none": "certificate required",
    "other CA": "unknown ca",
    "server": "unknown ca",
    "server's usage": "bad certificate",
}
_ENDED: Final = "expired certificate"
# As long as it works there are new connections: a namespace's certificate ends in the middle.
_UNTIL_REFUSED: Final = """
set +x
while docker version >/tmp/said 2>&1; do echo works; sleep 1; done
"""
# With TLS 1.3 a client has sent its request by the time that it is judged: the end of the
# connection may come before the reason.
_UNTIL_TOLD: Final = """
for _ in $(seq 20); do
    if docker version >/tmp/said 2>&1; then cat /tmp/said; exit; fi
    ! grep -q 'remote error' /tmp/said || break
done
cat /tmp/said
"""


@pytest.fixture(scope="module")
def allowed(daemons: Daemons) -> Iterator[Daemons]:
    """A client with a daemon of each kind, in a namespace that may have them."""
    with daemons.namespace(NAMESPACE):
        for kind in (DAEMONSET, SERVICE):
            daemons.start(NAMESPACE, client(f"{CLIENT}-{kind}", kind, _WAITS))
        for kind in (DAEMONSET, SERVICE):
            path = f"/api/v1/namespaces/{NAMESPACE}/pods/{CLIENT}-{kind}"
            wait_until(
                lambda path=path: is_ready(daemons.api.must("GET", path)),  # type: ignore[misc]  # a default value has no type
                f"the client of {kind} runs",
            )
        yield daemons


def ask(daemons: Daemons, kind: str, script: str) -> tuple[int, str]:
    """Run a script in a client; return its exit code, and what it says."""
    where = (f"--namespace={NAMESPACE}", f"{CLIENT}-{kind}", "--", "sh", "-euc", script)
    done = daemons.bare.cluster.kubectl("exec", *where)
    return done.code, done.out + done.err


def with_files(files: Mapping[str, bytes]) -> str:
    """A script that asks the daemon with these files in place of dinp's."""
    lines = [
        f"echo {b64encode(content).decode()} | base64 -d >$d/{it}" for it, content in files.items()
    ]
    own = ["d=$(mktemp -d)", "cp /dinp/certs/ca.pem $d", *lines, "export DOCKER_CERT_PATH=$d"]
    return "\n".join([*own, _UNTIL_TOLD])


def client_files(daemons: Daemons, who: str) -> dict[str, bytes]:
    """What somebody has that may not come in."""
    if who == "none":
        return {}
    if who == "server":  # what a daemon itself serves with
        (daemon,) = daemons.daemons(SERVICE)
        name = daemon["metadata"]["name"]
        return {
            file: daemons.execute(name, "cat", f"/daemon/tls/{file}").encode()
            for file in ("cert.pem", "key.pem")
        }
    now, lifetime = datetime.now(UTC), timedelta(hours=1)
    if who == "server's usage":  # of the right CA
        files = daemons.deployed.certs.secret("dinp-docker-client-ca")
        ca, usage = KeyPair(files["ca.crt"], files["ca.key"]), Usage.SERVER
    else:
        ca, usage = (
            authority.issue_ca("dinp Docker client CA", now=now, lifetime=lifetime),
            Usage.CLIENT,
        )
    pair = authority.issue_leaf(
        ca, f"namespace:{NAMESPACE}", names=("localhost",), usage=usage, now=now, lifetime=lifetime
    )
    return {"cert.pem": pair.certificate, "key.pem": pair.key}


@pytest.mark.parametrize("kind", [DAEMONSET, SERVICE])
@pytest.mark.parametrize("who", _CLI_IS_TOLD)
def test_the_handshake_refuses(allowed: Daemons, kind: str, who: str) -> None:
    """The server ends it with an alert that says why."""
    _, said = ask(allowed, kind, with_files(client_files(allowed, who)))
    assert f"remote error: tls: {_CLI_IS_TOLD[who]}" in said
    assert "Server:" not in said


@pytest.mark.parametrize("who", _OPENSSL_IS_TOLD)
def test_the_handshake_refuses_openssl(allowed: Daemons, who: str, tmp_path: Path) -> None:
    """The same for a client that shows whatever it has; the daemon's log has it, too."""
    address = allowed.nodes[0].inside
    daemon = allowed.daemon_on(allowed.nodes[0].name)["metadata"]["name"]
    (tmp_path / "ca.pem").write_bytes(allowed.client_files(NAMESPACE)["ca.pem"])
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    for name, content in client_files(allowed, who).items():
        (tmp_path / name).write_bytes(content)
    if who != "none":
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    told, port = refusal(context, address)
    assert f"alert {_OPENSSL_IS_TOLD[who]}" in told
    refused = re.compile(rf"TLS handshake error from \S+:{port}: ")
    wait_until(lambda: bool(refused.search(allowed.log(daemon, "docker"))), "the log has it")


def refusal(context: ssl.SSLContext, address: str) -> tuple[str, int]:
    """Connect to a daemon; return what the server says against it, and the client's own port."""
    with (
        socket.create_connection((address, 2376), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=address) as connection,
    ):
        port: int = connection.getsockname()[1]
        try:
            connection.recv(1)  # with TLS 1.3 the client is done before it is judged
        except ssl.SSLError as error:
            return str(error), port
    return "", port


@pytest.mark.parametrize("kind", [DAEMONSET, SERVICE])
def test_its_own_certificate_is_taken(allowed: Daemons, kind: str) -> None:
    """The script that shows refusals shows this, too."""
    code, said = ask(allowed, kind, with_files(allowed.client_files(NAMESPACE)))
    assert code == 0, said
    assert "Server:" in said


@pytest.mark.parametrize("kind", [DAEMONSET, SERVICE])
def test_plain_http_is_refused(allowed: Daemons, kind: str) -> None:
    """No request is answered but by a sentence."""
    code, said = ask(allowed, kind, "env -u DOCKER_CERT_PATH DOCKER_TLS_VERIFY= docker version")
    assert code != 0
    assert "Client sent an HTTP request to an HTTPS server" in said


# ---- namespaces --------------------------------------------------------------------------


@pytest.fixture
def short_lived(daemons: Daemons) -> Iterator[Daemons]:
    """Certificates of clients that end soon, as long as the test takes."""
    daemons.configure_certs(*_NOW)
    yield daemons
    daemons.configure_certs()


def test_a_namespace_that_lost_its_label(short_lived: Daemons) -> None:
    """Its Secret is gone at once, and a Pod that has it goes on until the certificate ends."""
    daemons = short_lived
    with daemons.namespace(LOST):
        daemons.start(LOST, client(CLIENT, DAEMONSET, _UNTIL_REFUSED + _UNTIL_TOLD))
        wait_until(
            lambda: "works" in pods.logs(daemons.bare.cluster, LOST, CLIENT, "client"),
            "it works",
            interval=0.5,
        )
        path = f"/api/v1/namespaces/{LOST}"
        labels: Any = {"metadata": {"labels": {rules.SHARED_DAEMON: None}}}
        daemons.api.must("PATCH", path, labels, media_type=MERGE_PATCH)
        wait_until(lambda: not daemons.client_files(LOST), "the Secret is gone")
        assert daemons.api.get(f"{path}/secrets/{CLIENT_SECRET}").status == 404
        said = daemons.said(LOST, CLIENT)
        assert f"remote error: tls: {_ENDED}" in said.splitlines()[-1]
        # Nobody new comes in.
        answer = daemons.api.create_pod(LOST, client("later", DAEMONSET, "true"))
        assert answer.status == 403


@pytest.mark.parametrize("kind", [DAEMONSET, SERVICE])
def test_a_namespace_that_is_not_allowed(daemons: Daemons, kind: str) -> None:
    """A Pod of it is denied, with the label to ask for."""
    answer = daemons.api.create_pod("annotated", client("asks", kind, "true"))
    assert answer.status == 403
    assert (
        "ask a cluster admin to label the namespace dinp.io/shared-daemon=allowed" in answer.message
    )


def test_another_namespaces_secret(allowed: Daemons) -> None:
    """Who mounts the Secret by hand gets that of its own namespace, which is not there."""
    assert allowed.client_files(NAMESPACE)
    answer = allowed.api.create_namespace(NEIGHBOUR)
    assert answer.status == 201
    pod = client("mounts", None, "ls /certs")
    pod["spec"]["volumes"] = [{"name": "certs", "secret": {"secretName": CLIENT_SECRET}}]
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "certs", "mountPath": "/certs"}]
    try:
        allowed.start(NEIGHBOUR, pod)
        told = f'secret "{CLIENT_SECRET}" not found'
        wait_until(lambda: told in events(allowed), "the kubelet tells", interval=0.5)
        path = f"/api/v1/namespaces/{NEIGHBOUR}/pods/mounts"
        wait_until(
            lambda: "containerStatuses" in allowed.api.must("GET", path)["status"],
            "the kubelet says how its container is",
        )
        (container,) = allowed.api.must("GET", path)["status"]["containerStatuses"]
        assert container["state"]["waiting"]["reason"] == "ContainerCreating"
        assert not allowed.client_files(NEIGHBOUR)
    finally:
        allowed.api.must("DELETE", f"/api/v1/namespaces/{NEIGHBOUR}")


def events(daemons: Daemons) -> str:
    """What has been said of the Pods of that namespace."""
    return daemons.deployed.kubectl("get", "events", f"--namespace={NEIGHBOUR}").out
