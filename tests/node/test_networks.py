"""Docker's networks inside a Pod: they take no address from it, and nothing larger than its own."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.node import pods
from tests.node.cluster import NodeCluster
from tests.node.containerd import MTU
from tests.node.contents import DIND_20_10, DIND_29
from tests.node.kubelet import API_SERVICE, CLUSTER_DOMAIN
from webhook.asking import rules

pytestmark = pytest.mark.node

NAMESPACE: Final = "annotated"
_VERSIONS: Final = {"20-10": DIND_20_10, "29": DIND_29}
_NETWORKS: Final = 40

_IMAGE: Final = (
    "tar -c -C / bin usr/bin/busybox usr/bin/sh usr/bin/docker | "
    "docker import - localhost/shell:1\n"
)
_RUN: Final = "docker run --rm --pull=never"
# Docker gives each network a part of its pool, and the last ones a container each.
_MANY: Final = f"""{_IMAGE}
for number in $(seq {_NETWORKS}); do docker network create "many$number" >/dev/null; done
echo "networks: $(docker network ls --quiet --filter name=many | wc -l)"
docker network inspect --format '{{{{range .IPAM.Config}}}}subnet: {{{{.Subnet}}}}{{{{end}}}}' \\
    $(docker network ls --quiet --filter name=many)
nslookup kubernetes.default.svc.{CLUSTER_DOMAIN}
nc -w 9 {API_SERVICE} 443 </dev/null
echo the Pod reaches them
last="{_RUN} --network many{_NETWORKS} localhost/shell:1 busybox"
$last nc -w 9 {API_SERVICE} 443 </dev/null
echo a container reaches the API server
$last nslookup kubernetes.default.svc.{CLUSTER_DOMAIN}
echo a container reaches DNS
"""
_MTUS: Final = f"""{_IMAGE}
say() {{ echo "$1: $(cat /sys/class/net/$2/mtu)"; }}
say Pod eth0
inside='cat /sys/class/net/eth0/mtu'
echo "container: $({_RUN} localhost/shell:1 busybox $inside)"
docker network create own
echo "own network: $({_RUN} --network own localhost/shell:1 busybox $inside)"
docker network create --opt com.docker.network.driver.mtu=1300 smaller
echo "smaller network: $({_RUN} --network smaller localhost/shell:1 busybox $inside)"
mkdir /context
printf 'FROM localhost/shell:1\\nRUN echo build: $(busybox %s)\\n' "$inside" >/context/Dockerfile
DOCKER_BUILDKIT=0 docker build /context
DOCKER_BUILDKIT=1 docker build --progress=plain --no-cache /context >/log 2>&1
sed 's/^#[0-9]* [0-9.]* build/buildkit/' /log
{_RUN} -d --name keeper localhost/shell:1 busybox sleep 1000
say docker0 docker0
"""


def _pod(name: str, script: str, version: str) -> dict[str, Any]:
    annotations = {rules.INJECT: "sidecar", "dinp.io/image": _VERSIONS[version]}
    return pods.client_pod(f"networks-{name}-{version}", script, annotations=annotations)


@pytest.fixture(scope="module", autouse=True)
def started(node: NodeCluster) -> None:
    """All Pods at once."""
    for version in _VERSIONS:
        pods.start(node.api, NAMESPACE, _pod("many", _MANY, version))
        pods.start(node.api, NAMESPACE, _pod("mtu", _MTUS, version))


def _said(node: NodeCluster, name: str) -> list[str]:
    return pods.said_at_end(node.cluster, NAMESPACE, name, api=node.api).splitlines()


@pytest.mark.parametrize("version", _VERSIONS)
def test_many_networks_leave_the_pods_own(node: NodeCluster, version: str) -> None:
    """After 40 networks the Pod, and a container in the last, find DNS and the API server."""
    lines = _said(node, f"networks-many-{version}")
    assert f"networks: {_NETWORKS}" in lines
    subnets = [line for line in lines if line.startswith("subnet: ")]
    assert len(subnets) == _NETWORKS
    assert all(subnet.startswith("subnet: 198.19.") for subnet in subnets)
    assert "the Pod reaches them" in lines
    assert "a container reaches the API server" in lines
    assert "a container reaches DNS" in lines


@pytest.mark.parametrize("version", _VERSIONS)
def test_docker0_has_the_pods_mtu(node: NodeCluster, version: str) -> None:
    """Containers and both builders send nothing that the Pod's interface would have to cut."""
    lines = _said(node, f"networks-mtu-{version}")
    assert f"Pod: {MTU}" in lines
    assert f"container: {MTU}" in lines
    assert f"build: {MTU}" in lines
    assert f"buildkit: {MTU}" in lines
    assert f"docker0: {MTU}" in lines


def test_a_users_network_has_the_pods_mtu(node: NodeCluster) -> None:
    """So does a network of the user's, unless it says another one."""
    lines = _said(node, "networks-mtu-29")
    assert f"own network: {MTU}" in lines
    assert "smaller network: 1300" in lines
