"""dinp comes up out of nothing, in any order, and keeps nobody else from coming up."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import pytest

from certs import inspection, records
from tests.cluster.api import Api, Object
from tests.cluster.installation import REGISTRATION
from tests.cluster.processes import wait_until
from tests.cluster.test_certs import Site
from tests.installation.deployed import CERTS, SYSTEM, WEBHOOK, Deployed, is_ready
from tests.node import pods
from tests.node.containerd import PAUSE
from tests.terminal import teller
from webhook.asking import rules

pytestmark = pytest.mark.node

# Pods of the cluster itself, and Pods that wait for dinp: Deployments of these names.
PLAIN: Final = "plain"
WAITS: Final = "waits"
NAMESPACES: Final = {WEBHOOK: SYSTEM, CERTS: SYSTEM, PLAIN: "kube-system", WAITS: "inject-sidecar"}
REPLICAS: Final = {WEBHOOK: 2, CERTS: 1, PLAIN: 1, WAITS: 1}
ASKS: Final = {rules.INJECT: "sidecar"}


@dataclass(frozen=True)
class Written:
    """Every version of what certs has written in a round."""

    secrets: list[Object]
    configurations: list[Object]

    def authorities(self) -> set[bytes]:
        """Each CA that the Secret has ever had, in whatever key."""
        found: set[bytes] = set()
        for secret in self.secrets:
            data = {key: b64decode(value) for key, value in (secret.get("data") or {}).items()}
            found |= set(records.read_authorities(data).certificates)
        return found

    def bundles(self) -> list[set[frozenset[bytes]]]:
        """Of each version of the registration: the certificates of each entry's caBundle."""
        return [
            {
                inspection.blocks(b64decode(webhook["clientConfig"].get("caBundle", "")))
                for webhook in configuration["webhooks"]
            }
            for configuration in self.configurations
        ]


def read_written(site: Site, since: str, until: str) -> Written:
    """Read the versions after `since`, up to `until`, by a connection of its own."""
    with closing(Api(site.cluster)) as api:
        own = replace(site, api=api)
        secrets = own.history(site.secret_path(), "dinp-ca", since)
        configurations = own.history(REGISTRATION, site.configuration, since)
    return Written(
        *([it for it in found if is_until(it, until)] for found in (secrets, configurations))
    )


def is_until(versioned: Object, version: str) -> bool:
    """Whether an object was written at a resourceVersion or before it."""
    return int(versioned["metadata"]["resourceVersion"]) <= int(version)


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.tail)])
def test_two_certs_start_at_once(
    installed: Deployed, rounds: int, request: pytest.FixtureRequest
) -> None:
    """On an empty installation there is one CA each time, and no caBundle is without it."""
    site, seconds = installed.certs, []
    found: list[Future[Written]] = []
    with ThreadPoolExecutor(1) as pool:
        since = installed.empty()
        for _ in range(rounds):
            seconds.append(start_two(installed))
            installed.end_certs()  # whatever both had to write is written now
            until = max(site.versions(), key=int)
            found.append(pool.submit(read_written, site, since, until))
            since = installed.empty()
        written = [future.result() for future in found]
    assert rounds == len({frozenset(each.authorities()) for each in written})
    for each in written:
        (authority,) = each.authorities()
        assert {frozenset([authority])} == each.bundles()[-1]
        # All entries at once, and never another value.
        assert all(bundle == {frozenset([authority])} for bundle in each.bundles())
    installed.scale(CERTS, 1)
    wait_until(installed.is_called, "dinp is called again", interval=0.2)
    teller(request)(
        f"two certs on an empty installation, {rounds} times: one CA each, right after "
        f"{min(seconds):.1f} to {max(seconds):.1f} s"
    )


def start_two(deployed: Deployed) -> float:
    """Start two replicas of certs; return the seconds until all is right and both have looked."""
    began = time.monotonic()
    deployed.scale(CERTS, 2)
    wait_until(deployed.certs.is_right, "all is right", interval=0.2)
    seconds = time.monotonic() - began
    wait_until(lambda: both_look(deployed), "both replicas have started", interval=0.2)
    return seconds


def both_look(deployed: Deployed) -> bool:
    """Whether both replicas of certs have begun their first pass, which a SIGTERM lets them end."""
    names = [pod["metadata"]["name"] for pod in deployed.pods("certs") if is_ready(pod)]
    said = [pods.logs(deployed.cluster, SYSTEM, name, "certs") for name in names]
    return ["keeping certificates right" in it for it in said] == [True, True]


@pytest.fixture(scope="module")
def with_others(installed: Deployed) -> Iterator[Deployed]:
    """A Deployment of kube-system, and one whose Pods take Docker because of their namespace."""
    for name in (PLAIN, WAITS):
        path = f"/apis/apps/v1/namespaces/{NAMESPACES[name]}/deployments"
        installed.api.must("POST", path, deployment(name))
    for name in (PLAIN, WAITS):
        installed.wait_for_rollout(name, NAMESPACES[name])
    yield installed
    for name in (PLAIN, WAITS):
        installed.kubectl("delete", "deployment", name, f"--namespace={NAMESPACES[name]}")


def deployment(name: str) -> Object:
    """One whose Pods do nothing, and end at once."""
    labels = {"app": name}
    spec = {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "client", "image": PAUSE}],
    }
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


@pytest.mark.parametrize(
    "order",
    [
        pytest.param((CERTS, PLAIN, WEBHOOK, WAITS), id="certs first", marks=pytest.mark.tail),
        pytest.param((WEBHOOK, WAITS, PLAIN, CERTS), id="webhook first", marks=pytest.mark.tail),
        pytest.param((WAITS, PLAIN, CERTS, WEBHOOK), id="dinp last"),
    ],
)
def test_all_come_back(
    with_others: Deployed, order: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    """Where no Pod is left, kube-system's included, all come up in whatever order."""
    end_everything(with_others)
    began = time.monotonic()
    for name in order:
        with_others.scale(name, REPLICAS[name], NAMESPACES[name])
        wait_until(lambda name=name: is_up_or_waits(with_others, name), name, interval=0.2)  # type: ignore[misc]
    for name in order:
        with_others.wait_for_rollout(name, NAMESPACES[name])
    seconds = time.monotonic() - began
    wait_until(with_others.is_called, "dinp is called", interval=0.2)
    teller(request)(f"{', '.join(order)}: all are back after {seconds:.1f} s")


def end_everything(deployed: Deployed) -> None:
    """Scale all to 0, and delete every Pod of the cluster."""
    for name, namespace in NAMESPACES.items():
        deployed.scale(name, 0, namespace)
    deployed.kubectl("delete", "pods", "--all", "--all-namespaces", "--grace-period=1")
    wait_until(
        lambda: not deployed.api.must("GET", "/api/v1/pods")["items"],
        "no Pod is left",
        interval=0.2,
    )


def is_up_or_waits(deployed: Deployed, name: str) -> bool:
    """Whether a Deployment has its Pods, or is told that it cannot have any yet."""
    path = f"/apis/apps/v1/namespaces/{NAMESPACES[name]}/deployments/{name}"
    status = deployed.api.must("GET", path)["status"]
    conditions = {it["type"]: it["status"] for it in status.get("conditions", [])}
    is_refused = conditions.get("ReplicaFailure") == "True"
    return is_refused or status.get("availableReplicas") == REPLICAS[name]


def test_without_dinp(installed: Deployed) -> None:
    """Down, it keeps nobody waiting but who asks, and who asks is told which entry refuses."""
    installed.scale(WEBHOOK, 0)
    installed.kubectl(
        *("delete", "pods", f"--namespace={SYSTEM}", "--grace-period=1"),
        "--selector=app.kubernetes.io/component=webhook",
    )
    for namespace in ("kube-system", "annotated"):
        said = pods.run(
            installed.cluster, installed.api, namespace, pods.client_pod("without", "echo it runs")
        )
        assert "it runs" in said
    asking = pods.client_pod("asks", "true", annotations=ASKS)
    answer = installed.api.create_pod("annotated", asking)
    assert answer.status == 500
    assert 'failed calling webhook "annotated.dinp.io"' in answer.message
    by_namespace = installed.api.create_pod("migrate-service", pods.client_pod("asks", "true"))
    assert by_namespace.status == 201, by_namespace.message
    installed.scale(WEBHOOK, REPLICAS[WEBHOOK])
    installed.wait_for_rollout(WEBHOOK)
    wait_until(installed.is_called, "dinp is called again", interval=0.2)
