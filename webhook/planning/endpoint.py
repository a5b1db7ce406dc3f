"""Where a client finds its daemon: one row a mode and transport.

| mode | transport | DOCKER_HOST | TLS | mounts |
|---|---|---|---|---|
| sidecar | tcp | tcp://localhost:2375 | no | |
| sidecar | tls | tcp://localhost:2376 | yes | dinp-certs |
| sidecar | unix | unix:///dinp/docker.sock | no | dinp-run |
| daemonset | | tcp://$(DINP_HOST_IP):2376 | yes | dinp-certs |
| daemonset | tls: false | tcp://$(DINP_HOST_IP):2375 | no | |
| daemonset | a migrated socket | unix:///dinp/docker.sock | no | dinp-run |
| service | | tcp://<service>.<namespace>.svc:2376 | yes | dinp-certs |
| service | tls: false | tcp://<service>.<namespace>.svc:2375 | no | |

Always scheme and port: docker-py refuses a bare address, and the CLI takes it for 2375.
"""

from __future__ import annotations

from typing import Final

import msgspec

from webhook import names
from webhook.asking.config import Daemonset, Service, Transport
from webhook.asking.rules import Mode
from webhook.asking.settings import Settings
from webhook.pods.pod import EnvVar, VolumeMount

HOST_IP: Final = "DINP_HOST_IP"
_HOST_IP_VARIABLE: Final[EnvVar] = {
    "name": HOST_IP,
    "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.hostIP"}},
}
UNIX_HOST: Final = f"unix://{names.SOCKET_PATH}"
_RUN_MOUNT: Final[VolumeMount] = {
    "name": names.RUN,
    "mountPath": names.DIRECTORY,
    "readOnly": True,
}
_CERTS_MOUNT: Final[VolumeMount] = {
    "name": names.CERTS,
    "mountPath": names.CERTS_PATH,
    "readOnly": True,
}


class Endpoint(msgspec.Struct, frozen=True):
    """What a client needs to reach its daemon."""

    docker_host: str
    tls: bool = False
    proxy_host: str | None = None  # as NO_PROXY wants it; None: a unix socket, never proxied
    first: tuple[EnvVar, ...] = ()  # declared before DOCKER_HOST, which refers to it
    mounts: tuple[VolumeMount, ...] = ()
    # Where published ports are, for testcontainers: from a unix DOCKER_HOST it would guess
    # the gateway of the bridge.
    ports_host: str | None = None
    spellings: frozenset[str] = frozenset()  # of docker_host, which lead there too


def endpoint(settings: Settings, *, socket: bool) -> Endpoint:
    """The endpoint of a client; `socket`: it mounted the node's Docker socket."""
    if settings.mode is Mode.SIDECAR:
        return SIDECAR[settings.transport]
    if settings.mode is Mode.SERVICE:
        return _service(settings.service)
    return _daemonset(settings.daemonset, socket=socket)


LOCALHOST: Final = "localhost"
SIDECAR: Final[dict[Transport, Endpoint]] = {
    "tcp": Endpoint("tcp://localhost:2375", proxy_host=LOCALHOST),
    "tls": Endpoint("tcp://localhost:2376", tls=True, proxy_host=LOCALHOST, mounts=(_CERTS_MOUNT,)),
    "unix": Endpoint(UNIX_HOST, mounts=(_RUN_MOUNT,), ports_host="localhost"),
}


_PORTS: Final[dict[Transport, int]] = {"tcp": 2375, "tls": 2376}


def local_port(settings: Settings) -> int | None:
    """Where the daemon listens on the Pod's loopback, or None."""
    return _PORTS.get(settings.transport) if settings.mode is Mode.SIDECAR else None


def transport_at(port: int) -> Transport | None:
    """The transport for which a sidecar listens on this port, or None."""
    return next((name for name, there in _PORTS.items() if there == port), None)


def _service(service: Service) -> Endpoint:
    host = service_host(service)
    port = 2376 if service.tls else 2375
    return Endpoint(
        f"tcp://{host}:{port}",
        tls=service.tls,
        proxy_host=host,
        mounts=(_CERTS_MOUNT,) if service.tls else (),
        # The resolver of a Pod completes the first, and knows the last as it is.
        spellings=frozenset(
            f"tcp://{name}:{port}" for name in (host.removesuffix(".svc"), f"{host}.cluster.local")
        ),
    )


def service_host(service: Service) -> str:
    """The DNS name of the shared daemons' Service."""
    return f"{service.name}.{service.namespace}.svc"


def _daemonset(daemonset: Daemonset, *, socket: bool) -> Endpoint:
    address = f"$({HOST_IP})"
    host = f"[{address}]" if daemonset.ip_family == "IPv6" else address
    ports_host = host if daemonset.host_network else None
    if socket:
        first = (_HOST_IP_VARIABLE,) if ports_host else ()
        return Endpoint(UNIX_HOST, first=first, mounts=(_RUN_MOUNT,), ports_host=ports_host)
    return Endpoint(
        f"tcp://{host}:{2376 if daemonset.tls else 2375}",
        tls=daemonset.tls,
        proxy_host=address,
        first=(_HOST_IP_VARIABLE,),
        mounts=(_CERTS_MOUNT,) if daemonset.tls else (),
        ports_host=ports_host,
    )
