"""storage_volumes: which volumes of the Pod can hold the daemon's data."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook import admission
from webhook.asking.storage import Storage
from webhook.planning import storage_volumes
from webhook.pods import pod as pods
from webhook.reasons import Reason

VOLUME = Storage("volume", "data")


def _pod(source: dict[str, Any], **fields: Any) -> Any:
    return build.pod(volumes=[{"name": "data", **source}], **fields)


@pytest.mark.parametrize(
    ("why", "source"),
    [
        (None, {"persistentVolumeClaim": {"claimName": "a"}}),
        (None, {"emptyDir": {}}),
        (None, {"ephemeral": {}, "configMap": None}),
        (None, {"hostPath": {"path": "/mnt/disks/ssd0"}}),
        (None, {"csi": {"driver": "local.csi.example.com"}}),
        (None, {"brandNewVolumeSource": True}),
        ("only be read", {"persistentVolumeClaim": {"claimName": "a", "readOnly": True}}),
        ("only be read", {"csi": {"driver": "d", "readOnly": True}}),
        ("only be read", {"configMap": {}}),
        ("only be read", {"secret": {}}),
        ("only be read", {"projected": {"sources": []}}),
        ("only be read", {"downwardAPI": {}}),
        ("only be read", {"image": {"reference": "a"}}),
        ("overlayfs", {"nfs": {"server": "a", "path": "/"}}),
        ("node's own", {"hostPath": {"path": "/var/lib/docker/"}}),
        ("node's own", {"hostPath": {"path": "/var/lib"}}),
        ("node's own", {"hostPath": {"path": "/"}}),
        ("node's own", {"hostPath": {"path": "/etc/docker"}}),
        ("node's own", {"hostPath": {"path": "/mnt/../dev"}}),
        ("node's own", {"hostPath": {"path": "/var/lib/kubelet/pods"}}),
        ("node's own", {"hostPath": {"path": "/var/lib/dinp/docker"}}),
        ("node's own", {"hostPath": {"path": "/run/dinp"}}),
        (None, {"hostPath": {"path": "/var/lib/ci"}}),
        (None, {"hostPath": {"path": "/usr/local/docker-data"}}),
        (None, {"hostPath": {"path": "/mnt/disks/ssd0", "type": "DirectoryOrCreate"}}),
        ("no directory", {"hostPath": {"path": "/mnt/disk.img", "type": "FileOrCreate"}}),
        ("no directory", {"hostPath": {"path": "/dev/sdb", "type": "BlockDevice"}}),
    ],
)
def test_what_can_hold_the_data(why: str | None, source: dict[str, Any]) -> None:
    """What can be written, is no NFS, and is neither the node's own Docker nor its system, nor a shared daemon's."""
    found = storage_volumes.obstacle(_pod(source), VOLUME)
    assert (why is None) == (found is None)
    assert found is None or (found.reason is Reason.UNFIT_VOLUME and str(why) in found.text)


@pytest.mark.parametrize(
    ("known", "name", "volumes"),
    [
        ("a, b", "data", [{"name": "a"}, {"name": "b"}, {"name": "dinp-run"}]),
        ("none", "data", []),
        ("none", "dinp-run", [{"name": "dinp-run", "emptyDir": {}}]),
    ],
)
def test_a_volume_that_is_not_there(known: str, name: str, volumes: list[Any]) -> None:
    """The sentence says which there are; dinp's own are none."""
    found = storage_volumes.obstacle(build.pod(volumes=volumes), Storage("volume", name))
    assert Reason.UNKNOWN_VOLUME.say(name=name, known=known) == found


@pytest.mark.parametrize(
    ("expected", "storage", "source"),
    [
        (True, Storage("pvc", "a"), {}),
        (False, Storage("emptydir"), {}),
        (False, Storage("ephemeral", "a", "1Gi"), {}),
        (True, VOLUME, {"persistentVolumeClaim": {"claimName": "a"}}),
        (True, VOLUME, {"hostPath": {"path": "/mnt"}}),
        (False, VOLUME, {"emptyDir": {}}),
        (False, VOLUME, {"ephemeral": {}}),
    ],
)
def test_data_that_outlive_the_pod(
    expected: bool, storage: Storage, source: dict[str, Any]
) -> None:
    """Those on a volume that is not the Pod's own."""
    assert expected == storage_volumes.outlives(_pod(source), storage)


@pytest.mark.parametrize(
    ("told", "storage", "claim"),
    [
        (True, VOLUME, "team"),
        (True, Storage("pvc", "data-runner-0"), "x"),
        (False, VOLUME, "data-runner-0"),
        (False, Storage("emptydir"), "team"),
    ],
)
def test_a_claim_that_others_may_use(told: bool, storage: Storage, claim: str) -> None:
    """A claim that a StatefulSet made for this Pod is nobody else's."""
    pod = _pod({"persistentVolumeClaim": {"claimName": claim}})
    pod["metadata"]["name"] = "runner-0"
    found = storage_volumes.shared_claim(pod, storage)
    assert told == (found is not None)


def _injected(pod: Any, storage: str) -> Any:
    asked = {"dinp.io/inject": "sidecar", "dinp.io/storage": storage}
    metadata = {"name": "x", "annotations": asked}
    return admission.inject({**pod, "metadata": metadata}, build.ANNOTATED, build.DEFAULT).pod


@pytest.mark.parametrize(
    ("left", "storage"), [("b", "volume:b"), ("dinp-storage", "emptydir"), ("a", "volume:a")]
)
def test_another_volume_the_second_time(left: str, storage: str) -> None:
    """A Pod that is applied again has its data where it asks now, whatever its dinp-dind has."""
    pod = build.pod(volumes=[{"name": name, "emptyDir": {}} for name in "ab"])
    second = _injected({"spec": _injected(pod, "volume:a")["spec"]}, storage)
    mounts = {mount["mountPath"]: mount["name"] for mount in pods.mounts(build.dind(second))}
    assert left == mounts["/var/lib/docker"]


def test_a_volume_whose_socket_is_migrated() -> None:
    """No client mounts it any more, and the daemon does: it stays in the Pod."""
    client = build.container(
        volumeMounts=[{**build.mount("a", "/var/run/docker.sock"), "subPath": "docker.sock"}]
    )
    first = _injected(build.pod(client, volumes=[build.host_path("a", "/mnt")]), "volume:a")
    assert "a" in {volume["name"] for volume in first["spec"]["volumes"]}
    assert [] == admission.inject(first, build.ANNOTATED, build.DEFAULT).operations
