"""endpoint: where a client finds its daemon."""

from __future__ import annotations

import pytest

from tests.webhook import small_pods as build
from webhook.asking import config as configs
from webhook.asking.rules import Mode
from webhook.planning.endpoint import endpoint

IPV4 = "daemonset: {ipFamily: IPv4}"
IPV6 = "daemonset: {ipFamily: IPv6}"
PLAIN = "daemonset: {tls: false}\nservice: {tls: false, name: docker, namespace: ci}"


CERTS = ("/dinp/certs",)
HOST_IP = "$(DINP_HOST_IP)"
SVC = "dinp-docker.dinp-daemons.svc"
UNIX = ("unix:///dinp/docker.sock", False, None, ("/dinp",))


@pytest.mark.parametrize(
    ("expected", "mode", "transport", "config", "socket"),
    [
        (("tcp://localhost:2375", False, "localhost", ()), "sidecar", "tcp", "", False),
        (("tcp://localhost:2375", False, "localhost", ()), "sidecar", "tcp", "", True),
        (("tcp://localhost:2376", True, "localhost", CERTS), "sidecar", "tls", "", False),
        (UNIX, "sidecar", "unix", "", False),
        ((f"tcp://{HOST_IP}:2376", True, HOST_IP, CERTS), "daemonset", "tcp", "", False),
        ((f"tcp://[{HOST_IP}]:2376", True, HOST_IP, CERTS), "daemonset", "tcp", IPV6, False),
        ((f"tcp://{HOST_IP}:2376", True, HOST_IP, CERTS), "daemonset", "tcp", IPV4, False),
        ((f"tcp://{HOST_IP}:2375", False, HOST_IP, ()), "daemonset", "tcp", PLAIN, False),
        (UNIX, "daemonset", "tcp", "", True),
        (UNIX, "daemonset", "tcp", PLAIN, True),
        ((f"tcp://{SVC}:2376", True, SVC, CERTS), "service", "tcp", "", False),
        ((f"tcp://{SVC}:2376", True, SVC, CERTS), "service", "tcp", "", True),
        (("tcp://docker.ci.svc:2375", False, "docker.ci.svc", ()), "service", "tcp", PLAIN, False),
    ],
)
def test_the_table(
    expected: tuple[object, ...], mode: str, transport: str, config: str, socket: bool
) -> None:
    """Scheme and port always; certificates with TLS alone; a socket is never proxied."""
    file = configs.parse(config.encode())
    settings = build.settings(file, Mode(mode), transport=transport)
    found = endpoint(settings, socket=socket)
    paths = tuple(mount["mountPath"] for mount in found.mounts)
    assert expected == (found.docker_host, found.tls, found.proxy_host, paths)
    assert all(mount["readOnly"] for mount in found.mounts)
    refers = HOST_IP in found.docker_host
    assert refers == ("DINP_HOST_IP" in {var["name"] for var in found.first})


@pytest.mark.parametrize(
    ("ports_host", "first", "mode", "transport", "config", "socket"),
    [
        (None, 0, "sidecar", "tcp", "", False),
        (None, 0, "sidecar", "tls", "", False),
        ("localhost", 0, "sidecar", "unix", "", False),
        (None, 1, "daemonset", "tcp", "", False),
        (None, 0, "daemonset", "tcp", "", True),
        ("$(DINP_HOST_IP)", 1, "daemonset", "tcp", "daemonset: {hostNetwork: true}", False),
        ("$(DINP_HOST_IP)", 1, "daemonset", "tcp", "daemonset: {hostNetwork: true}", True),
        (None, 0, "service", "tcp", "daemonset: {hostNetwork: true}", False),
    ],
)
def test_where_published_ports_are(
    ports_host: str | None, first: int, mode: str, transport: str, config: str, socket: bool
) -> None:
    """Told where testcontainers would guess wrong, with what the address refers to."""
    file = configs.parse(config.encode())
    settings = build.settings(file, Mode(mode), transport=transport)
    found = endpoint(settings, socket=socket)
    assert (ports_host, first) == (found.ports_host, len(found.first))
