"""docker_hosts: where a DOCKER_HOST leads."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook.finding import docker_hosts
from webhook.finding.docker_hosts import Address, LocalHost, address
from webhook.pods import bounds

HERE = Address("localhost", 2375)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (HERE, "tcp://localhost:2375"),
        (HERE, "TCP://LocalHost:2375/"),
        (HERE, "localhost:2375"),
        (HERE, "localhost"),
        (HERE, "127.0.0.1"),
        (HERE, "127.1.2.3:2375"),
        (HERE, "tcp://[::1]:2375"),
        (HERE, "tcp://[::ffff:127.0.0.1]:2375"),
        (HERE, "tcp://0.0.0.0:2375"),
        (HERE, "tcp://:2375"),
        (HERE, "http://localhost.:2375/v1.41"),
        (HERE, "tcp://docker"),
        (HERE, "tcp://DOCKER:2375"),
        (Address("localhost", 9999), "localhost:9999"),
        (Address("localhost", 2376), "https://localhost"),
        (Address("docker.tools.svc", 2376), "docker.tools.svc:2376"),
        (Address("192.0.2.7", 2375), "192.0.2.7"),
        (None, ""),
        (None, "tcp://"),
        (None, "tcp:///var/run/docker.sock"),
        (None, "unix:///var/run/docker.sock"),
        (None, "ssh://me@localhost"),
        (None, "tcp://me@localhost:1"),
        (None, "tcp://localhost:port"),
        (None, "$(X)"),
        (None, "tcp://$(X):2375"),
        (None, f"{'a' * 1000}:2375"),
    ],
)
def test_address(expected: Address | None, value: str) -> None:
    """The rows of the module's table."""
    assert expected == address(value, aliases={"docker"})


def test_the_port_of_tls() -> None:
    """Docker's CLI takes another port where it asks for TLS and none is given."""
    assert Address("localhost", 2376) == address("localhost", tls=True)
    assert HERE == address("localhost:2375", tls=True)


def test_aliases() -> None:
    """A name of the loopback, unless a line before gives it another address."""
    lines: list[Any] = [
        {"ip": "192.0.2.1", "hostnames": ["engine"]},
        {"ip": "127.0.0.1", "hostnames": ["Docker", "engine"]},
        {"ip": "::1", "hostnames": ["six"]},
        {"ip": "nonsense", "hostnames": ["odd"]},
        {"ip": None, "hostnames": None},
    ]
    assert {"docker", "six"} == docker_hosts.aliases(build.pod(hostAliases=lines))
    assert frozenset() == docker_hosts.aliases(build.pod())


def test_local_hosts() -> None:
    """Literal values that are local, of containers that are not dinp's, in a Pod without a dinp-dind."""

    def with_host(name: str, **fields: Any) -> Any:
        return build.container(name, env=[{"name": "DOCKER_HOST", **fields}])

    secret = {"secretKeyRef": {"name": "s", "key": "k"}}
    containers = [
        with_host("a", value="localhost:9"),
        with_host("b", value="tcp://there:9"),
        with_host("c", valueFrom=secret),
        with_host("dinp-cli", value="localhost:9"),
        build.container("d"),
    ]
    pod = build.pod(*containers)
    assert [LocalHost("a", "localhost:9", 9)] == [
        *docker_hosts.local_hosts(pod, docker_hosts.aliases(pod))
    ]
    ours = build.container("dinp-dind", volumeMounts=[build.mount("dinp-run", "/dinp")])
    assert [] == [*docker_hosts.local_hosts(build.pod(*containers, initContainers=[ours]), ())]


def test_so_many_aliases_are_read() -> None:
    """The names of all lines together; lines without one do not count."""
    lines: list[Any] = [{"ip": "192.0.2.1", "hostnames": [f"a{at}", f"b{at}"]} for at in range(499)]
    lines += [{"ip": "127.0.0.1"}] * bounds.ALIASES
    lines += [{"ip": "127.0.0.1", "hostnames": ["docker", "engine", "behind"]}]
    assert {"docker", "engine"} == docker_hosts.aliases(build.pod(hostAliases=lines))
