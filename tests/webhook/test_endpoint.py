"""endpoint: where a client finds its daemon."""

from __future__ import annotations

import pytest

from tests.webhook import pods as build
from webhook import config as configs
from webhook.endpoint import endpoint
from webhook.rules import Mode

PLAIN = "daemonset: {tls: false}\nservice: {tls: false, name: docker, namespace: ci}"


@pytest.mark.parametrize(
    ("docker_host", "tls", "proxy_host", "mounts", "mode", "transport", "config", "socket"),
    [
        ("tcp://localhost:2375", False, "localhost", [], "sidecar", "tcp", "", False),
        ("tcp://localhost:2375", False, "localhost", [], "sidecar", "tcp", "", True),
        ("tcp://localhost:2376", True, "localhost", ["/dinp/certs"], "sidecar", "tls", "", False),
        ("unix:///dinp/docker.sock", False, None, ["/dinp"], "sidecar", "unix", "", False),
        ("tcp://$(DINP_HOST_IP):2376", True, "$(DINP_HOST_IP)", ["/dinp/certs"],
         "daemonset", "tcp", "", False),
        ("tcp://[$(DINP_HOST_IP)]:2376", True, "$(DINP_HOST_IP)", ["/dinp/certs"],
         "daemonset", "tcp", "daemonset: {ipFamily: IPv6}", False),
        ("tcp://$(DINP_HOST_IP):2376", True, "$(DINP_HOST_IP)", ["/dinp/certs"],
         "daemonset", "tcp", "daemonset: {ipFamily: IPv4}", False),
        ("tcp://$(DINP_HOST_IP):2375", False, "$(DINP_HOST_IP)", [],
         "daemonset", "tcp", PLAIN, False),
        ("unix:///dinp/docker.sock", False, None, ["/dinp"], "daemonset", "tcp", "", True),
        ("unix:///dinp/docker.sock", False, None, ["/dinp"], "daemonset", "tcp", PLAIN, True),
        ("tcp://dinp-docker.dinp-daemons.svc:2376", True, "dinp-docker.dinp-daemons.svc",
         ["/dinp/certs"], "service", "tcp", "", False),
        ("tcp://dinp-docker.dinp-daemons.svc:2376", True, "dinp-docker.dinp-daemons.svc",
         ["/dinp/certs"], "service", "tcp", "", True),
        ("tcp://docker.ci.svc:2375", False, "docker.ci.svc", [], "service", "tcp", PLAIN, False),
    ],
)  # fmt: skip
def test_the_table(  # noqa: PLR0913 - a row of the table
    docker_host: str,
    tls: bool,
    proxy_host: str | None,
    mounts: list[str],
    mode: str,
    transport: str,
    config: str,
    socket: bool,
) -> None:
    """Scheme and port always; certificates with TLS alone; a socket is never proxied."""
    file = configs.parse(config.encode())
    settings = build.settings(file, transport=transport)
    found = endpoint(Mode(mode), settings, file, socket=socket)
    assert (docker_host, tls, proxy_host) == (found.docker_host, found.tls, found.proxy_host)
    assert mounts == [mount["mountPath"] for mount in found.mounts]
    assert all(mount["readOnly"] for mount in found.mounts)
    refers = "$(DINP_HOST_IP)" in docker_host
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
def test_where_published_ports_are(  # noqa: PLR0913 - a row of the table
    ports_host: str | None, first: int, mode: str, transport: str, config: str, socket: bool
) -> None:
    """Told where testcontainers would guess wrong, with what the address refers to."""
    file = configs.parse(config.encode())
    settings = build.settings(file, transport=transport)
    found = endpoint(Mode(mode), settings, file, socket=socket)
    assert (ports_host, first) == (found.ports_host, len(found.first))
