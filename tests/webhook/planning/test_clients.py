"""clients: which containers, and what becomes of their mounts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook.asking.rules import Mode
from webhook.finding.found import find
from webhook.planning import clients
from webhook.planning.clients import Client
from webhook.pods.pod import Container, Pod
from webhook.reasons import Reason

VOLUMES = [
    build.host_path("cli", "/usr/bin/docker"),
    build.host_path("run", "/var/run"),
    build.host_path("state", "/var/lib/docker"),
]


def decide(pod: Pod, mode: Mode, *names: str, **annotations: str) -> tuple[Client, ...]:
    chosen: list[Container] = [c for c in pod["spec"]["containers"] if c["name"] in names]
    settings = build.settings(build.DEFAULT, mode, **annotations)
    return clients.clients(chosen, find(pod, judged=False), settings)


@pytest.mark.parametrize(
    ("eligible", "name"),
    [
        (True, "build"),
        (True, "istio-proxy-tests"),
        (False, "istio-proxy"),
        (False, "linkerd-init"),
        (False, "vault-agent-init"),
        (False, "dinp-dind"),
        (False, "dinp-seed-0"),
    ],
)
def test_who_may_be_a_client(eligible: bool, name: str) -> None:
    """Neither dinp's own containers nor those of meshes and secret injectors."""
    assert eligible == clients.is_eligible(name, build.settings())


@pytest.mark.parametrize(
    ("new", "uses_socket", "mode"),
    [
        ("dinp-run", True, Mode.SIDECAR),
        ("dinp-socket", True, Mode.DAEMONSET),
        (None, False, Mode.SERVICE),
    ],
)
def test_the_socket(new: str | None, uses_socket: bool, mode: Mode) -> None:
    """The socket's mount is replaced or removed; its group matters where a socket is left."""
    pod = build.with_socket()
    (client,) = decide(pod, mode, "build")
    (found,) = client.replacements
    assert (0, "socket") == (found.at, found.volume)
    assert new == (found.new and found.new["name"])
    assert uses_socket == client.uses_socket
    assert client.socket_paths == ("/var/run/docker.sock",)
    warned = [Reason.SOCKET_REMOVED] if new is None else []
    assert warned == [finding.reason for finding in client.warnings]


def test_daemonset_socket_clients_get_the_directory() -> None:
    """A plain socket stays plain: unix, no TLS, no certificates."""
    (client,) = decide(build.with_socket(), Mode.DAEMONSET, "build")
    assert [("dinp-run", "/dinp")] == [(m["name"], m["mountPath"]) for m in client.mounts]
    assert {"name": "DOCKER_TLS_VERIFY", "value": ""} in client.variables


def test_what_is_left_is_told() -> None:
    """The CLI is replaced; run directories and the node's state stay, with a warning."""
    mounts = [
        build.mount("cli", "/usr/bin/docker"),
        build.mount("run", "/host/run"),
        build.mount("state", "/images"),
        build.mount("work", "/work"),
    ]
    pod = build.pod(build.container(volumeMounts=mounts), volumes=VOLUMES)
    (client,) = decide(pod, Mode.SIDECAR, "build")
    assert [(0, "cli")] == [(found.at, found.volume) for found in client.replacements]
    assert [Reason.RUN_DIRECTORY, Reason.NODE_STATE_LEFT] == [f.reason for f in client.warnings]
    assert "/var/run at /host/run stays as it is" in client.warnings[0].text
    assert "no Docker socket" not in client.warnings[0].text  # nobody has looked at the node
    assert not client.uses_socket


@pytest.mark.parametrize(
    ("uses", "mode", "mount"),
    [
        (True, Mode.SIDECAR, build.mount("dinp-run", "/x", subPath="docker.sock")),
        (False, Mode.SIDECAR, build.mount("dinp-run", "/x", subPath="bin/docker")),
        (True, Mode.DAEMONSET, build.mount("dinp-socket", "/x")),
        (False, Mode.SERVICE, build.mount("dinp-socket", "/x")),
    ],
)
def test_a_socket_of_an_earlier_pass(uses: bool, mode: Mode, mount: object) -> None:
    """A second pass comes to the same endpoint and group."""
    pod = build.pod(build.container(volumeMounts=[mount]))
    (client,) = decide(pod, mode, "build")
    assert uses == client.uses_socket
    expected = "unix:///dinp/docker.sock" if uses and mode is Mode.DAEMONSET else "tcp://"
    hosts = [var.get("value") or "" for var in client.variables if var["name"] == "DOCKER_HOST"]
    assert all(host.startswith(expected) for host in hosts)


def test_the_users_docker_host_wins() -> None:
    """No variable, no certificates; a share is a mount like any other, and the socket migrates."""
    container = build.container(
        env=[{"name": "DOCKER_HOST", "value": "tcp://elsewhere:1"}],
        volumeMounts=[build.mount("socket", "/var/run/docker.sock")],
    )
    pod = build.with_socket(container)
    (client,) = decide(pod, Mode.SIDECAR, "build", transport="tls", share="/tools")
    assert () == client.variables
    assert ["/tools"] == [mount["mountPath"] for mount in client.mounts]
    assert len(client.replacements) == 1


def test_unix_transport_is_a_socket() -> None:
    """Clients that are not root need its group, with no mount migrated."""
    (client,) = decide(build.pod(), Mode.SIDECAR, "build", transport="unix")
    assert client.uses_socket


def test_sockets_that_are_left() -> None:
    """A container that is no client keeps a dead socket: somebody should know."""
    pod = build.with_socket(
        build.container(volumeMounts=[build.mount("socket", "/a")]),
        build.container("other", volumeMounts=[build.mount("socket", "/b")]),
    )
    decided = decide(pod, Mode.SIDECAR, "build")
    found = clients.sockets_left(find(pod, judged=False).node_mounts, decided)
    assert [Reason.SOCKET_LEFT.say(container="other", path="/b")] == list(found)


@pytest.mark.parametrize(
    ("expected", "mode", "mounts", "value"),
    [
        ("where no socket is any more", Mode.SERVICE, ["socket"], "unix:///s/docker.sock"),
        ("", Mode.SIDECAR, ["socket"], "/s/docker.sock"),
        ("", Mode.SERVICE, ["socket"], "/other/docker.sock"),
        ("in a directory of the node's", Mode.SERVICE, ["run"], "unix://s/docker.sock"),
        ("in a directory of the node's", Mode.SIDECAR, ["run"], "/s/docker.sock"),
        ("", Mode.SIDECAR, ["run"], "/s/app.pid"),
        ("", Mode.SIDECAR, ["run"], "/run/docker.sock"),
        # The socket's own mount is within the directory's, and is the daemon's.
        ("", Mode.SIDECAR, ["run", "socket"], "/s/docker.sock"),
        ("in a directory of the node's", Mode.DAEMONSET, ["run", "socket"], "/s/x/docker.sock"),
    ],
)
def test_where_a_socket_is_written_that_is_not_the_daemons(
    expected: str, mode: Mode, mounts: list[str], value: str
) -> None:
    """A variable or an argument with a path of the node's, or one that is gone, is named."""
    at = {"run": "/s", "socket": "/s/docker.sock"}
    fields: dict[str, Any] = {"volumeMounts": [build.mount(one, at[one]) for one in mounts]}
    for more in ({"env": [{"name": "SOCK", "value": value}]}, {"args": [f"--host={value}"]}):
        (client,) = decide(
            build.with_socket(
                build.container(**fields, **more), volumes=[build.host_path("run", "/run")]
            ),
            mode,
            "build",
        )
        told = [w.text for w in client.warnings if w.reason is Reason.SOCKET_ADDRESS]
        assert bool(expected) == bool(told)
        assert all(expected in text for text in told)
        assert all(("SOCK" in text) == ("env" in more) for text in told)


def test_who_gets_nothing_keeps_its_socket() -> None:
    """In service mode, where a DOCKER_HOST of the user's is kept, no path leads to a daemon."""
    container = build.container(
        env=[{"name": "DOCKER_HOST", "value": "tcp://elsewhere:1"}],
        volumeMounts=[build.mount("socket", "/var/run/docker.sock")],
    )
    (client,) = decide(build.with_socket(container), Mode.SERVICE, "build")
    assert not client.is_given
    assert not client.replacements
    assert not client.socket_paths
    (given,) = decide(build.with_socket(container), Mode.SIDECAR, "build")
    assert given.is_given
