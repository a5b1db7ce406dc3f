"""docker_socket: what a mount shows of the node's Docker, and what it becomes."""

from __future__ import annotations

import pytest

from tests.webhook import pods as build
from webhook import docker_socket
from webhook.docker_socket import Kind, NodeMount
from webhook.pod import VolumeMount
from webhook.rules import Mode


def kinds(host_path: str, *options: dict[str, str]) -> list[Kind]:
    mounts = [build.mount("v", f"/{at}", **one) for at, one in enumerate(options or ({},))]
    pod = build.pod(build.container(volumeMounts=mounts), volumes=[build.host_path("v", host_path)])
    return [found.kind for found in docker_socket.node_mounts(pod)]


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
    found = docker_socket.node_mounts(build.pod(both, one, volumes=volumes))
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
    assert () == docker_socket.node_mounts(pod)


def test_containers_in_their_order() -> None:
    """Init containers first, each mount with its container and its path on the node."""
    prepare = build.container("prepare", volumeMounts=[build.mount("socket", "/s")])
    pod = build.with_socket(initContainers=[prepare])
    found = docker_socket.node_mounts(pod)
    assert [("prepare", "/var/run/docker.sock"), ("build", "/var/run/docker.sock")] == [
        (mount.container, mount.path) for mount in found
    ]


MOUNT = build.mount("v", "/at", readOnly=True, subPath="gone", brandNewField2028=1)


def there(volume: str, **fields: str) -> VolumeMount:
    return build.mount(volume, "/at", readOnly=True, brandNewField2028=1, **fields)


@pytest.mark.parametrize(
    ("sidecar", "daemonset", "service", "kind"),
    [
        (there("dinp-run", subPath="docker.sock"), there("dinp-socket"), None, Kind.SOCKET),
        (
            there("dinp-run", subPath="bin/docker"),
            there("dinp-cli", subPath="docker"),
            there("dinp-cli", subPath="docker"),
            Kind.CLI,
        ),
        (None, None, None, Kind.CLI_LIBRARY),
    ],
)
def test_what_a_mount_becomes(
    sidecar: VolumeMount | None,
    daemonset: VolumeMount | None,
    service: VolumeMount | None,
    kind: Kind,
) -> None:
    """Same mountPath, another volume; unknown fields stay, a subPath of the node goes."""
    found = NodeMount("build", MOUNT, kind, "/path")
    assert sidecar == docker_socket.becomes(found, Mode.SIDECAR)
    assert daemonset == docker_socket.becomes(found, Mode.DAEMONSET)
    assert service == docker_socket.becomes(found, Mode.SERVICE)


def test_sub_path_expr_goes_too() -> None:
    """subPath and subPathExpr exclude each other: the API server would refuse the Pod."""
    mount = build.mount("v", "/at", subPathExpr="$(X)")
    found = NodeMount("build", mount, Kind.SOCKET, "/var/run/docker.sock")
    expected = build.mount("dinp-run", "/at", subPath="docker.sock")
    assert expected == docker_socket.becomes(found, Mode.SIDECAR)


def test_migrated_paths_of_an_earlier_pass() -> None:
    """Where a container has the sidecar's socket, and nothing else of dinp's."""
    container = build.container(
        volumeMounts=[
            build.mount("dinp-run", "/run//docker.sock", subPath="docker.sock"),
            build.mount("dinp-run", "/usr/bin/docker", subPath="bin/docker"),
            build.mount("dinp-run", "/dinp"),
            build.mount("work", "/work", subPath="docker.sock"),
        ]
    )
    assert ["/run/docker.sock"] == list(docker_socket.migrated_paths(container))
