"""dinp.io/cli: a client whose image has no docker command has that of the daemon's image, and its plugins."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.node import contents, pods
from tests.node.cluster import NodeCluster
from tests.node.images import Image
from webhook.asking import rules

pytestmark = pytest.mark.node

NAMESPACE: Final = "annotated"
BARE: Final = "localhost/without-docker:1"
_FOLDER: Final = "/usr/local/bin"
_WORK: Final = f"""
command -v docker
docker version --format 'server: {{{{.Server.Version}}}}'
docker buildx build .
docker compose up --detach
ls {_FOLDER}
tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - localhost/shell:1
docker run --rm --pull=never localhost/shell:1 sh -c 'echo it runs'
"""
_KEPT: Final = f"[ -d {_FOLDER} ] && ls {_FOLDER} && ! command -v docker"


def _pod(name: str, script: str, **client: Any) -> dict[str, Any]:
    annotations = {rules.INJECT: "sidecar", "dinp.io/cli": "true"}
    pod = pods.client_pod(f"cli-{name}", script, annotations=annotations)
    pod["spec"]["containers"][0].update(image=BARE, **client)
    return pod


def _taken() -> dict[str, Any]:
    mount = {"name": "tools", "mountPath": _FOLDER}
    pod = _pod("taken", _KEPT, volumeMounts=[mount])
    pod["spec"]["volumes"] = [{"name": "tools", "emptyDir": {}}]
    return pod


def _without_docker() -> Image:
    """What the docker command is linked to, and a program where it is to be."""
    image = contents.client()
    image.name = BARE
    del image.files["usr/bin/docker"]
    image.files["usr/local/bin/theirs"] = "#!/bin/sh\necho theirs\n"
    return image


@pytest.fixture(scope="module", autouse=True)
def ended(node: NodeCluster) -> None:
    """All of them have ended."""
    node.add_images(_without_docker())
    user = {"runAsUser": 1000, "runAsGroup": 1000}
    every = (_pod("root", _WORK), _pod("user", _WORK, securityContext=user), _taken())
    pods.run_in_turn(node.api, NAMESPACE, every)


def _said(node: NodeCluster, name: str) -> list[str]:
    return pods.said_at_end(node.cluster, NAMESPACE, f"cli-{name}", api=node.api).splitlines()


@pytest.mark.parametrize("name", ["root", "user"])
def test_a_client_without_docker(node: NodeCluster, name: str) -> None:
    """It has the command and both plugins, they reach its daemon, and its own programs are still there."""
    said = _said(node, name)
    assert f"{_FOLDER}/docker" in said
    assert any(line.startswith(("server: 29.", "server: v2")) for line in said)
    assert "plugin: buildx build ." in said
    assert "plugin: compose up --detach" in said
    assert {"docker", "theirs"} <= set(said)
    assert "it runs" in said


def test_a_mount_of_the_users_stays(node: NodeCluster) -> None:
    """What the user has mounted there is there, and no docker command."""
    assert "docker" not in _said(node, "taken")
