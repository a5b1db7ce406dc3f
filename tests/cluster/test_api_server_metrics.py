"""How often the API server says that it called dinp: its own count, not that of dinp's server."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

import pytest

from tests.cluster.api import Api
from tests.cluster.installation import RULE_NAMESPACES, Installation, is_injected, small_pod
from tests.cluster.test_failure import of_daemonset, with_socket

pytestmark = pytest.mark.cluster

CALLS: Final = "apiserver_admission_webhook_admission_duration_seconds_count"
REQUESTS: Final = "apiserver_admission_webhook_request_total"
FAILED_OPEN: Final = "apiserver_admission_webhook_fail_open_count"
_SAMPLE: Final = re.compile(r'^(\w+)\{(?:.*,)?name="([^"]+\.dinp\.io)".*\} ([0-9.e+]+)$')


def counted(api: Api, metric: str) -> Counter[str]:
    """The API server's count of each of dinp's entries; those without one are not there."""
    answer = api.get("/metrics")
    assert answer.status == 200
    found: Counter[str] = Counter()
    for line in answer.body["message"].splitlines():
        sample = _SAMPLE.match(line)
        if sample and sample[1] == metric:
            found[sample[2]] += int(float(sample[3]))
    return found


def ordinary(namespace: str) -> list[dict[str, Any]]:
    """Pods of this namespace that do not concern dinp."""
    of_an_agent = of_daemonset(with_socket(small_pod()))
    if namespace.startswith("inject"):
        return [of_an_agent]
    if namespace.startswith("migrate"):
        return [of_an_agent, small_pod()]
    return [of_an_agent, small_pod(), with_socket(small_pod())]


@pytest.mark.parametrize("metric", [CALLS, REQUESTS])
@pytest.mark.parametrize("namespace", RULE_NAMESPACES)
def test_one_call_for_a_pod_that_asks(served: Installation, namespace: str, metric: str) -> None:
    """One entry is called, that of the namespace's rule, and once."""
    before = counted(served.api, metric)
    assert is_injected(served.api.create_pod(namespace, small_pod("sidecar")))
    assert {f"{namespace}.dinp.io": 1} == counted(served.api, metric) - before


@pytest.mark.parametrize("namespace", ["migrate-sidecar", "migrate-daemonset"])
def test_a_token_costs_no_second_call(api: Api, namespace: str) -> None:
    """The ServiceAccount plugin, which comes once more, has no token to add to what dinp added.

    A Pod that changes after dinp is shown to dinp and to all other webhooks again.
    """
    before = counted(api, CALLS)
    wanted = with_socket(small_pod())
    # A mount of the node's docker command is why daemonset mode adds a container, too.
    wanted["spec"]["volumes"].append({"name": "cli", "hostPath": {"path": "/usr/bin/docker"}})
    mount = {"name": "cli", "mountPath": "/usr/bin/docker"}
    wanted["spec"]["containers"][0]["volumeMounts"].append(mount)
    pod = api.create_pod(namespace, wanted).body
    assert {f"{namespace}.dinp.io": 1} == counted(api, CALLS) - before
    (container,), (added,) = pod["spec"]["containers"], pod["spec"]["initContainers"]
    assert mounts_token(container)
    assert not mounts_token(added)


def mounts_token(container: dict[str, Any]) -> bool:
    return any(mount["name"].startswith("kube-api-access-") for mount in container["volumeMounts"])


@pytest.mark.parametrize("namespace", RULE_NAMESPACES)
def test_no_call_for_a_pod_that_does_not_concern_dinp(api: Api, namespace: str) -> None:
    """No entry is called, not even one that would allow it: such Pods pay nothing for dinp."""
    before = counted(api, CALLS)
    assert before, "the metric has another name in this version"
    for pod in ordinary(namespace):
        answer = api.create_pod(namespace, pod)
        assert (201, False) == (answer.status, is_injected(answer)), answer.message
    assert before == counted(api, CALLS)


@pytest.mark.parametrize("namespace", ["kube-system", "kube-node-lease"])
def test_no_call_where_the_cluster_itself_runs(api: Api, namespace: str) -> None:
    """Not even for a Pod that asks."""
    before = counted(api, CALLS)
    assert api.create_pod(namespace, small_pod("sidecar")).status == 201
    assert before == counted(api, CALLS)


def test_nothing_fails_open(served: Installation) -> None:
    """Without dinp the API server counts a refusal, and no Pod that got in without its daemon."""
    before = counted(served.api, REQUESTS)
    with served.down():
        assert served.api.create_pod("annotated", small_pod("sidecar")).status == 500
        assert {"annotated.dinp.io": 1} == counted(served.api, REQUESTS) - before
        assert not counted(served.api, FAILED_OPEN)
