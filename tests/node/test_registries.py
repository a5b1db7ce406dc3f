"""Daemons in Pods push to registries on the node, and pull from them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import trustme

from tests.cluster.installation import yaml_of
from tests.cluster.processes import wait_until
from tests.node import pods, registry
from tests.node.cluster import NodeCluster
from tests.node.contents import DIND_20_10, DIND_29
from tests.node.registry import Server
from webhook import names
from webhook.asking import rules

pytestmark = pytest.mark.node

_NAMESPACE: Final = "registries"
_DOCKERS: Final = {"20-10": DIND_20_10, "29": DIND_29}
_PLAIN_HTTP: Final = "server gave HTTP response to HTTPS client"
_UNKNOWN_CA: Final = "x509: certificate signed by unknown authority"
_LABEL: Final = "comes=from-daemon-json"
_SUBNET: Final = "192.0.2.0/24"  # for documentation (RFC 5737): nobody has it
_INSECURE: Final = "from-daemon-json.example:5000"
_BUILT: Final = "built on what was pulled"
_CONFIG: Final = "registries"  # the ConfigMap
_BAD_CONFIG: Final = "registries-hosts"
_HTTP_CONFIG: Final = "registries-http"
# BuildKit of Docker 20.10 speaks HTTPS there, whatever `insecure-registries` says: moby issue 41059.
_BUILDS_TOO: Final = {("plain", "29"), ("mirror", "29")}

_MAKE: Final = "tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - {image}\n"
_PUSH_AND_PULL: Final = (
    _MAKE
    + """
docker push {image}
docker image rm {image}
docker pull {image}
docker run --rm --pull=never {image} sh -c 'echo it runs'
"""
)
_PLAIN: Final = (
    """
docker info --format 'secure: {{{{(index .RegistryConfig.IndexConfigs "{plain}").Secure}}}}'
"""
    + _PUSH_AND_PULL
    + """
docker tag {image} {plain}/library/{hub}
docker push {plain}/library/{hub}
"""
)
# --pull: it asks the registry even where it has the image.
_BUILD: Final = """
mkdir /context
printf 'FROM {image}\\nRUN echo {built}\\n' >/context/Dockerfile
DOCKER_BUILDKIT=1 docker build --pull --no-cache --progress=plain /context
"""
_REFUSED: Final = (
    _MAKE
    + """
docker push {image} && exit 1
docker tag {image} {secure}/refused
docker push {secure}/refused && exit 1
docker pull {secure}/refused && exit 1
echo all was refused
"""
)
_SECURE: Final = (
    """
docker info --format 'labels: {{{{.Labels}}}}'
docker info --format 'indexes: {{{{json .RegistryConfig.IndexConfigs}}}}'
docker network inspect bridge --format 'subnet: {{{{(index .IPAM.Config 0).Subnet}}}}'
"""
    + _PUSH_AND_PULL
    + _BUILD
)
_MIRRORED: Final = """
docker info --format 'mirrors: {{{{.RegistryConfig.Mirrors}}}}'
docker pull {image}
docker run --rm --pull=never {image} sh -c 'echo it runs'
"""


@dataclass(frozen=True, slots=True)
class Registries:
    """The two registries, and the CA of one."""

    plain: Server
    secure: Server
    ca: trustme.CA


@pytest.fixture(scope="module")
def registries(node: NodeCluster) -> Iterator[Registries]:
    """Two registries, and Pods with either Docker that have started to use them."""
    node.add_images(*registry.images())
    ca = trustme.CA()
    pair = ca.issue_cert(registry.service_name(_NAMESPACE, "secure"))
    with registry.namespace(node, _NAMESPACE):
        plain = registry.start_registry(node, _NAMESPACE, "plain")
        secure = registry.start_registry(node, _NAMESPACE, "secure", pair)
        registry.wait_until_ready(plain, secure)
        found = Registries(plain, secure, ca)
        _create_config_maps(node, found)
        _start(node, "plain", "refused", "secure", found=found)
        _start_by_config_file(node, found)
        pods.start(node.api, _NAMESPACE, _hosts_pod())
        yield found


@pytest.fixture(scope="module")
def mirror(node: NodeCluster, registries: Registries) -> str:
    """Pods that pull from the mirror what others have pushed there; returns its URL."""
    for docker in _DOCKERS:
        _said(node, f"plain-{docker}")
    _start(node, "mirror", found=registries)
    pods.start(node.api, _NAMESPACE, _pod("http", "20-10", registries))
    return f"http://{registries.plain.host}/"


@pytest.mark.parametrize("docker", _DOCKERS)
def test_insecure_registry(node: NodeCluster, registries: Registries, docker: str) -> None:
    """By dinp.io/insecure-registries a daemon pushes to a registry without TLS, and pulls."""
    said = _said(node, f"plain-{docker}")
    assert "secure: false" in said
    assert "it runs" in said.splitlines()
    assert f"/v2/{docker}/shell/manifests/" in registries.plain.log()


@pytest.mark.parametrize("docker", _DOCKERS)
def test_refused(node: NodeCluster, registries: Registries, docker: str) -> None:
    """Without annotations neither registry is trusted."""
    said = _said(node, f"refused-{docker}")
    assert _PLAIN_HTTP in said
    assert said.count(_UNKNOWN_CA) >= 2  # the push, and the pull
    assert f"{docker}/refused" not in registries.plain.log()


@pytest.mark.parametrize("docker", _DOCKERS)
def test_private_ca(node: NodeCluster, registries: Registries, docker: str) -> None:
    """By a *.crt of dinp.io/daemon-config a daemon trusts a registry, and so does BuildKit."""
    said = _said(node, f"secure-{docker}")
    assert "it runs" in said.splitlines()
    assert _is_built(said)
    assert f"/v2/{docker}/shell/manifests/" in registries.secure.log()


@pytest.mark.parametrize("docker", _DOCKERS)
def test_authority_of_the_config_file(
    node: NodeCluster, registries: Registries, docker: str
) -> None:
    """By sidecar.certificateAuthorities of its namespace a daemon trusts it without a ConfigMap, and so does BuildKit."""
    said = _said(node, f"by-file-{docker}")
    assert "it runs" in said.splitlines()
    assert _is_built(said)
    assert f"/v2/{docker}/by-file/manifests/" in registries.secure.log()


@pytest.mark.parametrize("docker", _DOCKERS)
def test_daemon_json(node: NodeCluster, registries: Registries, docker: str) -> None:
    """Its settings arrive, and dinp's flags of the same names give way: dockerd refuses both."""
    said = _said(node, f"secure-{docker}")
    assert f"labels: [{_LABEL}]" in said
    assert f"subnet: {_SUBNET}" in said
    assert f'"{_INSECURE}"' in said
    assert f'"{registries.plain.host}"' not in said


@pytest.mark.usefixtures("registries")
def test_hosts_in_daemon_json(node: NodeCluster) -> None:
    """The daemon's log says that `hosts` is for dinp to set, and no client starts."""
    name = "registries-hosts"
    wait_until(
        lambda: 'daemon.json sets "hosts"' in pods.logs(node.cluster, _NAMESPACE, name, names.DIND),
        "dinp-dind has said why it ends",
        interval=0.5,
    )
    path = f"/api/v1/namespaces/{_NAMESPACE}/pods/{name}"
    status = node.api.must("GET", path)["status"]
    assert "waiting" in status["containerStatuses"][0]["state"]


@pytest.mark.parametrize("docker", _DOCKERS)
def test_mirror(node: NodeCluster, mirror: str, docker: str) -> None:
    """By dinp.io/registry-mirrors names of Docker Hub come from there."""
    said = _said(node, f"mirror-{docker}")
    assert f"mirrors: [{mirror}]" in said
    assert "it runs" in said.splitlines()


@pytest.mark.usefixtures("mirror")
def test_base_images_without_tls(node: NodeCluster) -> None:
    """BuildKit takes a base image from an insecure registry, and from a mirror without TLS."""
    assert _is_built(_said(node, "plain-29"))
    assert _is_built(_said(node, "mirror-29"))


@pytest.mark.usefixtures("mirror")
def test_base_images_without_tls_of_20_10(node: NodeCluster) -> None:
    """That of Docker 20.10 wants `http://` before the name, which daemon.json can say."""
    assert _is_built(_said(node, "http-20-10"))


def _said(node: NodeCluster, name: str) -> str:
    name = f"registries-{name}"
    return pods.said_at_end(node.cluster, _NAMESPACE, name, api=node.api)


def _is_built(said: str) -> bool:
    """Whether BuildKit's RUN has said something: its output, not the step's title, ends so."""
    return any(re.fullmatch(rf"#\d+ [\d.]+ {_BUILT}", line) for line in said.splitlines())


def _start(node: NodeCluster, *which: str, found: Registries) -> None:
    for docker in _DOCKERS:
        for name in which:
            pods.start(node.api, _NAMESPACE, _pod(name, docker, found))


def _pod(name: str, docker: str, found: Registries) -> dict[str, Any]:
    """One of the Pods: its script and annotations by `name`."""
    plain, secure = found.plain.host, found.secure.host
    hub = f"shell-{docker}:1"  # as Docker Hub's images are called
    insecure = {"dinp.io/insecure-registries": plain}
    script, image, annotations = {
        "plain": (_PLAIN, f"{plain}/{docker}/shell:1", insecure),
        "refused": (_REFUSED, f"{plain}/{docker}/refused:1", {}),
        "secure": (
            _SECURE,
            f"{secure}/{docker}/shell:1",
            {"dinp.io/daemon-config": _CONFIG, **insecure},
        ),
        "by-file": (_PUSH_AND_PULL + _BUILD, f"{secure}/{docker}/by-file:1", {}),
        "mirror": (_MIRRORED, hub, {"dinp.io/registry-mirrors": f"http://{plain}"}),
        "http": (_BUILD, hub, {"dinp.io/daemon-config": _HTTP_CONFIG}),
    }[name]
    if (name, docker) in _BUILDS_TOO:
        script += _BUILD
    whole = script.format(image=image, plain=plain, secure=secure, hub=hub, built=_BUILT)
    own = {rules.INJECT: "sidecar", "dinp.io/image": _DOCKERS[docker]}
    return pods.client_pod(f"registries-{name}-{docker}", whole, annotations={**own, **annotations})


def _start_by_config_file(node: NodeCluster, found: Registries) -> None:
    """Pods that say nothing of an authority: the config file does, for their namespace."""
    authority = found.ca.cert_pem.bytes().decode()
    other = {"match": [f"not-{_NAMESPACE}"], "sidecar": {"image": "docker:0-dind"}}
    ours = {"match": ["reg*"], "sidecar": {"certificateAuthorities": authority}}
    node.dinp.serve(yaml_of({"namespaces": [other, ours]}))
    try:
        _start(node, "by-file", found=found)
    finally:
        node.dinp.serve()


def _hosts_pod() -> dict[str, Any]:
    annotations = {rules.INJECT: "sidecar", "dinp.io/daemon-config": _BAD_CONFIG}
    return pods.client_pod("registries-hosts", "docker version", annotations=annotations)


def _create_config_maps(node: NodeCluster, found: Registries) -> None:
    plain = f"http://{found.plain.host}"
    settings: dict[str, dict[str, Any]] = {
        _CONFIG: {
            "labels": [_LABEL],
            "bip": _SUBNET.replace(".0/", ".1/"),
            "insecure-registries": [_INSECURE],
        },
        _BAD_CONFIG: {"hosts": ["tcp://0.0.0.0:2375"]},
        _HTTP_CONFIG: {"registry-mirrors": [plain], "insecure-registries": [plain]},
    }
    authority = found.ca.cert_pem.bytes().decode()
    for name, content in settings.items():
        data = {"daemon.json": json.dumps(content, indent=2), "ca.crt": authority}
        registry.create_config_map(node, _NAMESPACE, name, data)
