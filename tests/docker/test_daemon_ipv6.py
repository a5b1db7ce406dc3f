"""A node whose address is IPv6: a real dockerd with TLS there, called as the webhook says.

The nodes of tests/node are of IPv4, so this is dockerd alone, in the network of such a node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs.authority import KeyPair
from certs.shared import policy as policies
from certs.shared.policy import Policy
from certs.shared.requests import Approval
from tests.cluster.processes import StartError, wait_until
from tests.docker import clients
from tests.docker.clients import write_files
from tests.node.leftovers import run_directory
from tests.node.namespace import Namespace, namespace
from tests.node.programs import Programs, command, environment
from tests.node.python_client import docker_py

pytestmark = pytest.mark.node

ROOT: Final = Path(__file__).parents[2]
GOLDEN: Final = ROOT / "tests" / "golden" / "mode-daemonset-ipv6" / "expected.yaml"
MANIFEST: Final = ROOT / "manifests" / "daemonset" / "daemonset.yaml"
LOOPBACK: Final = "::1"
ADDRESS: Final = "fd00::2"  # of the node
_SHELL: Final = "localhost/shell:1"

# Docker-py says whom it talks to.
_PYTHON: Final = """
import docker, io, tarfile
client = docker.from_env()
print("at", client.api.base_url)
files = io.BytesIO()
with tarfile.open(fileobj=files, mode="w") as archive:
    archive.add("/usr/bin/busybox", "busybox")
client.api.import_image_from_data(files.getvalue(), "localhost/shell", "2")
run = dict(network_mode="none", remove=True)
print(client.containers.run("localhost/shell:2", ["/busybox", "echo", "it runs"], **run).decode())
"""
_CLI: Final = f"""
tar -c -C / usr/bin/busybox | docker import - {_SHELL}
printf 'FROM scratch\\nCOPY busybox /\\nRUN ["/busybox", "echo", "it builds"]\\n' >$1/Dockerfile
cp /usr/bin/busybox $1/
DOCKER_BUILDKIT=1 docker build --network=none --progress=plain --tag localhost/built:1 $1
docker run --rm --pull=never --network=none localhost/built:1 /busybox echo it runs
"""


@dataclass(frozen=True, slots=True)
class Site:
    """The network of a node with a daemon in it, and a client's files."""

    node: Namespace
    certificates: Path
    directory: Path

    def run(self, address: str, *arguments: str, **more: str) -> str:
        """Run a client with the variables that a Pod of a node with this address has.

        Raises:
            AssertionError: it failed; has what it said.
        """
        own = {**webhook_variables(address, self.certificates), **more}
        return "".join(clients.run(self.node, *arguments, own=own))


def webhook_variables(address: str, certificates: Path) -> dict[str, str]:
    """What the webhook gives a container, expanded as the kubelet does it."""
    pod = yaml.safe_load(GOLDEN.read_text(encoding="utf-8"))
    (container,) = pod["spec"]["containers"]
    values = {entry["name"]: entry.get("value", address) for entry in container["env"]}
    values["DOCKER_HOST"] = values["DOCKER_HOST"].replace("$(DINP_HOST_IP)", address)
    return {**values, "DOCKER_CERT_PATH": str(certificates)}


def daemon_arguments(directory: Path) -> list[str]:
    """Those of the DaemonSet, with its files in a folder: where it listens is as it is there."""
    found = yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))
    (daemonset,) = (it for it in found if it["kind"] == "DaemonSet")
    containers: list[dict[str, Any]] = daemonset["spec"]["template"]["spec"]["containers"]
    (docker,) = (it for it in containers if it["name"] == "docker")
    kept = [it for it in docker["args"] if it.startswith(("--host=tcp:", "--tls"))]
    return [it.replace("/daemon/tls", str(directory)) for it in kept]


def server_pair(policy: Policy, ca: KeyPair, now: datetime) -> KeyPair:
    """What the daemon of such a node gets for its request."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
    approval = Approval("dinp-docker-abcde", (LOOPBACK, ADDRESS), request)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return KeyPair(policy.sign_server(ca, approval, timedelta(hours=1), now), pem)


@pytest.fixture(scope="module")
def site(built: Programs) -> Iterator[Site]:
    """A daemon as the DaemonSet runs it."""
    policy, now = Policy(), datetime.now(UTC)
    ours, theirs = (policy.issue_ca(it, now) for it in (policies.SERVER_CA, policies.CLIENT_CA))
    server, client = server_pair(policy, ours, now), policy.issue_client(theirs, "ci", now)
    with (
        run_directory() as directory,
        namespace(directory, "ipv6", f"/{directory.name}") as node,
    ):
        node.run(command("ip"), "address", "add", f"{ADDRESS}/64", "dev", node.name, "nodad")
        daemon = write_files(
            directory / "daemon",
            {"ca.pem": theirs.certificate, "cert.pem": server.certificate, "key.pem": server.key},
        )
        certificates = write_files(
            directory / "client",
            {"ca.pem": ours.certificate, "cert.pem": client.certificate, "key.pem": client.key},
        )
        path = f"{built.docker_29}:{built.containerd}:{built.runc}:{environment()['PATH']}"
        arguments = [
            *("env", f"PATH={path}", "dockerd", *daemon_arguments(daemon)),
            *(f"--data-root={directory}/data", f"--exec-root={directory}/exec"),
            *(f"--pidfile={directory}/pid", f"--cgroup-parent=/{directory.name}"),
            *("--bridge=none", "--iptables=false", "--ip6tables=false"),
        ]
        with node.running("dockerd", arguments):
            found = Site(node, certificates, directory)
            wait_until(lambda: answers(found), "dockerd answers", interval=0.2)
            yield found


def answers(site: Site) -> bool:
    """Whether it does."""
    try:
        site.run(LOOPBACK, "docker", "version")
    except (AssertionError, StartError):
        return False
    return True


@pytest.mark.parametrize("address", [LOOPBACK, ADDRESS])
def test_docker(site: Site, address: str) -> None:
    """The CLI builds and runs."""
    folder = site.directory / f"build-{len(address)}"
    folder.mkdir()
    said = site.run(address, "sh", "-euxc", _CLI, "-", str(folder))
    assert "it builds" in said
    assert "it runs" in said.splitlines()


@pytest.mark.parametrize("address", [LOOPBACK, ADDRESS])
def test_docker_py(site: Site, address: str) -> None:
    """The other client knows brackets, too."""
    said = site.run(address, "python3", "-c", _PYTHON, PYTHONPATH=str(docker_py()))
    assert f"at https://[{address}]:2376" in said.splitlines()
    assert "it runs" in said.splitlines()


def test_its_certificate_is_for_the_address(site: Site) -> None:
    """Another address of the same node is refused by the client: it checks what it has dialled."""
    other = "fd00::3"
    site.node.run(command("ip"), "address", "add", f"{other}/64", "dev", site.node.name, "nodad")
    with pytest.raises(AssertionError, match=f"certificate is valid for .*, not {other}"):
        site.run(other, "docker", "version")
