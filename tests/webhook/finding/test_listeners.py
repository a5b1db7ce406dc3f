"""listeners: who holds a port of the Pod."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook.finding.listeners import Listener, listener


def held(**fields: Any) -> bool:
    found = listener(build.pod(build.container("first"), build.container("x", **fields)), 2375)
    assert found is None or found.container == "x"
    return found is not None


@pytest.mark.parametrize(
    ("expected", "port"),
    [
        (True, {"containerPort": 2375}),
        (True, {"containerPort": 2375, "protocol": "TCP"}),
        (False, {"containerPort": 2375, "protocol": "UDP"}),
        (False, {"containerPort": 2376}),
        (False, {"hostPort": 2375}),
        (False, {}),
    ],
)
def test_a_port_that_is_declared(expected: bool, port: dict[str, Any]) -> None:
    """As TCP, which is the default."""
    assert expected == held(ports=[port])


@pytest.mark.parametrize(
    "line",
    [
        "--port=2375",
        "proxy --port 2375",
        "proxy -listen :2375",
        "proxy --bind-address=0.0.0.0:2375 --debug",
        "proxy --listen=[::]:2375",
        "proxy --host=0.0.0.0 --port=2375",
        "proxy --host localhost --port 2375",
        "proxy --addr=:2375",
        "-H tcp://0.0.0.0:2375",
        "--host=unix:///x.sock --host=tcp://:2375",
        "-H tcp://127.0.0.1:2375 --debug",
        "TCP-LISTEN:2375,fork,reuseaddr UNIX-CONNECT:/var/run/docker.sock",
        "socat -d tcp4-l:2375,bind=127.0.0.1 -",
        "nc -l -p 2375",
        "ncat -lk 2375",
        "ssh -N -L2375:/var/run/docker.sock there",
        "ssh -L 2375:localhost:2375 there",
        "kubectl port-forward svc/docker 2375:2375",
        "kubectl proxy --port=2375",
        "simpleproxy -L 2375 -R there:1",
        "proxy -l 0.0.0.0:2375",
    ],
)
def test_a_command_that_listens(line: str) -> None:
    """The rows of the module's table, by themselves and in a shell."""
    assert held(args=line.split())
    if not line.startswith(("-", "TCP")):
        assert held(command=["sh", "-c", f"sleep 1; {line} & make"])


@pytest.mark.parametrize(
    "line",
    [
        "nc -z localhost 2375",
        "curl http://localhost:2375/_ping",
        "docker -H tcp://localhost:2375 ps",
        "-H tcp://localhost:2375 ps",
        "wait-for-it.sh --host=localhost --port=2375",
        "client --host=docker --port=2375",
        "client --addr=docker:2375 --endpoint tcp://localhost:2375",
        "client --port=12375 --timeout=2375",
        "socat - TCP:localhost:2375",
        "ssh -R 2375:localhost:1 there",
        "psql -p 2375",
        "proxy --port",
        "echo --port=2375",
    ],
)
def test_a_command_that_only_names_it(line: str) -> None:
    """It connects, or says the number."""
    assert not held(args=line.split())
    assert not held(command=["sh", "-c", f"while ! {line}; do sleep 1; done"])


@pytest.mark.parametrize(
    ("expected", "image"),
    [
        (True, "tecnativa/docker-socket-proxy:0.3"),
        (True, "r.example.com/mirror/socket-proxy"),
        (False, "team/proxy"),
    ],
)
def test_an_image_that_listens(expected: bool, image: str) -> None:
    """Proxies of a Docker socket have their port by themselves."""
    assert expected == held(image=image)


def test_a_text_that_cannot_be_read() -> None:
    """What could be read before counts; the rest shows nothing."""
    assert held(command=["sh", "-c", "nc -l -p 2375 &\n'"])
    assert not held(command=["sh", "-c", "'nc -l -p 2375 &"])


def test_dinps_own() -> None:
    """Its daemon listens there on a second pass."""
    dind = build.container("dinp-dind", args=["--host=tcp://0.0.0.0:2375"])
    assert listener(build.pod(build.container(), initContainers=[dind]), 2375) is None


def test_a_bounded_part_is_read() -> None:
    """However many texts a Pod has, so much of them is taken apart."""
    many = [
        build.container(f"c{at}", command=["sh", "-c", f"{'x ' * 30_000}; echo 2375"])
        for at in range(8)
    ]
    last = build.container("last", args=["--port=2375"])
    assert listener(build.pod(*many, last), 2375) is None
    assert Listener("last", "listens on port 2375") == listener(build.pod(last), 2375)


def test_a_bounded_number_of_words_is_read() -> None:
    """Of command lines with the port in them; others hold no port, however long they are."""
    last = build.container("last", args=["--port=2375"])
    for words, is_read in ((["-l"] * 30_000, True), (["2375", *["-l"] * 30_000], False)):
        pod = build.pod(build.container("long", command=words), last)
        expected = Listener("last", "listens on port 2375") if is_read else None
        assert expected == listener(pod, 2375)
