"""socket_addresses: one socket, however its address is written."""

from __future__ import annotations

import pytest

from tests.webhook import small_pods as build
from webhook.planning import socket_addresses
from webhook.pods import bounds


@pytest.mark.parametrize(
    ("expected", "address"),
    [
        ("/run/docker.sock", "unix:///run/docker.sock"),
        ("/run/docker.sock", "unix://run/docker.sock"),
        ("/run/docker.sock", "unix:/run/docker.sock"),
        ("/run/docker.sock", "unix:run/docker.sock"),
        ("/run/docker.sock", "\tUnix:////run//./docker.sock/ \n"),
        ("/run/docker.sock", "http+unix://%2Frun%2fdocker.sock"),
        ("/run/docker.sock", "/run/docker.sock"),
        (None, "unix://"),
        (None, "/"),
        (None, "tcp://run/docker.sock"),
        (None, "npipe:////./pipe/docker_engine"),
        (None, "run/docker.sock"),
        (None, ""),
        (None, "/" * (bounds.PATH + 1)),
    ],
)
def test_the_path_of_an_address(expected: str | None, address: str) -> None:
    """Clean, or None where the address is no socket's."""
    assert expected == socket_addresses.path_of(address)


def test_where_a_container_has_written_one() -> None:
    """Variables but DOCKER_HOST, and arguments, also as the value of a flag."""
    container = build.container(
        env=[
            {"name": "DOCKER_HOST", "value": "unix:///a"},
            {"name": "SOCKET", "value": "unix://b"},
            {"name": "OTHER", "value": "x"},
            {"name": "FROM", "valueFrom": {}},
        ],
        command=["agent"],
        args=["--host=unix:///c", "-H", "/d", "curl --unix-socket '/e' http://x/info"],
    )
    expected = [
        ("variable SOCKET", "/b"),
        ("argument --host=unix:///c", "/c"),
        ("argument /d", "/d"),
        ("argument '/e'", "/e"),
    ]
    assert expected == list(socket_addresses.written(container, "cde"))


def test_so_many_are_read() -> None:
    """However many words a command has: those with the name of a socket, and no more than anybody is told."""
    words = [*["/a"] * 5000, *(f"/{at}/docker.sock" for at in range(1000))]
    container = build.container(command=["sh", "-c", " ".join(words)])
    found = list(socket_addresses.written(container, ["docker.sock"]))
    assert [f"/{at}/docker.sock" for at in range(16)] == [path for _, path in found]
    assert [] == list(socket_addresses.written(container, ["x"]))
