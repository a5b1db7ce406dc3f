"""Pods that mount the node's Docker run unchanged, and the Docker that they meet is their own.

None of them asks: their namespace's label does. Docker is 29 where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.cluster.processes import wait_until
from tests.node import contents, pods
from tests.node.cluster import NodeCluster
from tests.node.contents import CLIENT, DIND_20_10
from tests.node.images import Image
from tests.node.python_client import PYTHON_CLIENT
from webhook import names

pytestmark = pytest.mark.node

NAMESPACE: Final = "migrate-sidecar"
NO_CLI: Final = "localhost/no-cli:1"
_SOCKET: Final = "/var/run/docker.sock"
_ELSEWHERE: Final = "/host/docker/docker.sock"
_CLI: Final = "/usr/bin/docker"
_WORKSPACE: Final = "/home/jenkins/agent"

_VERSION: Final = "version --format '{{.Server.Version}}'"
_IMAGE: Final = "tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - localhost/shell:1\n"
_RUN: Final = "docker run --rm --pull=never localhost/shell:1 sh -c 'echo it runs'\n"


def _ask(path: str = _SOCKET) -> str:
    """The daemon's version by the environment, and by the path without it."""
    return f"""
echo "environment: $(docker {_VERSION})"
echo "path: $(env -u DOCKER_HOST -u DOCKER_TLS_VERIFY docker --host=unix://{path} {_VERSION})"
"""


def _nest(path: str = _SOCKET) -> str:
    """A container with the docker CLI gets the socket by the path that its client has it by.

    It looks for itself, which dockerd may not yet know to run: hence `--all`.
    """
    return f"""
tar -c -C / bin lib lib64 usr etc | docker import - localhost/client:1
docker run --rm --pull=never -v {path}:{_SOCKET} localhost/client:1 \\
    docker --host=unix://{_SOCKET} ps --all --format 'nested: {{{{.Image}}}}'
"""


_WORK: Final = _ask() + _IMAGE + _RUN
_NON_ROOT: Final = 'echo "uid $(id -u) in $(id -G)"\n' + _WORK
# The root of a mount is its path in the volume.
_CLI_FROM: Final = f'awk \'$5 == "{_CLI}" {{ print "cli: " $4 }}\' /proc/self/mountinfo\n'
_WITHOUT: Final = f"echo environment: ${{DOCKER_HOST-none}}; [ ! -e {_SOCKET} ]"
_WRITE: Final = "echo from the init container >/config/settings"
_READ: Final = "[ -f /etc/settings ]; cat /etc/settings\n"
_PYTHON: Final = f"""
import docker, io, os, tarfile
for name in [name for name in os.environ if name.startswith("DOCKER_")]:
    del os.environ[name]
client = docker.DockerClient(base_url="unix://{_SOCKET}")
print("path:", client.version()["Version"])
files = io.BytesIO()
with tarfile.open(fileobj=files, mode="w") as archive:
    archive.add("/usr/bin/busybox")
client.api.import_image_from_data(files.getvalue(), "localhost/shell", "1")
command = ["/usr/bin/busybox", "echo", "it runs"]
print(client.containers.run("localhost/shell:1", command, remove=True).decode())
"""
# A command of the client's kills the daemon that it waits for. The kubelet may drop the first
# container with its log, so the second says what the first has said.
_KILL: Final = f"""
if [ -e /state/first ]; then
    sed 's/^/first: /' /state/first
    {_ask()}
    exit
fi
exec >/state/first 2>&1
{_ask()}
{_IMAGE}
docker run --rm --pull=never --privileged --pid=host localhost/shell:1 busybox killall -9 dockerd ||
    echo "cut off: $?"
for _ in $(seq 60); do ! docker version || break; sleep 1; done
echo "environment again: $(docker {_VERSION})"
{_RUN}
if docker --host=unix://{_SOCKET} version; then exit; fi
exit 1
"""
# As Jenkins does it for `inside`: a container that waits, and commands in it.
_INSIDE: Final = f"""
{_IMAGE}
cd {_WORKSPACE}/workspace/job
docker run -t -d -u 1000:1000 -w $PWD -v {_WORKSPACE}:{_WORKSPACE}:rw --pull=never \\
    --name inside localhost/shell:1 busybox cat
docker exec inside sh -euc 'busybox cat source; echo by the container >made'
docker rm -f inside
cat made
"""


# ---- the Pods ----------------------------------------------------------------------------


def _pod(name: str, *command: str, image: str = CLIENT, **client: Any) -> dict[str, Any]:
    """A Pod whose volume is the node's socket, and its client with more fields."""
    pod = pods.client_pod(f"migration-{name}", *command, image=image)
    pod["spec"]["volumes"] = [_node_volume("docker", _SOCKET)]
    pod["spec"]["containers"][0] |= {"volumeMounts": [_mount()], **client}
    return pod


def _node_volume(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "hostPath": {"path": path}}


def _mount(path: str = _SOCKET, **how: Any) -> dict[str, Any]:
    return {"name": "docker", "mountPath": path, **how}


def _shell(name: str, script: str) -> dict[str, Any]:
    return {"name": name, "image": CLIENT, "command": ["sh", "-euxc", script]}


def _by_sub_path(directory: str) -> dict[str, Any]:
    name = "sub-path" + directory.replace("/", "-")
    pod = _pod(name, _WORK, volumeMounts=[_mount(subPath="docker.sock")])
    pod["spec"]["volumes"] = [_node_volume("docker", directory)]
    return pod


def _docker_20_10() -> dict[str, Any]:
    pod = _pod("20-10", _WORK + _nest())
    pod["metadata"]["annotations"]["dinp.io/image"] = DIND_20_10
    return pod


def _two_of_three() -> dict[str, Any]:
    """Two containers mount the socket at paths of their own; the third does not."""
    pod = _pod("several", _WORK)
    other = {**_shell("other", _ask(_ELSEWHERE)), "volumeMounts": [_mount(_ELSEWHERE)]}
    pod["spec"]["containers"] += [other, _shell("without", _WITHOUT)]
    return pod


def _init() -> dict[str, Any]:
    """Only the init container mounts the socket."""
    pod = _pod("init", _WITHOUT, volumeMounts=[])
    pod["spec"]["initContainers"] = [{**_shell("first", _WORK), "volumeMounts": [_mount()]}]
    return pod


def _written_file() -> dict[str, Any]:
    """The main container mounts one file of a volume, which an init container writes before."""
    one_file = {"name": "config", "mountPath": "/etc/settings", "subPath": "settings"}
    pod = _pod("written", _READ + _WORK, volumeMounts=[_mount(), one_file])
    pod["spec"]["volumes"].append({"name": "config", "emptyDir": {}})
    whole = {"name": "config", "mountPath": "/config"}
    pod["spec"]["initContainers"] = [{**_shell("write", _WRITE), "volumeMounts": [whole]}]
    return pod


def _with_cli() -> dict[str, Any]:
    """The docker CLI is the node's too: the image has none."""
    cli = {"name": "cli", "mountPath": _CLI}
    command = ("sh", "-euxc", _CLI_FROM + _WORK)
    pod = _pod("cli", *command, image=NO_CLI, volumeMounts=[_mount(), cli])
    pod["spec"]["volumes"].append(_node_volume("cli", _CLI))
    return pod


def _killed() -> dict[str, Any]:
    state = {"name": "state", "mountPath": "/state"}
    pod = _pod("killed", _KILL, volumeMounts=[_mount(), state])
    pod["spec"]["restartPolicy"] = "OnFailure"
    pod["spec"]["volumes"].append({"name": "state", "emptyDir": {}})
    return pod


def _jenkins() -> dict[str, Any]:
    """What its plugin makes of a podTemplate: all volumes in all containers, and `cat` in one."""
    workspace = {"name": "workspace-volume", "mountPath": _WORKSPACE}
    job = f"{_WORKSPACE}/workspace/job"
    agent = f"mkdir -p {job}; echo by the agent >{job}/source; sleep 1000"
    probe = {"exec": {"command": ["test", "-e", f"{job}/source"]}, "periodSeconds": 1}
    common = {"workingDir": _WORKSPACE, "volumeMounts": [_mount(), workspace]}
    pod = _pod("jenkins", "")
    pod["spec"]["volumes"].append({"name": workspace["name"], "emptyDir": {}})
    user = {"runAsUser": 1000, "runAsGroup": 1000}
    pod["spec"]["containers"] = [
        {**_shell("jnlp", agent), **common, "readinessProbe": probe, "securityContext": user},
        {"name": "build", "image": CLIENT, "command": ["cat"], "tty": True, **common},
    ]
    return pod


def _that_end() -> Iterator[dict[str, Any]]:
    """Those that take longest first."""
    yield _killed()
    yield _docker_20_10()
    yield _pod("default", _WORK + _nest())
    yield _pod("elsewhere", _ask(_ELSEWHERE) + _nest(_ELSEWHERE), volumeMounts=[_mount(_ELSEWHERE)])
    yield from map(_by_sub_path, ("/run", "/var/run"))
    yield _two_of_three()
    yield _init()
    yield _pod("read-only", _WORK, volumeMounts=[_mount(readOnly=True)])
    yield _pod("docker-py", "python3", "-c", _PYTHON, image=PYTHON_CLIENT)
    yield _pod("non-root", _NON_ROOT, securityContext={"runAsUser": 1000, "runAsGroup": 1000})
    yield _with_cli()
    yield _written_file()


def _no_cli() -> Image:
    """What the docker CLI is linked to, without it."""
    image = contents.client()
    image.name = NO_CLI
    del image.files[_CLI.lstrip("/")]
    return image


@pytest.fixture(scope="module", autouse=True)
def ended(node: NodeCluster) -> Iterator[None]:
    """The Pods have ended, and the one of Jenkins, which does not, has started."""
    node.add_images(_no_cli())
    pods.start(node.api, NAMESPACE, _jenkins())
    pods.run_in_turn(node.api, NAMESPACE, _that_end())
    yield
    node.api.must("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/migration-jenkins")


def _said(node: NodeCluster, name: str, container: str = "client") -> list[str]:
    name = f"migration-{name}"
    said = pods.said_at_end(node.cluster, NAMESPACE, name, api=node.api, container=container)
    return said.splitlines()


def _read(node: NodeCluster, name: str) -> dict[str, Any]:
    return node.api.must("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/migration-{name}")


def _answered(said: list[str], version: str = "29.") -> bool:
    """Whether the daemon of this version answered by the environment, and by the path too."""
    ways = ("environment: ", "path: ")
    return all(any(line.startswith(way + version) for line in said) for way in ways)


# ---- the tests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["default", "sub-path-run", "sub-path-var-run", "read-only", "non-root", "cli"]
)
def test_migrated(node: NodeCluster, name: str) -> None:
    """The socket is where it was, however it is mounted, and so are containers of the daemon."""
    said = _said(node, name)
    assert _answered(said)
    assert "it runs" in said


def test_docker_20_10(node: NodeCluster) -> None:
    """The same with the older Docker: the way of its socket into a container, too."""
    said = _said(node, "20-10")
    assert _answered(said, "20.10.")
    assert "it runs" in said
    assert "nested: localhost/client:1" in said


@pytest.mark.parametrize("name", ["default", "elsewhere"])
def test_docker_out_of_docker(node: NodeCluster, name: str) -> None:
    """`docker run -v` of the path, the usual one or another, gives a container the daemon."""
    said = _said(node, name)
    assert _answered(said)
    assert "nested: localhost/client:1" in said


def test_two_containers(node: NodeCluster) -> None:
    """Each container that mounts the socket has it at its own path, and only these have it."""
    assert _answered(_said(node, "several"))
    assert _answered(_said(node, "several", "other"))
    assert "environment: none" in _said(node, "several", "without")


def test_init_container(node: NodeCluster) -> None:
    """An init container that mounts the socket has the daemon before anything else runs."""
    said = _said(node, "init", "first")
    assert _answered(said)
    assert "it runs" in said
    assert "environment: none" in _said(node, "init")


def test_docker_py_by_the_path(node: NodeCluster) -> None:
    """docker-py runs containers by the path, with none of dinp's variables."""
    said = _said(node, "docker-py")
    assert any(line.startswith("path: 29.") for line in said)
    assert "it runs" in said


def test_group(node: NodeCluster) -> None:
    """Who is not root has the socket by a group more, and owns none of the volumes."""
    assert "uid 1000 in 1000 2375" in _said(node, "non-root")
    assert "fsGroup" not in _read(node, "non-root")["spec"].get("securityContext", {})


def test_cli(node: NodeCluster) -> None:
    """The docker CLI that the node had comes from the daemon's image."""
    (source,) = [line for line in _said(node, "cli") if line.startswith("cli: ")]
    assert source.endswith(f"/{names.RUN}/bin/docker")


def test_a_file_that_an_init_container_writes(node: NodeCluster) -> None:
    """It is the file, not the directory that the kubelet makes of a missing one."""
    said = _said(node, "written")
    assert "from the init container" in said
    assert _answered(said)


def test_jenkins(node: NodeCluster) -> None:
    """By exec in a podTemplate's container, `inside` works in the agent's workspace."""
    wait_until(lambda: _is_ready(_read(node, "jenkins")), "Jenkins' Pod is Ready")
    command = ("exec", f"--namespace={NAMESPACE}", "migration-jenkins", "--container=build", "--")
    done = node.cluster.kubectl(*command, "sh", "-euxc", _ask() + _INSIDE)
    assert done.code == 0, done.err
    said = done.out.splitlines()
    assert _answered(said)
    assert "by the agent" in said
    assert "by the container" in said


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)


def test_dockerd_is_killed(node: NodeCluster) -> None:
    """A running command breaks off; by DOCKER_HOST the next works, in the same container.

    The mount of one file keeps the dead socket, so its path works again in the next container.
    """
    said = _said(node, "killed")
    first = [line.removeprefix("first: ") for line in said if line.startswith("first: ")]
    assert _answered(first)
    assert any(line.startswith("cut off: ") for line in first)
    assert any(line.startswith("environment again: 29.") for line in first)
    assert "it runs" in first
    assert any(
        line.startswith(f"Cannot connect to the Docker daemon at unix://{_SOCKET}")
        for line in first
    )
    (client,) = _read(node, "killed")["status"]["containerStatuses"]
    assert client["restartCount"] == 1
    assert _answered(said)
