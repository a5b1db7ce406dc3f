"""Clients that others wrote, with a daemon of their node: testcontainers and buildx."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest

from tests.cluster.api import Object
from tests.cluster.installation import MANIFESTS
from tests.cluster.processes import wait_until
from tests.node.clients import CLIENTS, WEB_CONTAINER, clients
from tests.node.python_client import PYTHON_CLIENT
from tests.shared_daemons.daemons import DAEMONSET, Daemons, client, mount_socket
from tests.terminal import teller
from webhook.asking import rules
from webhook.reasons import Reason

pytestmark = pytest.mark.node

NAMESPACE: Final = "clients"
MIGRATED: Final = "clients-migrated"
OVERLAY: Final = MANIFESTS / "overlays" / "daemonset-host-network"
CONFIG: Final = "daemonset:\n  hostNetwork: true\n"
_WARNING: Final = Reason.PUBLISHED_PORTS.say().text

# Without its reaper Ryuk: neither its image nor its module is to be had here.
TESTCONTAINERS: Final = (
    WEB_CONTAINER
    + """
import os, time
web.with_command("busybox httpd -f -p 8000 -h /")
with web:
    # It serves, whoever may reach it.
    while web.exec(["busybox", "wget", "-q", "-O-", "http://127.0.0.1:8000/said"]).exit_code:
        time.sleep(0.2)
    host, port = web.get_container_host_ip(), web.get_exposed_port(8000)
    print("node:", os.environ.get("DINP_HOST_IP"), "host:", host)
    try:
        print("answer:", urllib.request.urlopen(f"http://{host}:{port}/said", timeout=5).read())
    except OSError as error:
        print("no answer:", error)
print("left:", docker.from_env().containers.list(all=True, filters={"ancestor": "localhost/web:1"}))
"""
)

BUILD: Final = """
mkdir /context; cd /context
cp /usr/bin/busybox busybox
cat >Dockerfile <<'END'
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN --mount=type=cache,target=/cache echo "built by BuildKit $((6 * 7))" >/said
CMD ["cat", "/said"]
END
docker buildx build --load --progress=plain --tag localhost/built:1 .
docker run --rm --pull=never localhost/built:1
echo "DOCKER_HOST is $DOCKER_HOST"
docker buildx inspect | sed 's/^/the first: /'
"""
# As docs/limits.md has it. A builder of its own takes an image that is not here, so it is not started.
CREATE: Final = {
    "tls": """
docker buildx create --name refused && exit 1
docker context create dinp
docker buildx create --name made --use dinp
docker buildx inspect | sed 's/^/the second: /'
""",
    "socket": """
docker buildx create --name made --use
docker buildx inspect | sed 's/^/the second: /'
""",
}
REFUSED: Final = "could not create a builder instance with TLS data loaded from environment"
BUILDX: Final = "buildx"


@pytest.fixture(scope="module")
def allowed(daemons: Daemons, request: pytest.FixtureRequest) -> Iterator[Daemons]:
    """Namespaces of both ways to a daemon, and the clients' images."""
    daemons.bare.add_images(clients(teller(request)))
    labels = {rules.MIGRATE: DAEMONSET}
    with daemons.namespace(NAMESPACE), daemons.namespace(MIGRATED, labels):
        for way, pod in {"tls": with_tls(), "socket": with_socket()}.items():
            daemons.start(NAMESPACE if way == "tls" else MIGRATED, pod)
        yield daemons


def with_tls() -> Object:
    """A Pod with buildx that asks for a daemon."""
    return client(BUILDX, DAEMONSET, "sh", "-euxc", BUILD + CREATE["tls"], image=CLIENTS)


def with_socket() -> Object:
    """One that mounts the node's socket."""
    pod = client(BUILDX, None, "sh", "-euxc", BUILD + CREATE["socket"], image=CLIENTS)
    mount_socket(pod)
    return pod


def test_buildx_with_tls(allowed: Daemons) -> None:
    """It builds by the variables; a builder of its own takes a context that is made of them."""
    said = allowed.said(NAMESPACE, BUILDX)
    assert "built by BuildKit 42" in said.splitlines()
    assert re.search(r"^DOCKER_HOST is tcp://[0-9.]+:2376$", said, re.MULTILINE)
    assert re.search(r"^the first: Driver: +docker$", said, re.MULTILINE)
    assert REFUSED in said
    assert re.search(r"^the second: Driver: +docker-container$", said, re.MULTILINE)
    assert re.search(r"^the second: Endpoint: +dinp$", said, re.MULTILINE)


def test_buildx_with_a_migrated_socket(allowed: Daemons) -> None:
    """It builds, and a builder of its own takes nothing but to be asked for."""
    said = allowed.said(MIGRATED, BUILDX)
    assert "built by BuildKit 42" in said.splitlines()
    assert "DOCKER_HOST is unix:///dinp/docker.sock" in said.splitlines()
    assert re.search(r"^the first: Driver: +docker$", said, re.MULTILINE)
    assert re.search(r"^the second: Driver: +docker-container$", said, re.MULTILINE)
    assert re.search(r"^the second: Endpoint: +unix:///dinp/docker.sock$", said, re.MULTILINE)


def test_published_ports_on_the_pod_network(
    allowed: Daemons, request: pytest.FixtureRequest
) -> None:
    """A port that a container publishes is not the node's: the author is warned of it."""
    assert _WARNING in "\n".join(warnings(allowed, "pod-network"))
    said = allowed.said(NAMESPACE, "pod-network")
    found = re.search(r"^node: (\S+) host: (\S+)\n(no answer: .*)$", said, re.MULTILINE)
    assert found, said
    teller(request)(f"testcontainers and the Pod network: {found[3]}")
    assert found[1] == found[2]
    assert said.splitlines()[-1] == "left: []"


@pytest.fixture
def host_network(allowed: Daemons) -> Iterator[Daemons]:
    """The daemons in the network of their nodes, and a webhook that knows."""
    folder = allowed.deployed.kustomization(config=CONFIG)
    allowed.deployed.kubectl("apply", "-k", str(folder))
    allowed.install(DAEMONSET, base=OVERLAY)
    allowed.deployed.wait_for_rollouts()
    allowed.deployed.wait_for_ends("webhook")
    yield allowed
    allowed.remove(DAEMONSET)
    for node in allowed.nodes:
        allowed.on_node(node, "sh", "-euc", CLEAN)
    allowed.deployed.kubectl("apply", "-k", str(allowed.deployed.kustomization()))
    allowed.install(DAEMONSET)
    allowed.deployed.wait_for_rollouts()


# Of both kinds of iptables, as the image has both. kube-proxy's comments have the Service's name.
CLEAN: Final = """
for save in iptables-nft-save iptables-legacy-save ip6tables-nft-save ip6tables-legacy-save; do
    command -v "$save" || continue
    "$save" | grep -v -e DOCKER -e docker0 | "${save%-save}-restore"
done
ip link show docker0 && ip link delete docker0
"""


def test_published_ports_on_the_host_network(host_network: Daemons) -> None:
    """A port that a container publishes is the node's, and testcontainers looks for it there."""
    wait_until(
        lambda: _WARNING not in "\n".join(warnings(host_network, "probe", dry_run=True)),
        "the webhook has the config file",
        interval=0.5,
    )
    assert _WARNING not in "\n".join(warnings(host_network, "host-network"))
    said = host_network.said(NAMESPACE, "host-network")
    found = re.search(r"^node: (\S+) host: (\S+)\n(.*answer: .*)$", said, re.MULTILINE)
    assert found, said
    assert found[3] == "answer: b'from the image'"
    assert found[1] == found[2]
    assert said.splitlines()[-1] == "left: []"


def warnings(daemons: Daemons, name: str, *, dry_run: bool = False) -> tuple[str, ...]:
    """Create a Pod with testcontainers; return what its author is told."""
    pod = client(name, DAEMONSET, "python3", "-c", TESTCONTAINERS, image=PYTHON_CLIENT)
    answer = daemons.api.create_pod(NAMESPACE, pod, dry_run=dry_run)
    assert answer.status == 201, answer.message
    return answer.warnings
