"""dinp.io/storage: where the daemon's images really lie, and what bounds and keeps them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.processes import wait_until
from tests.node import pods
from tests.node.cluster import NodeCluster
from webhook import names
from webhook.asking import rules

pytestmark = pytest.mark.node

NAMESPACE: Final = "annotated"
CLASS: Final = "storage-by-hand"
_DATA: Final = "/var/lib/docker"
# By the name of the PersistentVolume, and of its folder on the node.
_EPHEMERAL, _KEPT, _TAKEN = "storage-ephemeral", "storage-kept", "storage-taken"
_OWN: Final = "storage-own"
_PVCS: Final = (_KEPT, _TAKEN, _OWN)
_GO_ON: Final = "/go-on"

_IMAGE: Final = "tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - localhost/shell:1\n"
# The directory that is mounted there is the fourth word.
_WHERE: Final = f"""
docker run --rm --pull=never -v {_DATA}:/data localhost/shell:1 busybox awk \\
    '$5 == "/data" {{ print "data: " $4 }}' /proc/self/mountinfo
"""
_BUILD: Final = """
mkdir /context
printf 'FROM localhost/shell:1\\nRUN echo built; echo built >/built\\n' >/context/Dockerfile
DOCKER_BUILDKIT=1 docker build --progress=plain --tag localhost/built:1 /context
"""
# With `always` a daemon starts them again, unless it is told to leave a former Pod's alone.
_ALWAYS: Final = """
docker run --detach --restart=always --name=former --pull=never localhost/shell:1 busybox sleep 1000
"""
_FORMER: Final = "docker ps --all --filter=name=former --format='former: {{.State}}'\n"
_FILL: Final = """
docker run --pull=never localhost/shell:1 busybox dd if=/dev/zero of=/filled bs=1M count=100
sleep 1000
"""
_WAIT: Final = f"until [ -e {_GO_ON} ]; do sleep 0.2; done\n"


def _pod(name: str, script: str, storage: str) -> dict[str, Any]:
    annotations = {rules.INJECT: "sidecar", "dinp.io/storage": storage}
    return pods.client_pod(f"storage-{name}", script, annotations=annotations)


@pytest.fixture(scope="module", autouse=True)
def started(node: NodeCluster) -> Iterator[None]:
    """The volumes, and the Pods that come first."""
    _create_volumes(node)
    pods.start(node.api, NAMESPACE, _pod("sized", _IMAGE + _WHERE, "emptydir:2Gi"))
    pods.start(node.api, NAMESPACE, _pod("full", _IMAGE + _FILL, "emptydir:50Mi"))
    pods.start(node.api, NAMESPACE, _pod("ephemeral", _IMAGE + _WHERE, f"ephemeral:{CLASS}:1Gi"))
    pods.start(
        node.api, NAMESPACE, _pod("first", _IMAGE + _WHERE + _BUILD + _ALWAYS, f"pvc:{_KEPT}")
    )
    pods.start(node.api, NAMESPACE, _of_the_pod())
    pods.start(node.api, NAMESPACE, _pod("holder", _IMAGE + _WAIT, f"pvc:{_TAKEN}"))
    yield
    for name in ("full", "holder", "waiting"):
        node.api.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/storage-{name}")


def _of_the_pod() -> dict[str, Any]:
    """A Pod with a volume of its own for the daemon, as a StatefulSet's claim is."""
    pod = _pod("volume", _IMAGE + _WHERE, "volume:images")
    pod["spec"]["volumes"] = [{"name": "images", "persistentVolumeClaim": {"claimName": _OWN}}]
    return pod


def _create_volumes(node: NodeCluster) -> None:
    """A class without a provisioner, what it would have made, and claims of two of them."""
    node.api.must(
        "POST",
        "/apis/storage.k8s.io/v1/storageclasses",
        {"metadata": {"name": CLASS}, "provisioner": "kubernetes.io/no-provisioner"},
    )
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": CLASS}
    for name in (_EPHEMERAL, *_PVCS):
        spec = {
            **common,
            "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(_folder(node, name)), "type": "DirectoryOrCreate"},
        }
        if name in _PVCS:
            spec["claimRef"] = {"namespace": NAMESPACE, "name": name}
        node.api.must(
            "POST", "/api/v1/persistentvolumes", {"metadata": {"name": name}, "spec": spec}
        )
    for name in _PVCS:
        claim = {**common, "volumeName": name, "resources": {"requests": {"storage": "1Gi"}}}
        path = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
        node.api.must("POST", path, {"metadata": {"name": name}, "spec": claim})


def _folder(node: NodeCluster, name: str) -> Path:
    return node.directory / name


def _said(node: NodeCluster, name: str) -> str:
    whole = f"storage-{name}"
    return pods.said_at_end(node.cluster, NAMESPACE, whole, api=node.api)


def _data(said: str) -> str:
    """The directory of the node that the daemon has its images in."""
    (line,) = (line for line in said.splitlines() if line.startswith("data: "))
    return line.removeprefix("data: ")


def test_an_emptydir_with_a_size_has_the_images(node: NodeCluster) -> None:
    """They lie in the Pod's own folder of the kubelet, in a volume of that size."""
    data = _data(_said(node, "sized"))
    pod = node.api.must("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/storage-sized")
    uid = pod["metadata"]["uid"]
    assert data.endswith(f"/pods/{uid}/volumes/kubernetes.io~empty-dir/{names.STORAGE}")
    (volume,) = (it for it in pod["spec"]["volumes"] if it["name"] == names.STORAGE)
    assert volume["emptyDir"] == {"sizeLimit": "2Gi"}


def test_the_size_of_an_emptydir_bounds_the_images(node: NodeCluster) -> None:
    """The kubelet evicts a Pod whose images are more than it asked for."""
    assert pods.wait_for_end(node.api, NAMESPACE, "storage-full") == "Failed"
    status = node.api.must("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/storage-full")["status"]
    assert status["reason"] == "Evicted"
    assert f'EmptyDir volume "{names.STORAGE}" exceeds the limit' in status["message"]


def test_an_ephemeral_volume_has_the_images(node: NodeCluster) -> None:
    """They lie on the volume that the Pod's own claim was bound to."""
    assert _data(_said(node, "ephemeral")) == str(_folder(node, _EPHEMERAL))
    path = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
    claim = node.api.must("GET", f"{path}/storage-ephemeral-{names.STORAGE}")
    assert claim["spec"]["volumeName"] == _EPHEMERAL
    assert claim["metadata"]["ownerReferences"][0]["name"] == "storage-ephemeral"
    assert (_folder(node, _EPHEMERAL) / ".dinp.lock").exists()


def test_a_claim_keeps_images_and_layers(node: NodeCluster) -> None:
    """A second Pod with the claim runs what the first has built, builds from its cache, and runs nothing else."""
    assert _data(_said(node, "first")) == str(_folder(node, _KEPT))
    run = "docker run --rm --pull=never localhost/built:1 busybox cat /built"
    pods.start(node.api, NAMESPACE, _pod("second", _FORMER + run + _BUILD, f"pvc:{_KEPT}"))
    said = _said(node, "second")
    assert "built" in said.splitlines()
    assert "CACHED" in said
    assert "former: exited" in said.splitlines()


def test_data_lie_by_the_version_of_docker(node: NodeCluster) -> None:
    """One directory on the claim for this Docker and image store: another would not read its data."""
    _said(node, "first")
    there = [path.name for path in _folder(node, _KEPT).iterdir() if path.is_dir()]
    (found,) = (name for name in there if name != "lost+found")
    assert re.fullmatch(r"[0-9][\w.+~-]*-default", found)
    assert (_folder(node, _KEPT) / found / "containers").is_dir()


def test_a_volume_of_the_pod_has_the_images(node: NodeCluster) -> None:
    """By volume:<name>; the Pod gets no other volume for them."""
    assert _data(_said(node, "volume")) == str(_folder(node, _OWN))
    pod = node.api.must("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/storage-volume")
    assert names.STORAGE not in {volume["name"] for volume in pod["spec"]["volumes"]}


def test_a_claim_in_use_is_waited_for(node: NodeCluster) -> None:
    """A second daemon on the claim says that another has it, and starts when that has ended."""
    wait_until(lambda: _is_running(node, "storage-holder"), "the first daemon is up", seconds=90)
    run = "docker run --rm --pull=never localhost/shell:1 sh -c 'echo it runs'"
    pods.start(node.api, NAMESPACE, _pod("waiting", run, f"pvc:{_TAKEN}"))
    wait_until(
        lambda: _refusal() in pods.logs(node.cluster, NAMESPACE, "storage-waiting", names.DIND),
        "the second daemon says why it does not start",
        seconds=90,
        interval=1,
    )
    assert not _is_running(node, "storage-waiting")
    done = node.cluster.kubectl(
        *("exec", f"--namespace={NAMESPACE}", "storage-holder", "--container=client"),
        *("--", "touch", _GO_ON),
    )
    assert done.code == 0, done.err
    _said(node, "holder")
    assert "it runs" in _said(node, "waiting").splitlines()


def _refusal() -> str:
    return f"dinp: another daemon uses {_DATA}: give each Pod a volume of its own (dinp.io/storage)"


def _is_running(node: NodeCluster, name: str) -> bool:
    """Whether its client has started."""
    status = node.api.must("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}")["status"]
    states = [it["state"] for it in status.get("containerStatuses", ())]
    return any("running" in state for state in states)
