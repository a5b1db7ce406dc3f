"""One command installs dinp, one removes it, and what it has injected outlives it."""

from __future__ import annotations

import time

import pytest

from tests.cluster.installation import is_injected
from tests.cluster.processes import wait_until
from tests.installation.deployed import CERTS, SYSTEM, WEBHOOK, Deployed, is_ready
from tests.node import pods
from tests.terminal import teller
from webhook.asking import rules

pytestmark = pytest.mark.node

NAMESPACE = "first"
ASKS = {rules.INJECT: "sidecar"}
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


def execute(deployed: Deployed, name: str, *command: str) -> tuple[int, str]:
    """Run a command in a container of a Deployment of dinp."""
    done = deployed.cluster.kubectl(
        "exec", f"--namespace={SYSTEM}", f"deployment/{name}", "--", *command
    )
    return done.code, done.out + done.err


def asking_pod(name: str, script: str) -> dict[str, object]:
    """A Pod that asks by its annotation."""
    return pods.client_pod(name, script, annotations=ASKS)


def is_asked_for(deployed: Deployed) -> bool:
    """Whether a Pod that asks is injected now."""
    return is_injected(deployed.api.create_pod(NAMESPACE, asking_pod("probe", "true")))


def install(deployed: Deployed) -> tuple[float, str]:
    """Apply; return the seconds until a Pod is injected, and what kubectl had to complain."""
    began = time.monotonic()
    complaints = deployed.kubectl("apply", "-k", str(deployed.kustomization())).err
    wait_until(lambda: is_asked_for(deployed), "a Pod is injected", seconds=180, interval=0.2)
    return time.monotonic() - began, complaints


def test_one_command_installs_it(deployed: Deployed, request: pytest.FixtureRequest) -> None:
    """Nobody complains, both replicas are Ready on two nodes, and the first Pod has its daemon."""
    assert deployed.api.create_namespace(NAMESPACE).status == 201
    seconds, complaints = install(deployed)
    assert complaints == ""
    deployed.wait_for_rollouts()
    replicas = deployed.pods("webhook")
    assert [True, True] == [is_ready(pod) for pod in replicas]
    assert {node.name for node in deployed.bare.nodes} == {
        pod["spec"]["nodeName"] for pod in replicas
    }
    assert [True] == [is_ready(pod) for pod in deployed.pods("certs")]
    said = pods.run(
        deployed.cluster, deployed.api, NAMESPACE, asking_pod("first", "docker version")
    )
    assert "Version:          29." in said.partition("Server:")[2]
    teller(request)(f"{seconds:.1f} s from kubectl apply -k to the first injected Pod")


@pytest.mark.parametrize("name", [WEBHOOK, CERTS])
def test_its_pods_may_do_little(deployed: Deployed, name: str) -> None:
    """A user that is not root, on a root file system that nobody writes to."""
    assert (0, "65532") == (0, execute(deployed, name, "id", "-u")[1].strip())
    code, said = execute(deployed, name, "touch", "/opt/dinp/written")
    assert code != 0
    assert "Read-only file system" in said


def test_only_certs_has_a_token(deployed: Deployed) -> None:
    """The webhook has nothing to ask the API server with."""
    assert execute(deployed, WEBHOOK, "ls", "/var/run/secrets")[0] != 0
    assert execute(deployed, CERTS, "ls", TOKEN)[0] == 0


def test_one_command_removes_it(deployed: Deployed, request: pytest.FixtureRequest) -> None:
    """Nothing of dinp is left, who has a daemon keeps it, who asks later is let alone; and again."""
    lasting = asking_pod("lasting", "touch /tmp/ready; while :; do docker version >/tmp/said; done")
    lasting["spec"] |= {"terminationGracePeriodSeconds": 1}  # type: ignore[operator]  # a dict
    pods.start(deployed.api, NAMESPACE, lasting)
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/lasting"
    wait_until(lambda: is_ready(deployed.api.must("GET", path)), "the lasting Pod is Ready")
    before = deployed.api.must("GET", path)
    assert deployed.labelled()

    began = time.monotonic()
    deployed.kubectl("delete", "-k", str(deployed.kustomization()))
    seconds = time.monotonic() - began
    assert set() == deployed.labelled()
    assert deployed.api.get(f"/api/v1/namespaces/{SYSTEM}").status == 404
    answer = deployed.api.create_pod(NAMESPACE, asking_pod("later", "true"))
    assert answer.status == 201
    assert not is_injected(answer)
    said = deployed.kubectl("exec", f"--namespace={NAMESPACE}", "lasting", "--", "docker", "info")
    assert "Server Version: 29." in said.out
    assert started(before) == started(deployed.api.must("GET", path))

    again, complaints = install(deployed)
    assert complaints == ""
    deployed.wait_for_rollouts()
    deployed.api.must("DELETE", path)
    teller(request)(f"removed in {seconds:.1f} s, installed again in {again:.1f} s")


def started(pod: dict[str, object]) -> list[object]:
    """When each container has started: it differs where one was restarted."""
    status: dict[str, list[dict[str, object]]] = pod["status"]  # type: ignore[assignment]
    return [it["state"] for it in (*status["initContainerStatuses"], *status["containerStatuses"])]
