"""The daemon keeps no Pod from its end, and ends itself as it should."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.api import JSON_PATCH
from tests.cluster.processes import wait_until
from tests.node import pods
from tests.node.cluster import NodeCluster
from tests.node.contents import DIND_20_10, DIND_29
from webhook import names
from webhook.asking import rules

pytestmark = pytest.mark.node

NAMESPACE: Final = "annotated"
_VERSIONS: Final = {"20-10": DIND_20_10, "29": DIND_29}
# What dockerd says when a container is still there 10 s after TERM, and when all of it takes
# longer than 15 s.
_KILLS: Final = "using the force"
_GIVES_UP: Final = "Force shutdown daemon"
_GRACE: Final = 30  # Kubernetes' default, and more than that
_FINALIZER: Final = "tests.dinp.io/kept"  # who has one can be read after its end
_SERVING: Final = "app=endings-serving"
_DEPLOYMENTS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
_JOBS: Final = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"

_IMAGE: Final = "tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - localhost/shell:1\n"
_RUN: Final = "docker run -d --pull=never localhost/shell:1 sh -c "
_POLITE: Final = _IMAGE + _RUN + "\"trap 'exit 0' TERM; while :; do busybox sleep 0.2; done\"\n"
_IGNORE: Final = "trap '' TERM; echo deaf $((6 * 7)); while :; do busybox sleep 1; done"
# The client ends in the middle of all three.
_DEAF: Final = f"""{_IMAGE}
id=$({_RUN} "{_IGNORE.replace("$", chr(92) + "$")}")
mkdir /context
cat >/context/Dockerfile <<'END'
FROM localhost/shell:1
RUN {_IGNORE}
END
DOCKER_BUILDKIT=0 docker build /context >/classic.log 2>&1 &
DOCKER_BUILDKIT=1 docker build /context >/buildkit.log 2>&1 &
until docker logs "$id" >/container.log 2>&1; [ "$(grep -l 'deaf 42$' /*.log | wc -l)" = 3 ]; do
    sleep 0.5
done
echo all three are deaf
"""
_SERVE: Final = _POLITE + "trap 'exit 0' TERM; echo serving; while :; do sleep 1000 & wait $!; done"


def _pod(name: str, script: str, version: str = "29", **annotations: str) -> dict[str, Any]:
    asked = {f"dinp.io/{key}": value for key, value in annotations.items()}
    asked |= {rules.INJECT: "sidecar", "dinp.io/image": _VERSIONS[version]}
    pod = pods.client_pod(f"endings-{name}", script, annotations=asked)
    return {**pod, "spec": {**pod["spec"], "terminationGracePeriodSeconds": _GRACE}}


SOON: Final = (
    _pod("idle-29", "docker version"),
    _pod("polite-29", _POLITE, transport="tls"),
    _pod("polite-20-10", _POLITE, "20-10"),
)
BOUNDED: Final = tuple(_pod(f"deaf-{version}", _DEAF, version) for version in _VERSIONS)
FAILING: Final = _pod("failing", "docker version; exit 7")
_SOON_NAMES: Final = [pod["metadata"]["name"] for pod in SOON]
_BOUNDED_NAMES: Final = [pod["metadata"]["name"] for pod in BOUNDED]


@pytest.fixture(scope="module", autouse=True)
def started(node: NodeCluster) -> Iterator[None]:
    """All Pods of the tables at once, a Job that fails and a Deployment."""
    node.api.must("POST", _DEPLOYMENTS, _deployment())
    node.api.must("POST", _JOBS, _job(FAILING))
    for pod in (*SOON, *BOUNDED):
        pods.start(node.api, NAMESPACE, pod)
    yield
    node.api.request("DELETE", f"{_DEPLOYMENTS}/endings-serving?propagationPolicy=Background")
    for pod in _pods_of(node, _SERVING):
        let_go: Any = [{"op": "remove", "path": "/metadata/finalizers"}]
        node.api.must("PATCH", _path(pod["metadata"]["name"]), let_go, media_type=JSON_PATCH)


def _job(pod: dict[str, Any]) -> dict[str, Any]:
    template = {"metadata": {"annotations": pod["metadata"]["annotations"]}, "spec": pod["spec"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": pod["metadata"]["name"]},
        "spec": {"template": template, "backoffLimit": 0},
    }


def _deployment() -> dict[str, Any]:
    pod = _pod("serving", _SERVE)
    labels = {"app": pod["metadata"]["name"]}
    metadata = {
        "labels": labels,
        "annotations": pod["metadata"]["annotations"],
        "finalizers": [_FINALIZER],
    }
    spec = {**pod["spec"], "restartPolicy": "Always"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": pod["metadata"]["name"]},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": metadata, "spec": spec},
        },
    }


def _path(name: str) -> str:
    return f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"


def _ended(node: NodeCluster, name: str) -> dict[str, Any]:
    """A Pod that has ended, whatever its phase is now."""
    pods.wait_for_end(node.api, NAMESPACE, name)
    return node.api.must("GET", _path(name))


def _end(pod: dict[str, Any], container: str) -> dict[str, Any]:
    """How a container has ended: its exitCode, and finishedAt in whole seconds."""
    status = pod["status"]
    both = (*status["initContainerStatuses"], *status["containerStatuses"])
    (state,) = (it["state"] for it in both if it["name"] == container)
    end = state["terminated"]
    assert isinstance(end, dict)
    return end


@pytest.mark.parametrize("name", _SOON_NAMES)
def test_a_daemon_without_clients_waits_for_nothing(node: NodeCluster, name: str) -> None:
    """Whether nothing runs in it, or a container that ends when it is told to."""
    pod = _ended(node, name)
    assert pod["status"]["phase"] == "Succeeded", pods.describe(node.cluster, NAMESPACE, name)
    assert _end(pod, names.DIND)["exitCode"] == 0
    assert _KILLS not in pods.logs(node.cluster, NAMESPACE, name, names.DIND)


@pytest.mark.parametrize("name", _BOUNDED_NAMES)
def test_who_ignores_term_is_not_waited_for(node: NodeCluster, name: str) -> None:
    """A container and two builds that do not end are killed within the shutdown timeout."""
    pod = _ended(node, name)
    assert pod["status"]["phase"] == "Succeeded", pods.describe(node.cluster, NAMESPACE, name)
    assert "all three are deaf" in pods.logs(node.cluster, NAMESPACE, name, "client").splitlines()
    log = pods.logs(node.cluster, NAMESPACE, name, names.DIND)
    assert _KILLS in log
    assert _GIVES_UP not in log
    assert _end(pod, names.DIND)["exitCode"] == 0  # the kubelet had no need to kill it


def test_the_exit_code_is_the_clients(node: NodeCluster) -> None:
    """A client that fails makes its Pod Failed, with its code, and its Job too; nobody retries."""
    path = f"{_JOBS}/endings-failing"
    wait_until(
        lambda: any(
            it["type"] == "Failed" and it["status"] == "True"
            for it in node.api.must("GET", path)["status"].get("conditions", ())
        ),
        "the Job has failed",
        interval=0.5,
    )
    assert node.api.must("GET", path)["status"]["failed"] == 1
    (pod,) = _pods_of(node, "job-name=endings-failing")
    assert pod["status"]["phase"] == "Failed"
    assert _end(pod, "client")["exitCode"] == 7
    assert _end(pod, names.DIND)["exitCode"] == 0
    name = pod["metadata"]["name"]
    assert _KILLS not in pods.logs(node.cluster, NAMESPACE, name, names.DIND)


def test_a_deployments_pod_stops_within_its_grace_period(node: NodeCluster, tmp_path: Path) -> None:
    """Deleted, it ends by TERM: client, daemon and what that runs; nobody has to be killed."""
    wait_until(
        lambda: any(_serves(node, pod) for pod in _pods_of(node, _SERVING)),
        "the Deployment's Pod serves",
        interval=0.5,
    )
    (pod,) = _pods_of(node, _SERVING)
    name, log = pod["metadata"]["name"], tmp_path / "log"
    with pods.followed(node.cluster, NAMESPACE, name, container=names.DIND, file=log):
        node.api.must("DELETE", f"{_DEPLOYMENTS}/endings-serving?propagationPolicy=Background")
        wait_until(
            lambda: _is_over(node.api.must("GET", _path(name))),
            "the Pod has ended",
            interval=0.5,
        )
    pod = node.api.must("GET", _path(name))
    # What the API server writes there is the end of the grace period.
    last = datetime.fromisoformat(pod["metadata"]["deletionTimestamp"])
    daemon = _end(pod, names.DIND)
    assert datetime.fromisoformat(daemon["finishedAt"]) <= last
    assert daemon["exitCode"] == 0
    assert _end(pod, "client")["exitCode"] == 0
    said = log.read_text(encoding="utf-8")
    assert "Processing signal 'terminated'" in said
    assert _KILLS not in said


def _pods_of(node: NodeCluster, label: str) -> list[dict[str, Any]]:
    found = node.api.must("GET", f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={label}")
    items = found["items"]
    assert isinstance(items, list)
    return items


def _serves(node: NodeCluster, pod: dict[str, Any]) -> bool:
    name = pod["metadata"]["name"]
    return "serving" in pods.logs(node.cluster, NAMESPACE, name, "client").splitlines()


def _is_over(pod: dict[str, Any]) -> bool:
    status = pod["status"]
    both = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    return all("terminated" in it["state"] for it in both)
