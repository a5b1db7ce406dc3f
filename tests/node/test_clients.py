"""Clients that others wrote do their work in Pods with a daemon: buildx, compose, testcontainers, act.

Docker is 29 here. Each Pod works in a volume of its own, at `_WORK`, which the daemon has as well.
"""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.node import pods
from tests.node.clients import CLIENTS, WEB_CONTAINER, clients
from tests.node.cluster import NodeCluster
from tests.node.python_client import PYTHON_CLIENT
from tests.terminal import teller
from webhook.asking import rules

pytestmark = pytest.mark.node

_NAMESPACE: Final = "annotated"
_WORK: Final = "/work"
_TRANSPORTS: Final = ("tcp", "tls")
_TESTCONTAINERS_TRANSPORTS: Final = ("tcp", "unix")
# As far as a builder of its own gets here: the daemon is told to pull an image, and cannot.
_PULLED: Final = 'Error response from daemon: failed to resolve reference "docker.io/moby/buildkit'
_REFUSED: Final = "could not create a builder instance with TLS data loaded from environment"

# A folder with what each image is built from.
_FILES: Final = """
cp /usr/bin/busybox busybox
cat >Dockerfile <<'END'
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN --mount=type=cache,target=/cache echo built by BuildKit >/said
CMD ["cat", "/said"]
END
"""
_BUILD: Final = """
docker buildx build --load --progress=plain --tag localhost/built:1 .
docker run --rm --pull=never localhost/built:1
cat >docker-bake.hcl <<'END'
group "default" { targets = ["one", "two"] }
target "one" { tags = ["localhost/one:1"] }
target "two" { tags = ["localhost/two:1"] }
END
docker buildx bake --load --progress=plain
docker run --rm --pull=never localhost/two:1 echo bake made this one
"""
_BUILDX: Final = {
    "tcp": _FILES
    + _BUILD
    + """
docker buildx create --name made
docker buildx inspect made
docker buildx inspect --bootstrap made || echo not started
""",
    "tls": _FILES
    + _BUILD
    + """
docker buildx create --name made && exit 1
docker context create remedy
docker buildx create --name made remedy
docker buildx inspect made
docker buildx inspect --bootstrap made || echo not started
""",
}
_GET: Final = r"printf 'GET /said HTTP/1.0\r\n\r\n' | nc -w 5"
_COMPOSE: Final = (
    _FILES
    + f"""
echo from the work folder >said
cat >compose.yaml <<'END'
services:
  web:
    build: .
    image: localhost/web:1
    command: [httpd, -f, -p, "80", -h, /www]
    volumes: [".:/www:ro"]
    ports: ["8080:80"]
    healthcheck: {{test: "nc -w 1 127.0.0.1 80 </dev/null", interval: 1s, retries: 60}}
  other:
    image: localhost/web:1
    pull_policy: never
    command: [sleep, "1000"]
    init: true
    depends_on: {{web: {{condition: service_healthy}}}}
END
docker compose build
docker compose up -d
docker compose ps
docker compose exec -T other sh -c "{_GET} web 80" | sed 's/^/by its name: /'
{_GET} localhost 8080 | sed 's/^/by its port: /'
docker network ls --filter label=com.docker.compose.project --format 'network: {{{{.Name}}}}'
docker compose down
docker compose ps --all --quiet | wc -l | sed 's/^/containers left: /'
docker network ls --quiet --filter label=com.docker.compose.project | wc -l | sed 's/^/networks left: /'
"""
)
_ACT: Final = """
tar -c -C / bin lib lib64 etc usr/bin usr/lib usr/lib64 | docker import - localhost/job:1
mkdir -p .github/workflows
echo from the work folder >said
cat >.github/workflows/ci.yaml <<'END'
on: push
defaults: {run: {shell: sh}}
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
    - run: echo "$(cat said) in $PWD"
    - run: docker --host=unix:///var/run/docker.sock ps --format 'the job sees {{.Names}}'
    - run: echo from the job >made
END
act push --bind --pull=false --platform ubuntu-latest=localhost/job:1
echo "the Pod sees: $(cat made)"
"""
# Without its reaper Ryuk: neither its image nor its module is to be had here, and a slower stand-in
# would lose the connection of this testcontainers, which does not wait until it listens.
_TESTCONTAINERS: Final = (
    WEB_CONTAINER
    + """
from testcontainers.core.wait_strategies import HttpWaitStrategy
web.with_command("busybox httpd -f -p 8000 -h /").waiting_for(HttpWaitStrategy(8000, "/said"))
with web:
    host, port = web.get_container_host_ip(), web.get_exposed_port(8000)
    print("host:", host, "port:", port)
    print("answer:", urllib.request.urlopen(f"http://{host}:{port}/said", timeout=10).read())
print("left:", docker.from_env().containers.list(all=True))
"""
)


@pytest.fixture(scope="module", autouse=True)
def started(node: NodeCluster, request: pytest.FixtureRequest) -> None:
    """All Pods of this file, which each test reads one of."""
    node.add_images(clients(teller(request)))
    for transport in _TRANSPORTS:
        _start(node, f"buildx-{transport}", _BUILDX[transport], transport)
        _start(node, f"compose-{transport}", _COMPOSE, transport)
    _start(node, "act-tcp", _ACT, "tcp")
    for transport in _TESTCONTAINERS_TRANSPORTS:
        _start(node, f"testcontainers-{transport}", _TESTCONTAINERS, transport, PYTHON_CLIENT)


def _start(node: NodeCluster, name: str, script: str, transport: str, image: str = CLIENTS) -> None:
    """Create an injected Pod with a volume to work in, which has been started there."""
    interpreter = {CLIENTS: ("sh", "-euxc"), PYTHON_CLIENT: ("python3", "-c")}
    asked = {rules.INJECT: "sidecar", "dinp.io/transport": transport}
    command = (*interpreter[image], script)
    pod = pods.client_pod(f"clients-{name}", *command, image=image, annotations=asked)
    pod["spec"]["volumes"] = [{"name": "work", "emptyDir": {}}]
    (container,) = pod["spec"]["containers"]
    container |= {
        "workingDir": _WORK,
        "volumeMounts": [{"name": "work", "mountPath": _WORK}],
    }
    pods.start(node.api, _NAMESPACE, pod)


def _said(node: NodeCluster, name: str) -> str:
    """What a Pod of the fixture wrote, when it has ended well."""
    return pods.said_at_end(node.cluster, _NAMESPACE, f"clients-{name}", api=node.api)


@pytest.mark.parametrize("transport", _TRANSPORTS)
def test_buildx_builds(node: NodeCluster, transport: str) -> None:
    """`buildx build --load` and `buildx bake` give images that the daemon runs."""
    said = _said(node, f"buildx-{transport}").splitlines()
    assert "built by BuildKit" in said
    assert "bake made this one" in said


def test_buildx_create(node: NodeCluster) -> None:
    """Without TLS `buildx create` makes a builder beside the daemon's own."""
    said = _said(node, "buildx-tcp")
    assert re.search(r"^Driver: +docker-container$", said, re.MULTILINE)
    assert re.search(r"^Endpoint: +tcp://localhost:2375$", said, re.MULTILINE)
    assert _PULLED in said


def test_buildx_create_with_tls(node: NodeCluster) -> None:
    """With TLS variables it refuses, and by a context made of them it works."""
    said = _said(node, "buildx-tls")
    assert _REFUSED in said
    assert re.search(r"^Driver: +docker-container$", said, re.MULTILINE)
    assert re.search(r"^Endpoint: +remedy$", said, re.MULTILINE)
    assert _PULLED in said


@pytest.mark.parametrize("transport", _TRANSPORTS)
def test_compose(node: NodeCluster, transport: str) -> None:
    """A project's services find each other by name, publish ports, mount its folder, and go."""
    said = _said(node, f"compose-{transport}").splitlines()
    assert "by its name: from the work folder" in said
    assert "by its port: from the work folder" in said
    assert "network: work_default" in said
    assert any("work-web-1" in line and "(healthy)" in line for line in said)
    assert "containers left: 0" in said
    assert "networks left: 0" in said


def test_act(node: NodeCluster) -> None:
    """A job's container has the workspace of the Pod, and the socket of its daemon."""
    said = _said(node, "act-tcp")
    assert f"from the work folder in {_WORK}" in said
    assert "the job sees act-" in said
    assert "the Pod sees: from the job" in said


@pytest.mark.parametrize("transport", _TESTCONTAINERS_TRANSPORTS)
def test_testcontainers(node: NodeCluster, transport: str) -> None:
    """A test finds the port of its container at localhost, by the socket too."""
    said = _said(node, f"testcontainers-{transport}").splitlines()
    assert any(re.fullmatch(r"host: localhost port: \d+", line) for line in said)
    assert "answer: b'from the image'" in said
    assert "left: []" in said
