"""The ways to a shared daemon: plain Jobs by annotation, and Pods that mount the node's socket.

Each is gone by both clients, as root and as another user, and from both nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.cluster.api import Object
from tests.node.contents import CLIENT
from tests.node.python_client import PYTHON_CLIENT
from tests.shared_daemons.daemons import DAEMONSET, SERVICE, SOCKET, Daemons, client, mount_socket
from webhook.asking import rules

pytestmark = pytest.mark.node

NAMESPACE: Final = "paths"
MIGRATED: Final = "migrated"  # a way, and a namespace that has no other label
WAYS: Final = (DAEMONSET, SERVICE, MIGRATED)

# The path without the variables, which migrated Pods have too.
_CLI: Final = """
echo "daemon: $(docker info --format '{{.Name}}')"
[ ! -e %(socket)s ] ||
    echo "path: $(env -u DOCKER_HOST docker --host=unix://%(socket)s info --format '{{.Name}}')"
mkdir /tmp/context
cp /usr/bin/busybox /tmp/context/
cat >/tmp/context/Dockerfile <<'END'
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "echo it builds $((6 * 7))"]
END
DOCKER_BUILDKIT=1 docker build --no-cache --progress=plain --tag localhost/%(name)s:1 /tmp/context
docker run --rm --pull=never localhost/%(name)s:1 busybox echo it runs
"""
_PYTHON: Final = """
import docker, io, os, tarfile
client = docker.from_env()
print("daemon:", client.info()["Name"])
if os.path.exists("%(socket)s"):
    print("path:", docker.DockerClient(base_url="unix://%(socket)s").info()["Name"])
context = io.BytesIO()
with tarfile.open(fileobj=context, mode="w") as archive:
    archive.add("/usr/bin/busybox", "busybox")
    text = b'FROM scratch\\nCOPY busybox /bin/\\nRUN ["/bin/busybox", "echo", "it builds 42"]\\n'
    member = tarfile.TarInfo("Dockerfile")
    member.size = len(text)
    archive.addfile(member, io.BytesIO(text))
context.seek(0)
how = dict(fileobj=context, custom_context=True, nocache=True)
_, lines = client.images.build(tag="localhost/%(name)s:1", **how)
print("".join(line.get("stream", "") for line in lines))
print(client.containers.run("localhost/%(name)s:1", "busybox echo it runs", remove=True).decode())
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One Job."""

    way: str
    program: str
    user: int
    node: int  # of the two

    @property
    def name(self) -> str:
        """The Job's, and that of the image that it builds."""
        return f"{self.way}-{self.program}-{self.user}"

    @property
    def namespace(self) -> str:
        """Where it is."""
        return MIGRATED if self.way == MIGRATED else NAMESPACE


# So each client and each user is on both nodes.
CASES: Final = [
    Case(way, program, user, node)
    for way in WAYS
    for program, user, node in (("cli", 0, 0), ("cli", 1000, 1), ("py", 0, 1), ("py", 1000, 0))
]


def job(case: Case, node: str) -> Object:
    """A Job as its author writes it: nothing in it is of dinp but the annotation."""
    words = {"name": case.name, "socket": SOCKET}
    kind = None if case.way == MIGRATED else case.way
    if case.program == "cli":
        pod = client(case.name, kind, _CLI % words, image=CLIENT, node=node)
    else:
        pod = client(
            case.name, kind, "python3", "-c", _PYTHON % words, image=PYTHON_CLIENT, node=node
        )
    spec: dict[str, Any] = pod["spec"]
    if case.user:
        spec["securityContext"] = {"runAsUser": case.user, "runAsGroup": case.user}
    if case.way == MIGRATED:
        mount_socket(pod)
    template = {"metadata": {"annotations": pod["metadata"]["annotations"]}, "spec": spec}
    return {"metadata": {"name": case.name}, "spec": {"backoffLimit": 0, "template": template}}


@pytest.fixture(scope="module", autouse=True)
def started(daemons: Daemons) -> Iterator[None]:
    """All of them, at once."""
    labels = {rules.MIGRATE: DAEMONSET}
    with daemons.namespace(NAMESPACE), daemons.namespace(MIGRATED, labels):
        for case in CASES:
            path = f"/apis/batch/v1/namespaces/{case.namespace}/jobs"
            daemons.api.must("POST", path, job(case, daemons.nodes[case.node].name))
        yield


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_builds_and_runs(daemons: Daemons, case: Case) -> None:
    """Its daemon is that of its own node, and for all of `service` the one there is."""
    pod = daemons.pod_of_job(case.namespace, case.name)
    lines = daemons.said(case.namespace, pod["metadata"]["name"]).splitlines()
    node = daemons.nodes[case.node].name
    if case.way == SERVICE:
        (daemon,) = daemons.daemons(SERVICE)
    else:
        daemon = daemons.daemon_on(node)
    assert node == pod["spec"]["nodeName"]
    assert f"daemon: {daemon['metadata']['name']}" in lines
    assert any(line.endswith("it builds 42") for line in lines)
    assert "it runs" in lines
    if case.way == MIGRATED:
        assert f"path: {daemon['metadata']['name']}" in lines


def test_a_job_ends(daemons: Daemons) -> None:
    """Nothing is beside its container, so it is complete as soon as that has ended."""
    for case in CASES:
        path = f"/apis/batch/v1/namespaces/{case.namespace}/jobs/{case.name}"
        pod = daemons.pod_of_job(case.namespace, case.name)
        assert ["client"] == [it["name"] for it in pod["spec"]["containers"]]
        daemons.deployed.kubectl(
            *("wait", "--for=condition=complete", f"--namespace={case.namespace}"),
            *(f"job/{case.name}", "--timeout=60s"),
        )
        assert daemons.api.must("GET", path)["status"]["succeeded"] == 1
