"""Daemons in Pods reach registries through a proxy, and clients reach their daemons without it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
import trustme

from tests.cluster.installation import yaml_of
from tests.node import pods, registry
from tests.node.cluster import NodeCluster
from tests.node.contents import DIND_20_10, DIND_29
from tests.node.python_client import PYTHON_CLIENT
from tests.node.registry import Server
from webhook.asking import rules

pytestmark = pytest.mark.node

_NAMESPACE: Final = "proxies"
_DOCKERS: Final = {"20-10": DIND_20_10, "29": DIND_29}
# Names that no DNS knows: it takes the proxy to reach them.
_SECURE_NAME: Final = "secure.example"
_PLAIN_NAME: Final = "plain.example"
_SECURE: Final = f"{_SECURE_NAME}:5000"
_PLAIN: Final = f"{_PLAIN_NAME}:5000"
_PROXY: Final = f"http://{registry.service_name(_NAMESPACE, 'proxy')}:8888"
_PROXY_VARIABLES: Final = ("HTTP_PROXY", "HTTPS_PROXY")
_LITERAL: Final[Mapping[str, Mapping[str, Any]]] = {
    name: {"value": _PROXY} for name in _PROXY_VARIABLES
}
_CONFIG: Final = "proxies"  # the ConfigMap

_PUSH_AND_PULL: Final = """
docker version
tar -c -C / bin usr/bin/busybox usr/bin/sh usr/bin/env usr/bin/grep | docker import - {image}
docker push {image}
docker image rm {image}
docker pull {image}
docker run --rm --pull=never {image} sh -c 'env | grep -i _proxy= || echo none in the container'
"""
_BUILD: Final = """
mkdir /context
printf 'FROM {image}\\nRUN env | grep -i _proxy= || echo none in the build\\n' >/context/Dockerfile
export DOCKER_BUILDKIT=1
docker build --pull --no-cache --progress=plain /context
docker build --pull --no-cache --progress=plain --build-arg=HTTP_PROXY=$HTTP_PROXY /context
"""
# To the registry's Service, and then to the name that the proxy knows.
_DIRECT: Final = """
tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - {direct}/direct:1
docker push {direct}/direct:1
docker pull {plain}/direct:1 && exit 1
echo it was not reached
"""
# No push: tinyproxy closes connections that Docker 29 wants to go on using, and a POST is not repeated.
_PULL: Final = """
docker pull {plain}/direct:1
docker run --rm --pull=never {plain}/direct:1 sh -c 'echo it runs'
"""
# In the environment as dinp has made it, and without what dinp has added.
_PYTHON: Final = """
import docker, os
print("version", docker.from_env().version()["Version"])
for name in ("NO_PROXY", "no_proxy"):
    os.environ.pop(name, None)
try:
    docker.from_env().version()
except docker.errors.DockerException as error:
    print("without NO_PROXY:", error)
"""


@pytest.fixture(scope="module")
def proxy(node: NodeCluster) -> Iterator[Server]:
    """A proxy before two registries, and Pods that have started to use them."""
    node.add_images(*registry.images())
    ca = trustme.CA()
    with registry.namespace(node, _NAMESPACE):
        plain = registry.start_registry(node, _NAMESPACE, "plain")
        secure = registry.start_registry(node, _NAMESPACE, "secure", ca.issue_cert(_SECURE_NAME))
        hosts = {_PLAIN_NAME: plain.address, _SECURE_NAME: secure.address}
        started = registry.start_proxy(node, _NAMESPACE, "proxy", hosts)
        registry.wait_until_ready(plain, secure, started)
        data = {"proxy": _PROXY, "daemon.json": "{}", "ca.crt": ca.cert_pem.bytes().decode()}
        registry.create_config_map(node, _NAMESPACE, _CONFIG, data)
        for pod in (*_copied(), _direct(plain)):
            pods.start(node.api, _NAMESPACE, pod)
        _start_by_config_file(node)
        _said(node, "direct")  # it has pushed what is pulled next
        for pod in (_value_from(), *_docker_py()):
            pods.start(node.api, _NAMESPACE, pod)
        yield started


@pytest.mark.parametrize("docker", _DOCKERS)
def test_copied(node: NodeCluster, proxy: Server, docker: str) -> None:
    """A client's own proxy is its daemon's too: it pushes and pulls, with TLS to the registry."""
    said = _said(node, f"copied-{docker}")
    assert "none in the container" in said.splitlines()
    assert f"CONNECT {_SECURE}" in proxy.log()


@pytest.mark.parametrize("docker", _DOCKERS)
@pytest.mark.usefixtures("proxy")
def test_builds(node: NodeCluster, docker: str) -> None:
    """BuildKit pulls by the proxy; what it runs sees none but that of a build argument."""
    said = _said(node, f"copied-{docker}")
    assert _says_in_a_build("none in the build", said) == 1
    assert _says_in_a_build(f"HTTP_PROXY={_PROXY}", said) == 1


def test_value_from(node: NodeCluster, proxy: Server) -> None:
    """A proxy out of a ConfigMap is the daemon's; the client has TLS to its daemon."""
    assert "it runs" in _said(node, "value-from").splitlines()
    assert f"GET http://{_PLAIN}/v2/direct/" in proxy.log()


@pytest.mark.usefixtures("proxy")
def test_config_file(node: NodeCluster) -> None:
    """The config file's proxy is the daemon's, whatever the client has."""
    assert "none in the container" in _said(node, "config-file").splitlines()


@pytest.mark.usefixtures("proxy")
def test_without(node: NodeCluster) -> None:
    """Only the proxy leads to these names."""
    said = _said(node, "direct")
    assert "it was not reached" in said.splitlines()
    assert f"lookup {_PLAIN_NAME}" in said


@pytest.mark.parametrize(
    ("transport", "request_line"),
    [("tcp", "GET http://localhost:2375/"), ("tls", "CONNECT localhost:2376")],
    ids=["tcp", "tls"],
)
def test_docker_py(node: NodeCluster, proxy: Server, transport: str, request_line: str) -> None:
    """It reaches its daemon, by the NO_PROXY that dinp has completed: else it asks the proxy."""
    said = _said(node, f"python-{transport}")
    assert "version 29." in said
    assert "without NO_PROXY:" in said
    assert request_line in proxy.log()


def _said(node: NodeCluster, name: str) -> str:
    name = f"proxies-{name}"
    return pods.said_at_end(node.cluster, _NAMESPACE, name, api=node.api)


def _says_in_a_build(what: str, said: str) -> int:
    """How many RUN steps have said so; the step's title does not count."""
    return len(re.findall(rf"^#\d+ [\d.]+ {re.escape(what)}$", said, re.MULTILINE))


def _copied() -> Iterator[dict[str, Any]]:
    for docker, image in _DOCKERS.items():
        script = (_PUSH_AND_PULL + _BUILD).format(image=f"{_SECURE}/{docker}:1")
        annotations = {"dinp.io/image": image, "dinp.io/daemon-config": _CONFIG}
        # A NO_PROXY that is there already, and does not name the daemon.
        env = {**_LITERAL, "NO_PROXY": {"value": "intern.example"}}
        yield _pod(f"copied-{docker}", script, annotations=annotations, env=env)


def _direct(plain: Server) -> dict[str, Any]:
    annotations = {"dinp.io/insecure-registries": f"{plain.host},{_PLAIN}"}
    script = _DIRECT.format(direct=plain.host, plain=_PLAIN)
    return _pod("direct", script, annotations=annotations, env={})


def _value_from() -> dict[str, Any]:
    annotations = {"dinp.io/insecure-registries": _PLAIN, "dinp.io/transport": "tls"}
    reference = {"valueFrom": {"configMapKeyRef": {"name": _CONFIG, "key": "proxy"}}}
    env = dict.fromkeys(_PROXY_VARIABLES, reference)
    return _pod("value-from", _PULL.format(plain=_PLAIN), annotations=annotations, env=env)


def _docker_py() -> Iterator[dict[str, Any]]:
    for transport in ("tcp", "tls"):
        annotations = {"dinp.io/transport": transport}
        pod = _pod(f"python-{transport}", annotations=annotations, env=_LITERAL)
        container = pod["spec"]["containers"][0]
        container.update(image=PYTHON_CLIENT, command=["python3", "-c", _PYTHON])
        yield pod


def _start_by_config_file(node: NodeCluster) -> None:
    pod = _pod(
        "config-file",
        _PUSH_AND_PULL.format(image=f"{_SECURE}/config-file:1"),
        annotations={"dinp.io/daemon-config": _CONFIG},
        env={key: {"value": "http://another.example:8888"} for key in _PROXY_VARIABLES},
    )
    sidecar = {"proxy": dict.fromkeys(_PROXY_VARIABLES, _PROXY)}
    node.dinp.serve(yaml_of({"sidecar": sidecar}))
    try:
        pods.start(node.api, _NAMESPACE, pod)
    finally:
        node.dinp.serve()


def _pod(
    name: str,
    *command: str,
    annotations: Mapping[str, str],
    env: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    asked = {rules.INJECT: "sidecar", **annotations}
    pod = pods.client_pod(f"proxies-{name}", *command, annotations=asked)
    variables = [{"name": key, **value} for key, value in env.items()]
    pod["spec"]["containers"][0]["env"] = variables
    return pod
