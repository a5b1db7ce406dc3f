"""The node itself, and the shortest way of a Pod through API server, dinp, kubelet and dockerd."""

from __future__ import annotations

import pytest

from tests.cluster.processes import wait_until
from tests.node import pods
from tests.node.cluster import NodeCluster
from tests.node.contents import DIND_20_10, DIND_29
from tests.node.python_client import PYTHON_CLIENT
from webhook.asking import rules

pytestmark = pytest.mark.node

NAMESPACE = "annotated"
# An image from the client's own files, a container from it, and what that says.
BUILD_AND_RUN = """
docker version
tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - localhost/shell:1
docker run --rm --pull=never localhost/shell:1 sh -c 'echo it runs'
"""


def test_a_plain_pod_ends(node: NodeCluster) -> None:
    """A Pod that has nothing to do with dinp runs, and its log can be read."""
    pod = pods.client_pod("plain", "echo it runs")
    assert "it runs" in pods.run(node.cluster, node.api, "default", pod)


def test_names_and_the_api_server_are_reached(node: NodeCluster) -> None:
    """A Pod finds the API server by its Service's name."""
    script = (
        "nslookup kubernetes.default.svc.cluster.local; nc -w 5 kubernetes.default 443 </dev/null"
    )
    pod = pods.client_pod("names", script)
    pods.run(node.cluster, node.api, "default", pod)


@pytest.mark.parametrize(
    ("image", "version"), [(DIND_20_10, "20.10"), (DIND_29, "29.")], ids=["20.10", "29"]
)
def test_an_injected_pod_runs_containers(node: NodeCluster, image: str, version: str) -> None:
    """Docker answers when the client starts, makes an image and runs it; then the Pod ends."""
    annotations = {rules.INJECT: "sidecar", "dinp.io/image": image}
    name = "injected-" + version.strip(".").replace(".", "-")
    pod = pods.client_pod(name, BUILD_AND_RUN, annotations=annotations)
    said = pods.run(node.cluster, node.api, NAMESPACE, pod)
    assert "it runs" in said
    assert f"Version:          {version}" in said.partition("Server:")[2]


def test_a_daemon_of_the_pods_own_runs_containers(node: NodeCluster) -> None:
    """A Pod that brings a daemon, and no volume for it, is left alone, and its daemon works."""
    pod = pods.client_pod("own-daemon", BUILD_AND_RUN)
    own = {
        "name": "dind",
        "image": DIND_29,
        "restartPolicy": "Always",
        "env": [{"name": "DOCKER_TLS_CERTDIR", "value": ""}],
        "securityContext": {"privileged": True},
        "startupProbe": {
            "exec": {"command": ["docker", "version"]},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": 300,
        },
    }
    pod["spec"]["initContainers"] = [own]
    pod["spec"]["containers"][0]["env"] = [{"name": "DOCKER_HOST", "value": "tcp://localhost:2375"}]
    assert "it runs" in pods.run(node.cluster, node.api, "inject-sidecar", pod)
    made = node.api.must("GET", "/api/v1/namespaces/inject-sidecar/pods/own-daemon")
    assert ["dind"] == [container["name"] for container in made["spec"]["initContainers"]]


def test_docker_py_runs_containers(node: NodeCluster) -> None:
    """The other client that everybody has finds the daemon by the environment alone."""
    script = "import docker; print(docker.from_env().version()['Version'])"
    annotations = {rules.INJECT: "sidecar"}
    pod = pods.client_pod(
        "docker-py", "python3", "-c", script, image=PYTHON_CLIENT, annotations=annotations
    )
    assert pods.run(node.cluster, node.api, NAMESPACE, pod).startswith("29.")


def test_a_job_completes(node: NodeCluster) -> None:
    """The daemon does not keep a Job from its end."""
    template = {
        "metadata": {"annotations": {rules.INJECT: "sidecar"}},
        "spec": pods.client_spec("docker version"),
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job"},
        "spec": {"template": template, "backoffLimit": 0},
    }
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    node.api.must("POST", path, job)
    wait_until(
        lambda: node.api.must("GET", f"{path}/job")["status"].get("succeeded") == 1,
        "the Job has succeeded",
        seconds=120,
        interval=0.2,
    )
