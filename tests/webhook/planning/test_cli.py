"""cli: the docker command in the clients."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook import admission
from webhook.planning import cli
from webhook.reasons import Reason


@pytest.mark.parametrize(
    ("dockers", "image"),
    [
        (True, "docker"),
        (True, "docker:29-cli"),
        (True, "mirror.example.com:5000/library/docker@sha256:1"),
        (False, ""),
        (False, "jenkins/inbound-agent:1"),
        (False, "docker/compose:1"),
        (False, "registry.example.com/docker-tools"),
    ],
)
def test_images_of_dockers_own(dockers: bool, image: str) -> None:
    """They are known by the last part of their path, in whatever registry."""
    assert dockers == cli.is_dockers(image)
    found, told = cli.mounts(build.container(image=image), ())
    assert (dockers, None) == (not found, told)


@pytest.mark.parametrize(
    ("path", "in_the_way"),
    [
        ("/usr/local/bin/docker", True),
        ("/usr/local/bin/", True),
        ("/usr/local", True),
        ("/usr//", True),
        ("/", True),
        ("/usr/local/lib/docker/cli-plugins/docker-compose", True),
        ("/usr/local/lib/docker/cli-plugins/docker-scan", False),
        ("/usr/local/bin/dockerx", False),
        ("/usr/local/share", False),
    ],
)
def test_mounts_in_the_way(path: str, in_the_way: bool) -> None:
    """One at or above a path of these files: the container gets none, and a warning names the mount."""
    container = build.container(volumeMounts=[build.mount(path=path)])
    found, told = cli.mounts(container, ())
    assert in_the_way == (found == ())
    assert in_the_way == (told is not None and told.reason is Reason.CLI_PATH_TAKEN)
    assert cli.MOUNTS == cli.mounts(container, {path})[0]


@pytest.mark.parametrize(
    "path", ["/usr/local/bin", "/usr/local/bin/docker", "/usr/local/lib/docker"]
)
def test_a_socket_in_the_way(path: str) -> None:
    """Where a client has the node's socket there, of all places, a second pass says the same as the first."""
    mounts = [build.mount("socket", path), build.mount("socket", "/var/run/docker.sock")]
    pod = build.with_socket(build.container(volumeMounts=mounts))
    first = _injected(pod, cli="true")
    metadata = first["metadata"]
    assert "no docker CLI" in metadata["annotations"]["dinp.io/status"]
    second = admission.inject(first, build.ANNOTATED, build.DEFAULT)
    assert [] == second.operations


def _injected(pod: Any, **annotations: str) -> Any:
    asked = {f"dinp.io/{name}": value for name, value in annotations.items()}
    metadata = {"name": "x", "annotations": {"dinp.io/inject": "sidecar", **asked}}
    return admission.inject({**pod, "metadata": metadata}, build.ANNOTATED, build.DEFAULT).pod


def test_plugins_that_nobody_asks_for_any_more() -> None:
    """Of a Pod that is applied again without the annotation: dind.sh would not copy them."""
    first = _injected(build.pod(), cli="true")
    paths = [mount["mountPath"] for mount in first["spec"]["containers"][0]["volumeMounts"]]
    assert [mount["mountPath"] for mount in cli.MOUNTS] == paths
    second = _injected({"spec": first["spec"]})
    (left,) = second["spec"]["containers"][0]["volumeMounts"]
    assert left["mountPath"] == "/usr/local/bin/docker"
