"""mutation: a Plan carried out."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any, cast

import msgspec
import pytest

from tests import golden_cases
from tests.golden_cases import Case
from tests.webhook import small_pods as build
from webhook import __version__
from webhook.asking import config as configs
from webhook.asking.config import Config
from webhook.asking.rules import RULES
from webhook.mutation import mutate
from webhook.planning.plan import decide
from webhook.pods import bounds
from webhook.pods.pod import Pod, problem

EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"


def done(
    pod: Pod, path: str = "/pods/annotated/shared", config: Config = build.DEFAULT
) -> dict[str, Any]:
    result: Any = mutate(pod, decide(pod, RULES[path], config))
    return result  # type: ignore[no-any-return]  # a Pod is a dict


def status(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pod["metadata"]["annotations"]["dinp.io/status"])
    return found


@pytest.mark.parametrize(
    "pod",
    [
        build.pod(),
        build.asking("false"),
        build.asking("nonsense"),
        build.asking("sidecar", hostUsers=False),
    ],
)
def test_nothing_to_do_is_the_same_object(pod: Pod) -> None:
    """Not requested, opted out, denied: the Pod itself."""
    assert done(pod) is pod


def test_a_pod_that_is_left_is_told_why() -> None:
    """A controller's Pod shows its warnings to nobody: the reason stands in dinp.io/status, and once."""
    pod = build.asking("sidecar", build.container(image="docker:dind"))
    once: Any = done(pod)
    assert once["spec"] is pod["spec"]
    assert "own_daemon" == status(once)["skipped"]
    assert done(once) is once


@pytest.mark.parametrize("mode", ["sidecar", "daemonset", "service"])
def test_a_second_pass_is_the_same_object(mode: str) -> None:
    """What an earlier pass has done is found by its structure."""
    first = done(build.with_socket(annotations={"dinp.io/inject": mode}))
    again: Any = first
    assert done(again) is first


def test_without_the_status_it_is_found_too() -> None:
    """Idempotent by structure: a status that is lost, or an exported Pod's, changes nothing."""
    first = done(build.asking())
    del first["metadata"]["annotations"]["dinp.io/status"]
    again: Any = first
    assert done(again) is first


def test_status_says_what_was_done() -> None:
    """Mode, transport, version, what changed, warnings."""
    found = status(done(build.with_socket(annotations={"dinp.io/inject": "sidecar"})))
    assert found["version"] == __version__
    assert (found["mode"], found["transport"]) == ("sidecar", "tcp")
    assert found["changed"] == [
        "container build: /var/run/docker.sock, DOCKER_HOST, DOCKER_TLS_VERIFY"
    ]
    assert any("QoS" in note for note in found["notes"])
    assert "warnings" not in found
    assert "transport" not in status(done(build.asking("service")))


def test_status_says_why_nothing_was_done() -> None:
    """By a namespace's default only: the Pod is unchanged but for this."""
    pod = build.pod(hostNetwork=True)
    new = done(pod, "/pods/inject/sidecar")
    assert status(new)["skipped"] == "host_network"
    assert new["spec"] is pod["spec"]
    again: Any = new
    assert done(again, "/pods/inject/sidecar") is new


@pytest.mark.parametrize(
    ("kept", "there"),
    [
        (["x"], '{"warnings":["x"]}'),
        ([], '{"warnings":"x"}'),
        ([], '["x"]'),
        ([], "null"),
        ([], "not JSON"),
        ([], ""),
        ([], "[" * 100_000),
        ([], "1" * 5_000),
    ],
    ids=lambda value: str(value)[:16],
)
def test_an_earlier_status(kept: list[str], there: str) -> None:
    """What an earlier pass has said is kept; what is no status of ours is replaced."""
    asking = {"dinp.io/status": there, "dinp.io/odd": ""}
    found = status(done(build.asking(annotations=asking)))
    assert kept == found["warnings"][: len(kept)]
    assert len(found["warnings"]) == len(kept) + 1


def test_earlier_notes() -> None:
    """Kept, too, each once."""
    qos = status(done(build.asking()))["notes"]
    for there, expected in (({"notes": ["x", "x"]}, ["x", *qos]), ({"notes": qos}, qos)):
        again = build.asking(annotations={"dinp.io/status": json.dumps(there)})
        assert expected == status(done(again))["notes"]


def test_a_status_that_cannot_be_encoded() -> None:
    """A lone surrogate in a status that somebody wrote does not end in a 500."""
    there = '{"warnings":["\\ud800"]}'
    new = done(build.asking(annotations={"dinp.io/status": there}))
    assert new["metadata"]["annotations"]["dinp.io/status"].encode()


def test_the_mode_label() -> None:
    """For selectors and inventory; one that is wrong is put right."""
    pod = build.asking("service", labels={"dinp.io/mode": "mine", "a": "b"})
    assert done(pod)["metadata"]["labels"] == {"dinp.io/mode": "service", "a": "b"}


@pytest.mark.parametrize(
    ("expected", "there", "mode"),
    [
        ("work,dinp-run,dinp-storage,dinp-no-token", "work", "sidecar"),
        ("dinp-run,work,dinp-storage,dinp-no-token", " dinp-run, work,", "sidecar"),
        ("dinp-run,dinp-storage,dinp-no-token", "", "sidecar"),
        ("work", "work", "service"),
    ],
)
def test_the_autoscalers_volumes(expected: str, there: str, mode: str) -> None:
    """Where local volumes do not pin the node, dinp's emptyDirs do not either."""
    pod = build.asking(mode, annotations={EVICT: there})
    assert expected == done(pod)["metadata"]["annotations"][EVICT]
    assert EVICT not in done(build.asking(mode))["metadata"]["annotations"]


@pytest.mark.parametrize(("secrets", "mode"), [([{"name": "pull"}], "sidecar"), (None, "service")])
def test_pull_secret_of_the_config_file(secrets: list[Any] | None, mode: str) -> None:
    """For the images that dinp adds."""
    config = configs.parse(b"sidecar: {imagePullSecret: pull}")
    assert secrets == done(build.asking(mode), config=config)["spec"].get("imagePullSecrets")


def test_a_mount_is_replaced_in_its_place() -> None:
    """The others are the same objects, and the volume goes when nobody mounts it."""
    work = build.mount()
    mounts = [work, build.mount("socket", "/var/run/docker.sock"), build.mount("files", "/f")]
    pod = build.with_socket(
        build.container(volumeMounts=mounts),
        annotations={"dinp.io/inject": "sidecar"},
        volumes=[{"name": "work"}, {"name": "files"}],
    )
    new = done(pod)
    found = new["spec"]["containers"][0]["volumeMounts"]
    assert found[0] is work
    assert found[1] == build.mount("dinp-run", "/var/run/docker.sock", subPath="docker.sock")
    assert found[2] is mounts[2]
    assert "socket" not in {volume["name"] for volume in new["spec"]["volumes"]}


def test_a_volume_that_is_still_mounted_stays() -> None:
    """By a container that is no client."""
    mounts = [build.mount("socket", "/var/run/docker.sock")]
    pod = build.with_socket(
        build.container(volumeMounts=mounts),
        build.container("istio-proxy", volumeMounts=mounts),
        annotations={"dinp.io/inject": "service"},
    )
    new = done(pod)
    assert "socket" in {volume["name"] for volume in new["spec"]["volumes"]}
    assert new["spec"]["containers"][0]["volumeMounts"] == [
        {"name": "dinp-certs", "mountPath": "/dinp/certs", "readOnly": True}
    ]
    assert new["spec"]["containers"][1] is pod["spec"]["containers"][1]


def test_the_group() -> None:
    """Appended to supplementalGroups; fsGroup is never set."""
    pod = build.with_socket(
        annotations={"dinp.io/inject": "sidecar"}, securityContext={"supplementalGroups": [5]}
    )
    assert done(pod)["spec"]["securityContext"] == {"supplementalGroups": [5, 2375]}


def test_host_ip_is_declared_before_it_is_used() -> None:
    """The kubelet expands only what is declared before, wherever the user's variables stand."""
    env = [{"name": "DOCKER_HOST", "value": ""}, {"name": "DINP_HOST_IP", "value": "x"}]
    for there in (env, env[:1], env[1:], env[::-1]):
        (container,) = done(build.asking("daemonset", build.container(env=there)))["spec"][
            "containers"
        ]
        names = [var["name"] for var in container["env"]]
        assert names.index("DINP_HOST_IP") < names.index("DOCKER_HOST")


def test_a_deep_nest_in_a_field_that_is_copied() -> None:
    """A seed takes over its client's securityContext, however odd it is."""
    deep: Any = []
    for _ in range(100):
        deep = [deep]
    container = build.container(securityContext={"brandNewField2028": deep})
    pod = build.asking("sidecar", container, annotations={"dinp.io/share": "/s:seed"})
    seed = done(pod)["spec"]["initContainers"][1]
    assert seed["securityContext"]["brandNewField2028"] is deep


def test_a_status_has_an_end() -> None:
    """With a thousand containers it still fits into the 256 KiB that annotations have."""
    env = [{"name": "DOCKER_HOST", "value": f"tcp://{at}" + "x" * 5000} for at in range(500)]
    containers = [build.container(f"c{at}" * 20, env=[one]) for at, one in enumerate(env)]
    plain = [build.container(f"d{at}" * 40) for at in range(499)]
    new = done(build.asking("sidecar", *containers, *plain))
    found = status(new)
    assert 60_000 < sum(map(len, found["changed"])) <= bounds.STATUS
    assert 60_000 < sum(map(len, found["warnings"])) <= bounds.STATUS
    assert len(new["metadata"]["annotations"]["dinp.io/status"]) < 256 * 1024
    assert new is done(cast("Pod", new))


@pytest.mark.parametrize("there", [0, 100_000, 230_000, 255_000, 262_000])
def test_a_status_leaves_room_for_others(there: int) -> None:
    """What it says is counted as JSON writes it, and with all the other annotations of the Pod."""
    paths = [build.mount("socket", f"/{at}/" + "\x01" * 500) for at in range(60)]
    pod = build.with_socket(build.container(volumeMounts=paths), annotations={"x": "y" * there})
    new = done(pod, "/pods/migrate/sidecar")
    annotations = new["metadata"]["annotations"]
    assert sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) <= 256 * 1024
    assert json.loads(annotations.get("dinp.io/status", '{"mode": "sidecar"}'))["mode"] == "sidecar"


def test_a_status_that_is_too_long_for_ours() -> None:
    """It is nobody's, whatever it says, and is replaced."""
    there = json.dumps({"warnings": ["x"], "changed": ["y" * 1_000_000]})
    assert "warnings" not in status(done(build.asking(annotations={"dinp.io/status": there})))


@pytest.mark.parametrize("case", golden_cases.all_cases(), ids=lambda case: case.folder.name)
def test_a_plan_is_whole(case: Case) -> None:
    """A Plan that was stored, and is carried out elsewhere on an equal Pod, does the same."""
    pod = cast("Pod", case.pod)
    if problem(pod) is not None:
        return
    plan = decide(pod, case.rule, case.config)
    elsewhere = copy.deepcopy(pod)
    assert mutate(pod, plan) == mutate(elsewhere, pickle.loads(pickle.dumps(plan)))  # noqa: S301 - our own
    assert msgspec.json.encode(plan)  # and can be printed


@pytest.mark.parametrize("mounted", ["/elsewhere", "/share/x"])
def test_a_share_of_the_users_own(mounted: str) -> None:
    """The first pass takes it away already, so that the second one finds nothing to do."""
    container = build.container(volumeMounts=[build.mount("dinp-share-0", mounted)])
    pod = build.asking("sidecar", container, annotations={"dinp.io/share": "/share"})
    once = done(pod)
    assert done(cast("Pod", once)) is once
    (container,) = once["spec"]["containers"]
    assert ["/share"] == [
        m["mountPath"] for m in container["volumeMounts"] if m["name"] == "dinp-share-0"
    ]
