"""Servers that daemons in Pods reach by name: registries, plain and with TLS, and a proxy."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import trustme

from tests.cluster.processes import wait_until
from tests.node import pods
from tests.node.cluster import NodeCluster
from tests.node.images import Image
from tests.node.kubelet import CLUSTER_DOMAIN

_REGISTRY: Final = "localhost/registry:1"
_REGISTRY_PORT: Final = 5000
_PROXY: Final = "localhost/proxy:1"
_PROXY_PORT: Final = 8888
_CONTAINER: Final = "server"
_TLS: Final = "/tls"
_READY_SECONDS: Final = 90.0
_NSSWITCH: Final = "hosts: files dns\n"
# Debian's own asks for a password.
_REGISTRY_CONFIG: Final = f"""version: 0.1
storage: {{filesystem: {{rootdirectory: /var/lib/registry}}}}
http: {{addr: ":{_REGISTRY_PORT}"}}
"""
# Without ConnectPort all ports, without Allow all clients, without LogFile to its output.
_PROXY_CONFIG: Final = f"""Port {_PROXY_PORT}
Timeout 60
MaxClients 50
LogLevel Connect
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A Pod that serves, and the Service in front of it."""

    node: NodeCluster
    namespace: str
    name: str
    address: str  # the Service's
    port: int

    @property
    def host(self) -> str:
        """The Service's name in the cluster's DNS, and its port."""
        return f"{service_name(self.namespace, self.name)}:{self.port}"

    def log(self) -> str:
        """What it has written so far."""
        return pods.logs(self.node.cluster, self.namespace, self.name, _CONTAINER)


def images() -> list[Image]:
    """For NodeCluster.add_images()."""
    registry = Image(_REGISTRY, entrypoint=("docker-registry", "serve", "/etc/registry.yml"))
    registry.add("/usr/bin/docker-registry")
    registry.files["etc/registry.yml"] = _REGISTRY_CONFIG
    proxy = Image(_PROXY, entrypoint=("tinyproxy", "-d", "-c", "/etc/tinyproxy.conf"))
    proxy.add("/usr/bin/tinyproxy")
    proxy.files["etc/tinyproxy.conf"] = _PROXY_CONFIG
    for image in (registry, proxy):
        image.files["etc/nsswitch.conf"] = _NSSWITCH
    return [registry, proxy]


@contextmanager
def namespace(node: NodeCluster, name: str) -> Iterator[None]:
    """A namespace whose Pods may ask for a daemon; it ends with all that is in it."""
    answer = node.api.create_namespace(name)
    assert answer.status == 201, answer.message
    try:
        yield
    finally:
        node.api.must("DELETE", f"/api/v1/namespaces/{name}")


def start_registry(
    node: NodeCluster, namespace: str, name: str, pair: trustme.LeafCert | None = None
) -> Server:
    """Start a registry, with TLS where it has a certificate; do not wait."""
    spec: dict[str, Any] = {"image": _REGISTRY}
    if pair is None:
        return _start(node, namespace, name, _REGISTRY_PORT, spec)
    chain = b"".join(pem.bytes() for pem in pair.cert_chain_pems)
    files = {"tls.crt": chain, "tls.key": pair.private_key_pem.bytes()}
    _create_secret(node, namespace, name, files)
    spec["env"] = [
        {"name": "REGISTRY_HTTP_TLS_CERTIFICATE", "value": f"{_TLS}/tls.crt"},
        {"name": "REGISTRY_HTTP_TLS_KEY", "value": f"{_TLS}/tls.key"},
    ]
    spec["volumeMounts"] = [{"name": "tls", "mountPath": _TLS}]
    volumes = [{"name": "tls", "secret": {"secretName": name}}]
    return _start(node, namespace, name, _REGISTRY_PORT, spec, volumes=volumes)


def start_proxy(node: NodeCluster, namespace: str, name: str, hosts: Mapping[str, str]) -> Server:
    """Start a proxy that alone knows the names `hosts`, with their addresses; do not wait."""
    aliases = [{"ip": address, "hostnames": [host]} for host, address in hosts.items()]
    return _start(node, namespace, name, _PROXY_PORT, {"image": _PROXY}, hostAliases=aliases)


def wait_until_ready(*servers: Server) -> None:
    """Wait until all of them are the endpoints of their Services."""
    for server in servers:
        wait_until(
            lambda server=server: _is_ready(server),  # type: ignore[misc]  # a default value has no type
            f"{server.name} takes connections",
            seconds=_READY_SECONDS,
            interval=0.2,
        )


def service_name(namespace: str, name: str) -> str:
    """What a Service is called by Pods of any namespace."""
    return f"{name}.{namespace}.svc.{CLUSTER_DOMAIN}"


def create_config_map(
    node: NodeCluster, namespace: str, name: str, data: Mapping[str, str]
) -> None:
    """Make a ConfigMap."""
    whole = {"metadata": {"name": name}, "data": dict(data)}
    node.api.must("POST", f"/api/v1/namespaces/{namespace}/configmaps", whole)


def _create_secret(
    node: NodeCluster, namespace: str, name: str, files: Mapping[str, bytes]
) -> None:
    data = {key: base64.b64encode(content).decode() for key, content in files.items()}
    whole = {"metadata": {"name": name}, "data": data}
    node.api.must("POST", f"/api/v1/namespaces/{namespace}/secrets", whole)


def _start(
    node: NodeCluster,
    namespace: str,
    name: str,
    port: int,
    container: Mapping[str, Any],
    **spec: Any,
) -> Server:
    """Create Pod and Service, and give the Service its name."""
    labels = {"app": name}
    probe = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    pod = {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "containers": [{"name": _CONTAINER, "readinessProbe": probe, **container}],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            **spec,
        },
    }
    pods.start(node.api, namespace, pod)
    service = {"metadata": {"name": name}, "spec": {"selector": labels, "ports": [{"port": port}]}}
    made = node.api.must("POST", f"/api/v1/namespaces/{namespace}/services", service)
    address = made["spec"]["clusterIP"]
    # See kubelet.py: dnsmasq reads it at once.
    file = node.directory / "hosts" / f"{namespace}-{name}"
    file.write_text(f"{address} {service_name(namespace, name)}\n", encoding="ascii")
    return Server(node, namespace, name, address, port)


def _is_ready(server: Server) -> bool:
    path = f"/api/v1/namespaces/{server.namespace}/pods/{server.name}"
    conditions = server.node.api.must("GET", path)["status"].get("conditions", [])
    return any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
