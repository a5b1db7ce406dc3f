"""docker_socket: what a mount shows of the node's Docker, and what it becomes."""

from __future__ import annotations

import pytest

from tests.webhook import small_pods as build
from webhook.finding import node_docker
from webhook.finding.node_docker import Kind


def kinds(host_path: str, *options: dict[str, str]) -> list[Kind]:
    mounts = [build.mount("v", f"/{at}", **one) for at, one in enumerate(options or ({},))]
    pod = build.pod(build.container(volumeMounts=mounts), volumes=[build.host_path("v", host_path)])
    return [found.kind for found in node_docker.node_mounts(pod)]


@pytest.mark.parametrize(
    ("kind", "host_path"),
    [
        *(
            (Kind.SOCKET, path)
            for path in (
                "/var/run/docker.sock",
                "/run/docker.sock",
                "/run//docker.sock",
                "/run/./docker.sock/",
                "/x/../var/run/docker.sock",
                "/opt/engine/docker.sock",
                "/docker.sock",
            )
        ),
        *((Kind.RUN_DIRECTORY, path) for path in ("/", "/var", "/run", "/run/", "/var//run/")),
        *(
            (Kind.CLI, path)
            for path in (
                "/usr/bin/docker",
                "/usr/local/bin/docker",
                "/bin/docker",
                "/usr/sbin/docker",
            )
        ),
        *(
            (Kind.STATE, path)
            for path in (
                "/var/lib/docker",
                "/var/lib/docker/containers",
                "/run/containerd/containerd.sock",
                "/var/run/crio/crio.sock",
                "/var/lib/containerd",
                "/run/dockershim.sock",
                "/etc/docker",
                "/etc/docker/daemon.json",
            )
        ),
    ],
)
def test_kind_of_a_path(kind: Kind, host_path: str) -> None:
    """The cleaned path on the node decides."""
    assert [kind] == kinds(host_path)


@pytest.mark.parametrize(
    "host_path",
    [
        *(
            "/var/run/docker.socket",
            "/var/run/xdocker.sock",
            "/var/log",
            "/runs",
            "/var/lib/dockerx",
        ),
        *("/usr/bin/docker-compose", "/usr/lib/libltdl.so.7", "/home/docker", "/run/podman.sock"),
    ],
)
def test_other_paths_are_not_dockers(host_path: str) -> None:
    """Close is not enough; a library is one only beside the CLI."""
    assert [] == kinds(host_path)


def test_sub_path_counts() -> None:
    """Each mount is judged by what the container really sees."""
    found = kinds("/var/run", {"subPath": "docker.sock"}, {"subPath": "x"}, {}, {"subPath": ""})
    assert [Kind.SOCKET, Kind.RUN_DIRECTORY, Kind.RUN_DIRECTORY] == found


def test_libraries_beside_the_cli() -> None:
    """What a distribution's CLI is linked to, in the container that mounts the CLI."""
    volumes = [
        build.host_path("cli", "/usr/bin/docker"),
        build.host_path("lib", "/usr/lib/libltdl.so.7"),
    ]
    both = build.container(
        volumeMounts=[build.mount("lib", "/lib.so"), build.mount("cli", "/usr/bin/docker")]
    )
    one = build.container("other", volumeMounts=[build.mount("lib", "/lib.so")])
    found = node_docker.node_mounts(build.pod(both, one, volumes=volumes))
    assert [Kind.CLI_LIBRARY, Kind.CLI] == [mount.kind for mount in found]


def test_own_and_other_volumes_are_not_the_nodes() -> None:
    """dinp's hostPath of an earlier pass, an emptyDir, a hostPath without a path: none of them."""
    mounts = [build.mount(name, f"/{name}") for name in ("dinp-socket", "work", "odd", "missing")]
    volumes = [
        build.host_path("dinp-socket", "/run/dinp/docker.sock"),
        {"name": "work", "emptyDir": {}},
        {"name": "odd", "hostPath": {"type": ""}},
        {"name": "odd-2", "hostPath": None},
    ]
    pod = build.pod(build.container(volumeMounts=mounts), volumes=volumes)
    assert () == node_docker.node_mounts(pod)


def test_containers_in_their_order() -> None:
    """Init containers first, each mount with its container and its path on the node."""
    prepare = build.container("prepare", volumeMounts=[build.mount("socket", "/s")])
    pod = build.with_socket(initContainers=[prepare])
    found = node_docker.node_mounts(pod)
    assert [("prepare", "/var/run/docker.sock"), ("build", "/var/run/docker.sock")] == [
        (mount.container, mount.path) for mount in found
    ]
