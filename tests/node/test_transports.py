"""Every transport, with both Dockers, as root and not, with the CLI and with docker-py.

A Pod has one of each: its containers `cli` and `python` use the same daemon in folders of their
own of one emptyDir, which dinp gives to the daemon as well. What they write is read line by line:
`label: what was said`. docker-py's build is the classic builder's: it has no way to ask for
BuildKit, which is a protocol of its own between CLI and daemon.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import pytest

from tests import selection
from tests.cluster.processes import wait_until
from tests.node import pods
from tests.node.cluster import NodeCluster
from tests.node.contents import CLIENT, DIND_20_10, DIND_29
from tests.node.python_client import PYTHON_CLIENT
from webhook.asking import rules

pytestmark = pytest.mark.node

_NAMESPACE: Final = "annotated"
_AT_ONCE: Final = 6
_WORKSPACE: Final = "/workspace"
_CONTROL_PORT: Final = (
    8000  # open on the Pod's address: others reach it, but for the daemon's ports
)
_DAEMON_PORTS: Final = ("2375", "2376")

_IMAGES: Final = {"20.10": DIND_20_10, "29": DIND_29}
_USERS: Final[Mapping[str, Mapping[str, int]]] = {"0": {}, "1000": {"runAsUser": 1000}}
# docs/design.md, section 1: a variable that is not set is not here.
_VARIABLES: Final = {
    "tcp": {"DOCKER_HOST": "tcp://localhost:2375", "DOCKER_TLS_VERIFY": ""},
    "tls": {
        "DOCKER_HOST": "tcp://localhost:2376",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": "/dinp/certs",
    },
    "unix": {"DOCKER_HOST": "unix:///dinp/docker.sock", "DOCKER_TLS_VERIFY": ""},
}
_LISTENS: Final = {"tcp": ["127.0.0.1:2375"], "tls": ["127.0.0.1:2376"], "unix": []}

_SHELL_IMAGE: Final = """FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
"""
_CLASSIC: Final = _SHELL_IMAGE + "RUN echo made by a build >/made\n"
# The classic builder refuses --mount.
_BUILDKIT: Final = _SHELL_IMAGE + "RUN --mount=type=bind,target=/here cp /here/from-client /made\n"
_IN_CONTAINER: Final = "cat /src/from-client; echo the container wrote this >/src/from-container"

_CLI_SCRIPT: Final = f"""
told() {{ sed "s/^/$1: /"; }}
mkdir {_WORKSPACE}/cli; cd {_WORKSPACE}/cli
id -u | told uid
env | grep -E '^DOCKER_(HOST|TLS_VERIFY|CERT_PATH)=' | told variable
netstat -ltn | awk '{{ print $4 }}' | told listens
grep ' lo$' /proc/net/if_inet6 2>/dev/null | told ipv6
docker version --format '{{{{.Server.Version}}}}' | told version

cp /usr/bin/busybox .
echo the client wrote this >from-client
cat >Dockerfile <<'END'
{_CLASSIC}END
cat >Dockerfile.buildkit <<'END'
{_BUILDKIT}END
DOCKER_BUILDKIT=0 docker build --tag localhost/cli:1 . | told classic
DOCKER_BUILDKIT=1 docker build --progress=plain --file Dockerfile.buildkit \
  --tag localhost/buildkit:1 . 2>&1 | told buildkit
docker run --rm --pull=never localhost/buildkit:1 cat /made | told buildkit-made
docker run --rm --pull=never localhost/cli:1 cat /made | told run

docker run --rm --pull=never -v "$PWD:/src" localhost/cli:1 \
  sh -c '{_IN_CONTAINER}' | told container-sees
told client-sees <from-container

docker run -d --pull=never --name cli -v "$PWD:/src" -p 8080:80 localhost/cli:1 sleep 1000
docker exec cli httpd -p 80 -h /src  # it returns when it listens
printf 'GET /from-client HTTP/1.0\\r\\n\\r\\n' | nc -w 5 localhost 8080 | told published
docker rm --force cli
"""
_PYTHON_SCRIPT: Final = f"""
import docker, os, shutil, urllib.request

def tell(label, text):
    for line in text.splitlines():
        print(label + ": " + line, flush=True)

os.mkdir("{_WORKSPACE}/python")
os.chdir("{_WORKSPACE}/python")
tell("uid", str(os.getuid()))
for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
    if name in os.environ:
        tell("variable", name + "=" + os.environ[name])
tell("listens", os.popen("netstat -ltn | awk '{{ print $4 }}'").read())
daemon = docker.from_env()
tell("version", daemon.version()["Version"])

shutil.copy("/usr/bin/busybox", "busybox")
open("from-client", "w").write("the client wrote this\\n")
open("Dockerfile", "w").write({_CLASSIC!r})
_, said = daemon.images.build(path=".", tag="localhost/python:1")
tell("classic", "".join(part.get("stream", "") for part in said))
tell("run", daemon.containers.run("localhost/python:1", "cat /made", remove=True).decode())

volumes = {{os.getcwd(): {{"bind": "/src", "mode": "rw"}}}}
how = {{"image": "localhost/python:1", "volumes": volumes}}
seen = daemon.containers.run(command=["sh", "-c", {_IN_CONTAINER!r}], remove=True, **how)
tell("container-sees", seen.decode())
tell("client-sees", open("from-container").read())

server = daemon.containers.run(command="sleep 1000", ports={{"80/tcp": 8081}}, detach=True, **how)
server.exec_run("httpd -p 80 -h /src")  # it returns when it listens
answer = urllib.request.urlopen("http://localhost:8081/from-client", timeout=10)
tell("published", answer.read().decode())
server.remove(force=True)
"""
_SCRIPTS: Final = {
    "cli": (CLIENT, ("sh", "-euxc", _CLI_SCRIPT)),
    "python": (PYTHON_CLIENT, ("python3", "-c", _PYTHON_SCRIPT)),
}


@dataclass(frozen=True, slots=True)
class _Case:
    """One Pod of the table."""

    transport: str
    docker: str
    user: str  # as `id -u` says it

    @property
    def name(self) -> str:
        return f"transports-{self.transport}-{self.docker.replace('.', '-')}-uid-{self.user}"

    def pod(self) -> dict[str, Any]:
        annotations = {
            rules.INJECT: "sidecar",
            "dinp.io/transport": self.transport,
            "dinp.io/image": _IMAGES[self.docker],
        }
        containers = [
            {
                "name": client,
                "image": image,
                "command": list(command),
                "volumeMounts": [{"name": "workspace", "mountPath": _WORKSPACE}],
            }
            for client, (image, command) in _SCRIPTS.items()
        ]
        return {
            "metadata": {"name": self.name, "annotations": annotations},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 10,
                "securityContext": dict(_USERS[self.user]),
                "containers": containers,
                "volumes": [{"name": "workspace", "emptyDir": {}}],
            },
        }


@dataclass(frozen=True, slots=True)
class _Ended:
    """A Pod that has ended: what each client wrote, and where it ended badly: why."""

    said: Mapping[str, str]
    why: str

    def told(self, client: str, label: str) -> list[str]:
        """The lines that a client wrote with this label; it has to have ended well."""
        assert not self.why, "\n".join([*self.said.values(), self.why])
        mark = f"{label}: "
        lines = self.said[client].splitlines()
        return [line.removeprefix(mark) for line in lines if line.startswith(mark)]


_CASES: Final = [_Case(*row) for row in itertools.product(_VARIABLES, _IMAGES, _USERS)]
_SHORT: Final = (_Case("tcp", "20.10", "0"),)
_Ends = Mapping[_Case, _Ended]
# Of the older Docker all but the shortest way is left to the tail.
_each_pod: Final = pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=case.name[11:],
            marks=pytest.mark.tail if case.docker == "20.10" and case not in _SHORT else (),
        )
        for case in _CASES
    ],
)
_each_client: Final = pytest.mark.parametrize("client", _SCRIPTS)


@pytest.fixture(scope="module", autouse=True)
def hand_written(node: NodeCluster) -> None:
    """Pods whose daemon is the image's own entrypoint: all do little but wait, so first of all."""
    for form in _FORMS:
        pods.start(node.api, "default", _hand_written(form))


@pytest.fixture(scope="module")
def ends(node: NodeCluster, request: pytest.FixtureRequest) -> _Ends:
    """The Pods that some test of this run asks for, a few at once, and how they ended."""
    wanted = selection.asked(request, "case")
    cases = [case for case in _CASES if case in wanted]
    found: dict[_Case, _Ended] = {}
    for started, case in enumerate(cases):
        if started >= _AT_ONCE:
            oldest = cases[started - _AT_ONCE]
            found[oldest] = _end(node, _NAMESPACE, oldest.name, *_SCRIPTS)
        pods.start(node.api, _NAMESPACE, case.pod())
    for case in cases[-_AT_ONCE:]:
        found[case] = _end(node, _NAMESPACE, case.name, *_SCRIPTS)
    return found


def _end(node: NodeCluster, namespace: str, name: str, *containers: str) -> _Ended:
    phase = pods.wait_for_end(node.api, namespace, name)
    said = {one: pods.logs(node.cluster, namespace, name, one) for one in containers}
    if phase == "Succeeded":
        return _Ended(said, "")
    return _Ended(said, f"{phase}\n{pods.describe(node.cluster, namespace, name)}")


@_each_client
@_each_pod
def test_variables(ends: _Ends, case: _Case, client: str) -> None:
    """A client of that user has the variables that the design gives the transport, and no other."""
    lines = ends[case].told(client, "variable")
    variables = dict(line.split("=", 1) for line in lines)
    assert variables == _VARIABLES[case.transport]
    assert ends[case].told(client, "uid") == [case.user]


@_each_client
@_each_pod
def test_listens_on_loopback(ends: _Ends, case: _Case, client: str) -> None:
    """The daemon's ports are open on the Pod's loopback alone, and only the transport's own."""
    addresses = ends[case].told(client, "listens")
    daemon = [at for at in addresses if at.rpartition(":")[2] in _DAEMON_PORTS]
    # As busybox writes [::1], where the Pod's lo has IPv6.
    ipv6 = [at.replace("127.0.0.1", "::1") for at in _LISTENS[case.transport]]
    has_ipv6 = bool(ends[case].told("cli", "ipv6"))
    assert sorted(daemon) == sorted([*_LISTENS[case.transport], *(ipv6 if has_ipv6 else ())])


@_each_client
@_each_pod
def test_version(ends: _Ends, case: _Case, client: str) -> None:
    """By the environment alone a client reaches the Docker that the Pod asked for."""
    [version] = ends[case].told(client, "version")
    assert version.startswith(f"{case.docker}.")


@_each_client
@_each_pod
def test_classic_build(ends: _Ends, case: _Case, client: str) -> None:
    """The classic builder makes an image from the client's files, and runs a step of it."""
    said = ends[case].told(client, "classic")
    assert any(line.startswith("Step 1/4 : FROM scratch") for line in said)
    assert any(line.startswith("Successfully tagged") for line in said) or client == "python"


@_each_pod
def test_buildkit_build(ends: _Ends, case: _Case) -> None:
    """The CLI's BuildKit build uses what only BuildKit has, and its image runs."""
    said = ends[case].told("cli", "buildkit")
    assert any("[internal] load build context" in line for line in said)
    assert ends[case].told("cli", "buildkit-made") == ["the client wrote this"]


@_each_client
@_each_pod
def test_run(ends: _Ends, case: _Case, client: str) -> None:
    """A container of the classic builder's image runs, and its output comes to the client."""
    assert ends[case].told(client, "run") == ["made by a build"]


@_each_client
@_each_pod
def test_container_sees_the_clients_file(ends: _Ends, case: _Case, client: str) -> None:
    """With `-v $PWD:/src` a container reads what the client wrote in its volume."""
    assert ends[case].told(client, "container-sees") == ["the client wrote this"]


@_each_client
@_each_pod
def test_client_sees_the_containers_file(ends: _Ends, case: _Case, client: str) -> None:
    """With `-v $PWD:/src` the client reads what a container wrote there."""
    assert ends[case].told(client, "client-sees") == ["the container wrote this"]


@_each_client
@_each_pod
def test_published_port(ends: _Ends, case: _Case, client: str) -> None:
    """A port that a container publishes is reached on the Pod's localhost."""
    # The CLI's answer has the header of HTTP before it.
    assert ends[case].told(client, "published")[-1:] == ["the client wrote this"]


_LISTENER: Final = (
    f"docker version; httpd -p {_CONTROL_PORT} -h /etc; trap 'exit 0' TERM; sleep 1000 & wait $!"
)
_PROBE: Final = """
import json, socket, sys

def outcome(address, port):
    try:
        socket.create_connection((address, port), timeout=10).close()
    except OSError as error:
        return type(error).__name__
    return "open"

addresses, ports = json.loads(sys.argv[1])
print(json.dumps({at: {port: outcome(at, int(port)) for port in ports} for at in addresses}))
"""


@pytest.fixture(scope="module")
def from_outside(node: NodeCluster) -> Iterator[Mapping[str, Mapping[str, str]]]:
    """For each transport: what another Pod gets at the ports of one with a running daemon."""
    names = [f"transports-listener-{transport}" for transport in _VARIABLES]
    for name, transport in zip(names, _VARIABLES, strict=True):
        pods.start(node.api, _NAMESPACE, _listener(name, transport))
    addresses = [_address_when_ready(node, name) for name in names]
    asked = json.dumps([addresses, [*_DAEMON_PORTS, str(_CONTROL_PORT)]])
    command = ("python3", "-c", _PROBE, asked)
    pod = pods.client_pod("transports-outside", *command, image=PYTHON_CLIENT)
    found = json.loads(pods.run(node.cluster, node.api, "default", pod))
    yield dict(zip(_VARIABLES, (found[address] for address in addresses), strict=True))
    for name in names:
        node.api.must("DELETE", f"/api/v1/namespaces/{_NAMESPACE}/pods/{name}")


def _listener(name: str, transport: str) -> dict[str, Any]:
    """A Pod that is ready when its daemon has answered and its own port is open."""
    annotations = {rules.INJECT: "sidecar", "dinp.io/transport": transport}
    pod = pods.client_pod(name, _LISTENER, annotations=annotations)
    probe = {"tcpSocket": {"port": _CONTROL_PORT}, "periodSeconds": 1}
    pod["spec"]["containers"][0]["readinessProbe"] = probe
    return pod


def _address_when_ready(node: NodeCluster, name: str) -> str:
    path = f"/api/v1/namespaces/{_NAMESPACE}/pods/{name}"

    def ready() -> bool:
        conditions = node.api.must("GET", path)["status"].get("conditions", ())
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    wait_until(ready, f"{name} is ready", interval=0.5)
    return str(node.api.must("GET", path)["status"]["podIP"])


@pytest.mark.parametrize("transport", _VARIABLES)
def test_other_pods_are_refused(
    from_outside: Mapping[str, Mapping[str, str]], transport: str
) -> None:
    """Another Pod reaches the Pod, but its daemon's ports refuse."""
    refused = dict.fromkeys(_DAEMON_PORTS, "ConnectionRefusedError")
    assert from_outside[transport] == {**refused, str(_CONTROL_PORT): "open"}


_Form = Literal["tls", "plain"]
_CERTIFICATES: Final = "/certs"
_FORMS: Final[Mapping[_Form, Mapping[str, str]]] = {
    "tls": {
        "DOCKER_HOST": "tcp://localhost:2376",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": f"{_CERTIFICATES}/client",
    },
    "plain": {"DOCKER_HOST": "tcp://localhost:2375"},
}
_ENTRYPOINT_SCRIPT: Final = f"""
told() {{ sed "s/^/$1: /"; }}
docker version --format '{{{{.Server.Version}}}}' | told version
ca={_CERTIFICATES}/client/ca.pem
stranger="env -u DOCKER_TLS_VERIFY -u DOCKER_CERT_PATH docker --tls --tlscacert=$ca"
own='--tlscert={_CERTIFICATES}/client/cert.pem --tlskey={_CERTIFICATES}/client/key.pem'
$stranger $own version --format '{{{{.Server.Version}}}}' | told holder
$stranger version --format '{{{{.Server.Version}}}}' | told stranger
netstat -ltn | awk '{{ print $4 }}' | told listens
cd {_CERTIFICATES}
find . -name '*.pem' ! -name csr.pem | sort | told file
find . -name key.pem -exec openssl rsa -noout -text -in '{{}}' ';' | told key
"""


@pytest.fixture(scope="module")
def by_entrypoint(node: NodeCluster) -> Mapping[_Form, _Ended]:
    """How the hand-written Pods ended."""
    return {
        form: _end(node, "default", _hand_written(form)["metadata"]["name"], "client", "dind")
        for form in _FORMS
    }


def _hand_written(form: _Form) -> dict[str, Any]:
    """A daemon as people write it; it has started when its own socket answers."""
    pod = pods.client_pod(
        f"transports-entrypoint-{form}",
        *("sh", "-euxc", _ENTRYPOINT_SCRIPT),
        image=DIND_29,  # which has openssl too
    )
    [client] = pod["spec"]["containers"]
    certificates = {"name": "certificates", "mountPath": _CERTIFICATES}
    daemon = {
        "name": "dind",
        "image": DIND_29,
        "restartPolicy": "Always",
        "securityContext": {"privileged": True},
        "startupProbe": {
            "exec": {"command": ["docker", "--host=unix:///var/run/docker.sock", "version"]},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": 120,
        },
        "volumeMounts": [certificates, {"name": "storage", "mountPath": "/var/lib/docker"}],
    }
    if form == "plain":
        daemon["env"] = [{"name": "DOCKER_TLS_CERTDIR", "value": ""}]
    client["env"] = [{"name": name, "value": value} for name, value in _FORMS[form].items()]
    client["volumeMounts"] = [certificates]
    pod["spec"]["initContainers"] = [daemon]
    pod["spec"]["volumes"] = [
        {"name": name, "emptyDir": {}} for name in ("certificates", "storage")
    ]
    return pod


@pytest.mark.parametrize(("form", "port"), [("tls", "2376"), ("plain", "2375")])
def test_entrypoint_listens_on_all_addresses(
    by_entrypoint: Mapping[_Form, _Ended], form: _Form, port: str
) -> None:
    """Without arguments its daemon is reached at the form's port, at any address, and no other."""
    ended = by_entrypoint[form]
    [version] = ended.told("client", "version")
    assert version.startswith("29.")
    addresses = ended.told("client", "listens")
    daemon = [at for at in addresses if at.rpartition(":")[2] in _DAEMON_PORTS]
    assert daemon in ([f":::{port}"], [f"0.0.0.0:{port}"])


def test_entrypoint_makes_certificates(by_entrypoint: Mapping[_Form, _Ended]) -> None:
    """With /certs it makes the files that the image's own makes, of the same kind of key."""
    ended = by_entrypoint["tls"]
    files = ["ca/cert", "ca/key"] + [
        f"{role}/{name}" for role in ("client", "server") for name in ("ca", "cert", "key")
    ]
    assert ended.told("client", "file") == [f"./{name}.pem" for name in files]
    sizes = [line for line in ended.told("client", "key") if "bit" in line]
    assert len(sizes) == 3
    assert all("(4096 bit" in line for line in sizes)


def test_entrypoint_takes_holders_of_a_certificate(by_entrypoint: Mapping[_Form, _Ended]) -> None:
    """With TLS only who has the client's certificate comes in."""
    ended = by_entrypoint["tls"]
    assert ended.told("client", "holder") == ended.told("client", "version")
    assert not any(line.startswith("29.") for line in ended.told("client", "stranger"))


def test_entrypoint_makes_none_where_told(by_entrypoint: Mapping[_Form, _Ended]) -> None:
    """With an empty DOCKER_TLS_CERTDIR there is no certificate, and anybody may come in."""
    ended = by_entrypoint["plain"]
    assert ended.told("client", "version")
    assert ended.told("client", "file") == []
