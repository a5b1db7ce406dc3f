"""obstacles: why a request cannot work on a Pod."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook import admission
from webhook.asking.rules import RULES
from webhook.planning import plan
from webhook.planning.plan import Action
from webhook.pods.pod import Pod
from webhook.reasons import Reason

OURS = build.container(
    "dinp-dind", image="docker:28-dind", volumeMounts=[build.mount("dinp-run", "/dinp")]
)


def outcome(pod: Pod) -> tuple[str, Reason]:
    """What becomes of a Pod whose namespace allows every mode."""
    result = admission.inject(pod, build.ANNOTATED_SHARED, build.DEFAULT)  # type: ignore[arg-type]  # a Pod is a dict
    return result.outcome, result.finding.reason


# Tuples, as the ids of tests are made of them: the order of a set differs from process to process.
NONE: tuple[str, ...] = ()
SIDECAR = ("sidecar",)
SERVICE = ("service",)
SHARED = ("daemonset", "service")
ALL = ("daemonset", "service", "sidecar")


@pytest.mark.parametrize("mode", ALL)
@pytest.mark.parametrize(
    ("reason", "modes", "spec"),
    [
        (Reason.WINDOWS, ALL, {"os": {"name": "windows"}}),
        (Reason.WINDOWS, ALL, {"nodeSelector": {"kubernetes.io/os": "windows"}}),
        (Reason.HOST_USERS, SIDECAR, {"hostUsers": False}),
        (Reason.HOST_USERS, NONE, {"hostUsers": True}),
        (Reason.HOST_NETWORK, SIDECAR, {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}),
        (Reason.DNS_POLICY, SERVICE, {"dnsPolicy": "Default"}),
        (Reason.DNS_POLICY, SERVICE, {"dnsPolicy": "None"}),
        (Reason.DNS_POLICY, NONE, {"dnsPolicy": "ClusterFirst"}),
        (Reason.DNS_POLICY, NONE, {"dnsPolicy": "ClusterFirstWithHostNet"}),
        (Reason.NAME_TAKEN, ALL, {"containers": [build.container(), build.container("dinp-dind")]}),
        (Reason.NAME_TAKEN, ALL, {"initContainers": [build.container("dinp-dind")]}),
        (Reason.SIDECAR_IN_PLACE, SHARED, {"initContainers": [OURS]}),
        (
            Reason.NAME_TAKEN,
            ALL,
            {"containers": [build.container(volumeMounts=[build.mount("work", "/dinp/x")])]},
        ),
        (
            Reason.NAME_TAKEN,
            frozenset(),
            {"containers": [build.container(volumeMounts=[build.mount("work", "/opt/dinp")])]},
        ),
        (Reason.NAME_TAKEN, ALL, {"volumes": [{"name": "dinp-storage", "hostPath": {"path": "/x"}}]}),
        (Reason.NAME_TAKEN, ALL, {"volumes": [{"name": "dinp-share-0", "emptyDir": {}}]}),
        (Reason.NAME_TAKEN, SHARED, {"volumes": [{"name": "dinp-storage", "emptyDir": {}}]}),
        (
            Reason.NAME_TAKEN,
            SIDECAR,
            {"volumes": [{"name": "dinp-certs", "secret": {
                "secretName": "dinp-client-tls", "defaultMode": 0o444, "brandNewField2028": 1,
            }}]},
        ),
        (Reason.NAME_TAKEN, NONE, {"containers": [build.container("dinp-client")]}),
    ],
    ids=str,
)  # fmt: skip
def test_obstacles(reason: Reason, modes: tuple[str, ...], spec: dict[str, Any], mode: str) -> None:
    """An explicit request that cannot work is denied with its reason; in other modes it works."""
    pod = build.asking(mode)
    pod["spec"] = {**pod["spec"], **spec}  # type: ignore[typeddict-item]  # fields of a PodSpec
    if mode in modes:
        assert ("denied", reason) == outcome(pod)
    else:
        assert outcome(pod)[0] == "mutated"


@pytest.mark.parametrize("mode", ALL)
def test_a_pod_of_a_fargate_profile(mode: str) -> None:
    """It would stay Pending with a privileged container, and no DaemonSet is beside it."""
    pod = build.asking(mode)
    metadata = pod["metadata"]
    assert metadata is not None
    metadata["labels"] = {"eks.amazonaws.com/fargate-profile": "ci"}
    expected = ("mutated", Reason.INJECTED) if mode == "service" else ("denied", Reason.FARGATE)
    assert expected == outcome(pod)


def with_host(value: str) -> Any:
    return build.container(env=[{"name": "DOCKER_HOST", "value": value}])


@pytest.mark.parametrize(
    ("transport", "cure", "value"),
    [
        (None, "", "tcp://localhost:2375"),
        (None, "tls", "localhost:2376"),
        (None, "dinp's daemon", "tcp://127.0.0.1:9999"),
        ("tls", "", "tcp://localhost:2376"),
        ("tls", "tcp", "tcp://localhost:2375"),
        ("unix", "tcp", "tcp://localhost:2375"),
        ("unix", "tls", "tcp://[::1]:2376"),
        ("daemonset", "dinp's daemon", "tcp://localhost:2376"),
        ("service", "dinp's daemon", "tcp://localhost:2375"),
    ],
)
def test_a_local_docker_host(transport: str | None, cure: str, value: str) -> None:
    """Another port than that of dinp's daemon: denied if the Pod asks, with a way that works; else left."""
    mode = transport if transport in SHARED else "sidecar"
    asked = {"dinp.io/transport": transport} if transport and mode == "sidecar" else {}
    pod: Any = build.asking(mode, with_host(value), build.container("other"), annotations=asked)
    result = admission.inject(pod, build.ANNOTATED_SHARED, build.DEFAULT)
    if not cure:
        assert Reason.INJECTED is result.finding.reason
        return
    assert ("denied", Reason.LOCAL_DOCKER_HOST) == (result.outcome, result.finding.reason)
    assert (
        result.finding.text.endswith(cure) or f"dinp.io/transport: {cure} " in result.finding.text
    )
    assert ("dinp.io/transport" in result.finding.text) == (cure in {"tcp", "tls"})


def test_a_local_docker_host_by_default() -> None:
    """Nobody asked for a daemon in this Pod: it is left, with the reason in its status."""
    pod: Any = build.pod(with_host("tcp://localhost:9999"))
    for path in ("/pods/inject/sidecar", "/pods/inject/service"):
        found = plan.decide(pod, RULES[path], build.DEFAULT)
        assert (Action.LEAVE, Reason.LOCAL_DOCKER_HOST) == (found.action, found.finding.reason)
        assert found.note_status


@pytest.mark.parametrize(
    ("taken", "transport", "port"),
    [
        (True, "tcp", 2375),
        (False, "tcp", 2376),
        (True, "tls", 2376),
        (False, "tls", 2375),
        (False, "unix", 2375),
        (False, "unix", 2376),
    ],
)
def test_a_port_that_is_taken(taken: bool, transport: str, port: int) -> None:
    """By whom declares the daemon's port or listens there; transport unix has none."""
    for fields in ({"ports": [{"containerPort": port}]}, {"args": [f"--port={port}"]}):
        pod = build.asking(
            "sidecar", build.container(**fields), annotations={"dinp.io/transport": transport}
        )
        expected = ("denied", Reason.PORT_TAKEN) if taken else ("mutated", Reason.INJECTED)
        assert expected == outcome(pod)
    assert ("mutated", Reason.INJECTED) == outcome(
        build.asking("service", build.container(ports=[{"containerPort": port}]))
    )


def test_host_network_without_its_dns_policy() -> None:
    """With hostNetwork, ClusterFirst falls back to the node's resolver."""
    assert ("denied", Reason.DNS_POLICY) == outcome(build.asking("service", hostNetwork=True))


@pytest.mark.parametrize("on_host", [False, True])
@pytest.mark.parametrize("policy", ["Default", "None", "ClusterFirst", "ClusterFirstWithHostNet"])
def test_the_advised_dns_policy_works(policy: str, on_host: bool) -> None:
    """It is none that the Pod has already, and with it the Pod gets its daemon."""
    pod = build.asking("service", hostNetwork=on_host, dnsPolicy=policy)
    result = admission.inject(pod, build.ANNOTATED_SHARED, build.DEFAULT)  # type: ignore[arg-type]  # a Pod is a dict
    if result.finding.reason is Reason.DNS_POLICY:
        advised = result.finding.text.rpartition("use dnsPolicy ")[2]
        again = build.asking("service", hostNetwork=on_host, dnsPolicy=advised)
        assert (policy != advised, "mutated") == (True, outcome(again)[0])
    else:
        assert result.outcome == "mutated"


@pytest.mark.parametrize("storage", ["pvc:cache", "emptydir"])
@pytest.mark.parametrize("fs_group", [None, 0, 1000])
def test_a_claim_and_an_fs_group(storage: str, fs_group: int | None) -> None:
    """The kubelet would change the owner of every image layer."""
    pod = build.asking(
        annotations={"dinp.io/storage": storage}, securityContext={"fsGroup": fs_group}
    )
    blocked = storage == "pvc:cache" and fs_group is not None
    assert ("denied" if blocked else "mutated") == outcome(pod)[0]


@pytest.mark.parametrize(
    ("reason", "mount"),
    [
        (Reason.SHARE_TAKEN, build.mount("work", "/tools/")),
        (Reason.INJECTED, build.mount("work", "/tool")),
    ],
)
def test_a_share_that_is_a_mount_already(reason: Reason, mount: Any) -> None:
    """The daemon sees the mount anyway."""
    container = build.container(volumeMounts=[mount])
    pod = build.asking("sidecar", container, annotations={"dinp.io/share": "/tools"})
    assert reason is outcome(pod)[1]


@pytest.mark.parametrize("name", ["dinp-cli", "dinp-seed-0"])
def test_an_init_container_of_the_users_under_a_name_of_dinps(name: str) -> None:
    """Taken for dinp's own, it would be the one that is to fill a volume, and does not."""
    container = build.container(
        volumeMounts=[build.mount("cli", "/usr/bin/docker")],
    )
    mode = "sidecar" if name == "dinp-seed-0" else "daemonset"
    pod = build.asking(
        mode,
        container,
        annotations={"dinp.io/share": "/share:seed"} if mode == "sidecar" else {},
        volumes=[build.host_path("cli", "/usr/bin/docker")],
        initContainers=[build.container(name, image="mine")],
    )
    assert ("denied", Reason.NAME_TAKEN) == outcome(pod)


@pytest.mark.parametrize(
    ("asked", "annotations", "name", "volume"),
    [
        ("sidecar", {}, "dinp-seed-1", "dinp-run"),
        ("sidecar", {"dinp.io/share": "/share:seed"}, "dinp-seed-0", "dinp-share-0"),
        ("sidecar", {}, "dinp-cli", "dinp-run"),
        ("daemonset", {}, "dinp-seed-0", "dinp-socket"),
    ],
)
def test_an_init_container_that_belongs_to_no_daemon_of_dinps(
    asked: str, annotations: dict[str, str], name: str, volume: str
) -> None:
    """It would run as it is, and go in the second pass: dinp's come after a dinp-dind, or as the CLI."""
    there = build.container(name, image="mine", volumeMounts=[build.mount(volume, "/r")])
    socket = {"name": volume, "hostPath": {"path": "/run/dinp/docker.sock", "type": "Socket"}}
    pod = build.asking(
        asked,
        annotations=annotations,
        volumes=[socket if volume == "dinp-socket" else {"name": volume, "emptyDir": {}}],
        initContainers=[there],
    )
    assert ("denied", Reason.NAME_TAKEN) == outcome(pod)


def test_a_volume_of_dinps_name_in_a_client() -> None:
    """A share's volume that the user mounts already would be mounted twice in the daemon."""
    container = build.container(volumeMounts=[build.mount("dinp-share-0", "/share")])
    pod = build.asking(
        "sidecar",
        container,
        annotations={"dinp.io/share": "/share"},
        volumes=[{"name": "dinp-share-0", "emptyDir": {}}],
    )
    result = admission.inject(pod, build.ANNOTATED, build.DEFAULT)  # type: ignore[arg-type]  # a Pod is a dict
    if result.outcome == "mutated":
        paths = [mount["mountPath"] for mount in build.dind(result.pod).get("volumeMounts") or ()]
        assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    ("taken", "name", "source"),
    [
        (True, "dinp-run", {"hostPath": {"path": "/"}}),
        (True, "dinp-socket", {"hostPath": {"path": "/"}}),
        (True, "dinp-storage", {"nfs": {"server": "s", "path": "/"}}),
        (True, "dinp-certs", {"secret": {"secretName": "s"}}),
        (False, "dinp-run", {"emptyDir": {"sizeLimit": "1Gi"}}),
        (False, "dinp-storage", {"persistentVolumeClaim": {"claimName": "cache"}}),
        (False, "dinp-certs", {"emptyDir": {"medium": "Memory"}}),
        (False, "dinp-config", {"configMap": {"name": "dockerd"}, "hostPath": None}),
    ],
)
def test_volumes_beside_a_dind_that_is_there(taken: bool, name: str, source: Any) -> None:
    """Only what dinp itself may have made for other annotations is made anew."""
    pod = build.asking(initContainers=[OURS], volumes=[{"name": name, **source}])
    assert (("denied", Reason.NAME_TAKEN) if taken else ("mutated", Reason.INJECTED)) == outcome(
        pod
    )


def test_mounts_of_a_dind_that_is_there_are_no_obstacle() -> None:
    """It is made anew without those at dinp's paths, and at those of shares."""
    mounts = [build.mount("dinp-run", "/dinp"), build.mount("x", "/dinp/x"), build.mount("x", "/t")]
    dind = build.container("dinp-dind", image="docker:28-dind", volumeMounts=mounts)
    pod = build.asking(
        annotations={"dinp.io/share": "/t"}, initContainers=[dind], volumes=[{"name": "x"}]
    )
    result = admission.inject(pod, build.ANNOTATED, build.DEFAULT)  # type: ignore[arg-type]  # a Pod is a dict
    found = {m["mountPath"]: m["name"] for m in build.dind(result.pod).get("volumeMounts") or ()}
    assert "/dinp/x" not in found
    assert found["/t"] == "dinp-share-0"


def test_an_earlier_pass_is_no_obstacle() -> None:
    """Volumes and containers that dinp added itself are in place, defaults of the API server too."""
    for mode in ALL:
        pod = build.with_socket(annotations={"dinp.io/inject": mode})
        first: Any = admission.inject(pod, build.ANNOTATED_SHARED, build.DEFAULT).pod  # type: ignore[arg-type]  # a Pod is a dict
        assert ("unchanged", Reason.ALREADY_DONE) == outcome(first)
