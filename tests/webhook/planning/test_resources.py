"""resources: what the daemon requests and is limited to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook import admission
from webhook.asking import config as configs
from webhook.planning import resources
from webhook.reasons import Reason

REQUESTS = {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "1Gi"}
LIMIT_RANGER = {"kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu"}


@pytest.mark.parametrize(
    ("requests", "limits", "asked"),
    [
        (REQUESTS, None, {}),
        ({**REQUESTS, "cpu": "2"}, None, {"requests": "cpu=2"}),
        (REQUESTS, {"cpu": "2"}, {"limits": "cpu=2"}),
        # A default request gives way to a limit that is asked for.
        ({**REQUESTS, "cpu": "50m"}, {"cpu": "50m"}, {"limits": "cpu=50m"}),
        ({**REQUESTS, "cpu": "1"}, {"cpu": "1000m"}, {"requests": "cpu=1", "limits": "cpu=1000m"}),
    ],
)
def test_requests_are_always_explicit(
    requests: dict[str, str], limits: dict[str, str] | None, asked: dict[str, str]
) -> None:
    """Limits where they are asked for."""
    found = resources.daemon_resources(build.pod(), build.settings(**asked))
    expected = (
        {"requests": requests} if limits is None else {"requests": requests, "limits": limits}
    )
    assert expected == found


def test_requests_over_limits_are_told() -> None:
    """Where both are the Pod's own, nobody can say which was meant."""
    settings = build.settings(requests="cpu=2", limits="cpu=1")
    expected = Reason.REQUEST_OVER_LIMIT.say(resource="cpu", request="2", limit="1")
    assert expected == resources.daemon_resources(build.pod(), settings)


def test_a_limit_range_is_at_work() -> None:
    """Its defaults for small containers would cap the daemon."""
    pod = build.pod(annotations=LIMIT_RANGER)
    expected = {"requests": REQUESTS, "limits": {"cpu": "2", "memory": "4Gi"}}
    assert expected == resources.daemon_resources(pod, build.settings())
    asked = build.settings(limits="memory=8Gi")
    expected = {"requests": REQUESTS, "limits": {"cpu": "2", "memory": "8Gi"}}
    assert expected == resources.daemon_resources(pod, asked)


@pytest.mark.parametrize("section", ["containers", "initContainers"])
def test_another_container_limits_ephemeral_storage(section: str) -> None:
    """The sum bounds the Pod, emptyDirs included."""
    limited = build.container("a", resources={"limits": {"ephemeral-storage": "1Gi"}})
    pod = build.pod(build.container("b"), initContainers=[limited])
    if section == "containers":
        pod = build.pod(limited)
    found: Any = resources.daemon_resources(pod, build.settings())
    assert found["limits"] == {"ephemeral-storage": "20Gi"}


def test_pod_level_resources_bound_all() -> None:
    """With spec.resources the daemon has none of its own; an empty one is none."""
    pod = build.pod(resources={"limits": {"cpu": "4"}})
    assert resources.daemon_resources(pod, build.settings()) is None
    assert resources.qos_changed(pod, None) is None
    pod = build.pod(resources={})
    assert resources.daemon_resources(pod, build.settings()) is not None


FULL = {"limits": {"cpu": 1, "memory": "1Gi"}}


@pytest.mark.parametrize(
    ("expected", "of"),
    [
        ("BestEffort", [None]),
        ("BestEffort", [{}, {"requests": None, "limits": {}}]),
        ("BestEffort", [{"requests": {"cpu": "0"}}]),
        ("BestEffort", [{"requests": {"ephemeral-storage": "1Gi"}}]),
        ("BestEffort", [{"requests": {"cpu": "nonsense"}}]),
        ("Burstable", [{"requests": {"cpu": "1"}}]),
        ("Burstable", [{"limits": {"cpu": "1"}}]),
        ("Burstable", [FULL, None]),
        ("Burstable", [{**FULL, "requests": {"cpu": "500m"}}]),
        ("Guaranteed", [FULL]),
        ("Guaranteed", [FULL, {**FULL, "requests": {"cpu": "1000m", "memory": "1024Mi"}}]),
        ("Guaranteed", [{**FULL, "requests": {"ephemeral-storage": "1Gi"}}]),
    ],
)
def test_qos_class(expected: str, of: list[Any]) -> None:
    """As the API server computes it."""
    containers = [build.container(str(at), resources=one) for at, one in enumerate(of)]
    assert expected == resources.qos_class(containers)


@pytest.mark.parametrize(
    ("old", "new", "there", "limits"),
    [
        ("BestEffort", "Burstable", None, {}),
        ("Guaranteed", "Burstable", FULL, {}),
        ("Guaranteed", None, FULL, {"requests": "cpu=1,memory=1Gi", "limits": "cpu=1,memory=1Gi"}),
        ("Burstable", None, {"requests": {"cpu": "1"}}, {}),
    ],
)
def test_a_changed_qos_class_is_told(
    old: str, new: str | None, there: Any, limits: dict[str, str]
) -> None:
    """In the status alone where nobody chose the old one; and an unchanged one is not."""
    pod = build.pod(build.container(resources=there))
    daemon: Any = resources.daemon_resources(pod, build.settings(**limits))
    found = resources.qos_changed(pod, daemon)
    told = Reason.QOS_NOTED if old == "BestEffort" else Reason.QOS_CHANGED
    assert (None if new is None else told) == (found and found.reason)
    assert found is None or (f"from {old} to {new}" in found.text)
    assert found is None or ("keep it" in found.text) == (old == "Guaranteed")


def test_limits_of_the_config_file() -> None:
    """Explicit too, and a default request gives way to them."""
    config = configs.parse(b"sidecar: {limits: {memory: 128Mi}, requests: {memory: 1Gi}}")
    found = resources.daemon_resources(build.pod(), build.settings(config))
    assert found == {"requests": {"memory": "128Mi"}, "limits": {"memory": "128Mi"}}


def _client(name: str, **resources: dict[str, str]) -> Any:
    return build.container(name, resources=resources)


CLIENT = {"requests": "client", "limits": "client"}


@pytest.mark.parametrize(
    ("requests", "limits", "clients"),
    [
        ({**REQUESTS, "cpu": "2"}, {"cpu": "2"}, [_client("a", limits={"cpu": "2"})]),
        (
            {**REQUESTS, "cpu": "1500m", "memory": "3Gi"},
            None,
            [
                _client("a", requests={"cpu": "1", "memory": "3Gi"}),
                _client("b", requests={"cpu": "1500m", "memory": "2048Mi"}),
            ],
        ),
        # A client's request gives way to the limit that another one has.
        (
            {**REQUESTS, "cpu": "2"},
            {"cpu": "2"},
            [_client("a", requests={"cpu": "3"}), _client("b", limits={"cpu": "2"})],
        ),
        (REQUESTS, None, [_client("a", requests={"example.com/gpu": "1", "cpu": "nonsense"})]),
        (REQUESTS, None, [build.container("a")]),
    ],
)
def test_those_of_the_clients(
    requests: dict[str, str], limits: dict[str, str] | None, clients: list[Any]
) -> None:
    """For each resource the largest; nothing of what else a container may have."""
    found = resources.daemon_resources(build.pod(*clients), build.settings(**CLIENT), clients)
    expected = {"requests": requests, **({"limits": limits} if limits else {})}
    assert expected == found


@pytest.mark.parametrize(
    ("says", "asked", "client"),
    [
        ([], CLIENT, _client("a", limits={"cpu": "1", "memory": "1Gi"})),
        ([], {}, build.container("a")),
        (
            ["has requests of cpu, so"],
            {"requests": "client"},
            _client("a", requests={"memory": "1Gi"}),
        ),
        (
            ["has requests of cpu nor memory, so", "has limits of any resource, so"],
            CLIENT,
            build.container("a"),
        ),
        # A limit of memory alone is usual; there is none in the config file that would count instead.
        ([], {"limits": "client"}, _client("a", limits={"memory": "1Gi"})),
    ],
)
def test_nothing_to_take(says: list[str], asked: dict[str, str], client: Any) -> None:
    """A warning says what no client has, where something else counts instead of it."""
    found = [str(one) for one in resources.nothing_to_take(build.settings(**asked), [client])]
    assert len(says) == len(found)
    for one, line in zip(says, found, strict=True):
        assert one in line


def test_clients_in_the_config_file() -> None:
    """The file may say client, too; where no client has any, the defaults count."""
    config = configs.parse(b"sidecar: {requests: client, limits: client}")
    client = _client("a", limits={"cpu": "4", "memory": "1Gi"})
    found = resources.daemon_resources(build.pod(client), build.settings(config), [client])
    same = {"cpu": "4", "memory": "1Gi"}
    assert found == {"requests": {**REQUESTS, **same}, "limits": same}
    named = build.settings(config, requests="cpu=3", limits="cpu=3")
    expected = {"requests": {**REQUESTS, "cpu": "3"}, "limits": {"cpu": "3"}}
    assert expected == resources.daemon_resources(build.pod(client), named, [client])


def test_clients_of_an_earlier_pass_count() -> None:
    """Under the migrate label a later pass has other clients: those that have the node's socket now."""
    socket = [build.mount("socket", "/var/run/docker.sock")]
    large, little = {"cpu": "4", "memory": "4Gi"}, {"cpu": "1", "memory": "1Gi"}
    big = build.container("big", volumeMounts=socket, resources={"limits": large})
    small = build.container("small", volumeMounts=socket, resources={"limits": little})
    asked = {f"dinp.io/{field}": "client" for field in ("requests", "limits")}
    pod: Any = build.with_socket(big, annotations=asked)
    first: Any = admission.inject(pod, build.MIGRATE_SIDECAR, build.DEFAULT).pod
    other: Any = build.with_socket(small)
    spec = first["spec"]
    both = {
        **first,
        "spec": {
            **spec,
            "containers": [*spec["containers"], *other["spec"]["containers"]],
            "volumes": [*spec["volumes"], *other["spec"]["volumes"]],
        },
    }
    second: Any = admission.inject(both, build.MIGRATE_SIDECAR, build.DEFAULT)
    assert second.operations
    resources_: list[Any] = [build.dind(one).get("resources") for one in (first, second.pod)]
    assert resources_[0] == resources_[1]
    assert large == resources_[0]["limits"]
