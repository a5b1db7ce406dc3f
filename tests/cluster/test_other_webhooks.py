"""dinp beside other mutating webhooks that sort before and after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api import Api
from tests.cluster.installation import Installation, is_injected, small_pod
from tests.cluster.other_webhook import Operations, other_webhook

pytestmark = pytest.mark.cluster

BEFORE, AFTER = "aa-other", "zzz-other"
SOCKET_VOLUME = {"name": "docker", "hostPath": {"path": "/var/run/docker.sock"}}
SOCKET_MOUNT = {"name": "docker", "mountPath": "/var/run/docker.sock"}


def add_annotation(pod: dict[str, Any]) -> Operations:
    annotations = {**pod["metadata"].get("annotations", {}), "dinp.io/inject": "sidecar"}
    return [{"op": "add", "path": "/metadata/annotations", "value": annotations}]


def add_socket(pod: dict[str, Any]) -> Operations:
    volumes = pod["spec"].get("volumes", [])
    mounts = pod["spec"]["containers"][0].get("volumeMounts", [])
    if any(volume["name"] == "docker" for volume in volumes):
        return []
    return [
        {"op": "add", "path": "/spec/volumes", "value": [*volumes, SOCKET_VOLUME]},
        {
            "op": "add",
            "path": "/spec/containers/0/volumeMounts",
            "value": [*mounts, SOCKET_MOUNT],
        },
    ]


def add_container(pod: dict[str, Any]) -> Operations:
    if len(pod["spec"]["containers"]) > 1:
        return []
    value = {"name": "late", "image": "registry.example.com/late:1"}
    return [{"op": "add", "path": "/spec/containers/-", "value": value}]


def drop_restart_policy(pod: dict[str, Any]) -> Operations:
    """What a webhook does whose client is older than native sidecars."""
    path = "/spec/initContainers/{}/restartPolicy"
    return [
        {"op": "remove", "path": path.format(index)}
        for index, container in enumerate(pod["spec"].get("initContainers", []))
        if container.get("restartPolicy")
    ]


def containers(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {container["name"]: container for container in pod["spec"]["containers"]}


def env_names(container: dict[str, Any]) -> list[str]:
    return [var["name"] for var in container.get("env", [])]


def test_annotation_of_one_before(api: Api, tmp_path: Path) -> None:
    """An annotation that a webhook before ours adds is seen, though its Pod did not ask."""
    where: dict[str, Any] = {"namespace": "annotated", "directory": tmp_path}
    with other_webhook(api, BEFORE, add_annotation, **where):
        assert is_injected(api.create_pod("annotated", small_pod()))


def test_socket_of_one_before(api: Api, tmp_path: Path) -> None:
    """A socket that a webhook before ours mounts is migrated."""
    where: dict[str, Any] = {"namespace": "migrate-sidecar", "directory": tmp_path}
    with other_webhook(api, BEFORE, add_socket, **where):
        answer = api.create_pod("migrate-sidecar", small_pod())
    assert is_injected(answer)
    assert not [volume for volume in answer.body["spec"]["volumes"] if "hostPath" in volume]


def test_annotation_of_one_after(api: Api, tmp_path: Path) -> None:
    """One that sorts behind zz-dinp is too late: only webhooks that were called are called again.

    Not a wish, but what Kubernetes does: the reason for our name.
    """
    where: dict[str, Any] = {"namespace": "annotated", "directory": tmp_path}
    with other_webhook(api, AFTER, add_annotation, **where):
        answer = api.create_pod("annotated", small_pod())
    assert (201, False) == (answer.status, is_injected(answer))


def test_container_of_one_after(served: Installation, tmp_path: Path) -> None:
    """Reinvoked, dinp gives the Docker variables to the container that came later, once."""
    where: dict[str, Any] = {"namespace": "annotated", "directory": tmp_path}
    with other_webhook(served.api, AFTER, add_container, **where):
        answer = served.api.create_pod("annotated", small_pod("sidecar"))
    pod = answer.body
    assert ["build", "late"] == list(containers(pod))
    for container in containers(pod).values():
        assert ["DOCKER_HOST", "DOCKER_TLS_VERIFY"] == env_names(container)[:2]
        assert len(env_names(container)) == len(set(env_names(container)))
    assert ["dinp-dind"] == [container["name"] for container in pod["spec"]["initContainers"]]


def test_socket_of_one_after(api: Api, tmp_path: Path) -> None:
    """In an inject namespace dinp was called, so it is called again and migrates the socket."""
    where: dict[str, Any] = {"namespace": "inject-sidecar", "directory": tmp_path}
    with other_webhook(api, AFTER, add_socket, **where):
        pod = api.create_pod("inject-sidecar", small_pod()).body
    assert not [volume for volume in pod["spec"]["volumes"] if "hostPath" in volume]
    mounts = containers(pod)["build"]["volumeMounts"]
    (socket,) = [mount for mount in mounts if mount["mountPath"] == "/var/run/docker.sock"]
    assert ("dinp-run", "docker.sock") == (socket["name"], socket["subPath"])


def test_old_client_after(api: Api, tmp_path: Path) -> None:
    """A sidecar that lost its restartPolicy on the way is repaired when dinp is called again."""
    where: dict[str, Any] = {"namespace": "annotated", "directory": tmp_path}
    with other_webhook(api, AFTER, drop_restart_policy, **where):
        pod = api.create_pod("annotated", small_pod("sidecar")).body
    (dind,) = pod["spec"]["initContainers"]
    assert "Always" == dind["restartPolicy"]
