"""hands_off: whom a namespace's default does not reach, and that its owner is told."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.webhook import small_pods as build
from webhook.asking import config as configs
from webhook.asking.config import Config
from webhook.asking.rules import RULES
from webhook.planning.plan import Action, Plan, decide
from webhook.pods.pod import Pod
from webhook.pods.selectors import PodSelector
from webhook.reasons import Reason

SOCKET = [build.mount("docker", "/var/run/docker.sock")]
CONTROLLER = {"app.kubernetes.io/component": "jenkins-controller"}
JOB = {"workflows.argoproj.io/workflow": "w"}
INJECT, MIGRATE = "/pods/inject/sidecar", "/pods/migrate/sidecar"


def with_socket(pod: Pod) -> Pod:
    """The same Pod, whose first container mounts the node's socket."""
    first, *others = pod["spec"]["containers"]
    volumes = [build.host_path("docker", "/var/run/docker.sock")]
    containers = [{**first, "volumeMounts": SOCKET}, *others]
    return cast(
        "Pod", {**pod, "spec": {**pod["spec"], "containers": containers, "volumes": volumes}}
    )


def owned(pod: Pod, kind: str) -> Pod:
    metadata = {**(pod.get("metadata") or {}), "ownerReferences": [{"kind": kind, "name": "o"}]}
    return cast("Pod", {**pod, "metadata": metadata})


def plan(pod: Pod, path: str, config: Config = build.DEFAULT) -> Plan:
    return decide(pod, RULES[path], config)


def image(name: str, **fields: Any) -> Pod:
    return build.pod(build.container(image=name), **fields)


@pytest.mark.parametrize(
    ("expected", "path", "pod"),
    [
        (Reason.NEVER_INJECT, INJECT, build.pod(labels=CONTROLLER)),
        (Reason.NEVER_INJECT, MIGRATE, with_socket(build.pod(labels=CONTROLLER))),
        (Reason.NEVER_INJECT, INJECT, image("gitea/gitea")),
        (Reason.NODE_WATCHER, MIGRATE, with_socket(image("portainer/portainer-ce:2"))),
        (Reason.NODE_WATCHER, INJECT, with_socket(image("portainer/portainer-ce:2"))),
    ],
)
def test_who_is_left(expected: Reason, path: str, pod: Pod) -> None:
    """Left as it is, with a warning that names the way to a daemon, and a note in the Pod."""
    found = plan(pod, path)
    assert (Action.LEAVE, expected) == (found.action, found.finding.reason)
    assert (found.finding,) == found.warnings
    assert found.note_status
    assert "dinp.io/inject: sidecar" in found.finding.text[:250]
    socket = path == MIGRATE and expected is not Reason.NODE_WATCHER
    assert socket == ("keeps its mount of the node's Docker socket" in found.finding.text)


@pytest.mark.parametrize(
    ("path", "pod"),
    [
        (INJECT, owned(build.pod(), "DaemonSet")),
        (MIGRATE, with_socket(owned(build.pod(), "DaemonSet"))),
        (INJECT, owned(build.pod(labels=JOB), "DaemonSet")),
    ],
)
def test_pods_of_a_daemonset(path: str, pod: Pod) -> None:
    """Left in silence, as the API server sends none of them but those that ask."""
    found = plan(pod, path)
    assert (Action.LEAVE, Reason.DAEMONSET_POD) == (found.action, found.finding.reason)
    assert not found.warnings
    assert not found.note_status


@pytest.mark.parametrize(
    "pod",
    [
        build.pod(labels=CONTROLLER),
        image("portainer/portainer-ce"),
    ],
)
def test_nobody_is_told_under_migrate_without_a_socket(pod: Pod) -> None:
    """Such a Pod has nothing that could be migrated."""
    found = plan(pod, MIGRATE)
    assert (Action.LEAVE, Reason.NOT_REQUESTED) == (found.action, found.finding.reason)
    assert not found.warnings


@pytest.mark.parametrize(
    ("path", "pod"),
    [
        (INJECT, image("gitea/gitea", labels=JOB)),
        (INJECT, image("traefik")),
        (MIGRATE, with_socket(image("traefik", labels=JOB))),
        (MIGRATE, with_socket(image("gitlab/gitlab-runner"))),
        (MIGRATE, with_socket(image("app", labels=JOB, hostPID=True, hostNetwork=False))),
        (INJECT, image("gitea/gitea", annotations={"dinp.io/inject": "sidecar"})),
        (MIGRATE, with_socket(image("traefik", annotations={"dinp.io/inject": "sidecar"}))),
        (INJECT, owned(build.pod(annotations={"dinp.io/inject": "sidecar"}), "DaemonSet")),
    ],
)
def test_who_is_not(path: str, pod: Pod) -> None:
    """Jobs of CI systems, watchers under inject, managers that use the socket, and who asks."""
    assert plan(pod, path).action is Action.INJECT


def test_rows_of_the_config_file() -> None:
    """A row may hold for inject alone, and needs neither a name nor a reason."""
    row = PodSelector(match_labels={"role": "control"})
    pod = with_socket(build.pod(labels={"role": "control"}))
    for path in (INJECT, MIGRATE):
        found = plan(pod, path, Config(never_inject=(row,)))
        assert found.finding.reason is Reason.NEVER_INJECT
    inject_alone = PodSelector(match_labels={"role": "control"}, migrate=False)
    found = plan(pod, MIGRATE, Config(never_inject=(inject_alone,)))
    assert found.finding.reason is Reason.MIGRATED
    watcher = PodSelector(images=("golang",))
    found = plan(pod, MIGRATE, Config(node_watchers=(watcher,)))
    assert found.finding.reason is Reason.NODE_WATCHER


def test_who_has_a_daemon_keeps_it() -> None:
    """A dinp-dind of an earlier pass is renewed, though a row is new that names the Pod."""
    dind = build.container("dinp-dind", volumeMounts=[build.mount("dinp-run", "/dinp")])
    pod = image("gitea/gitea", initContainers=[{**dind, "image": build.DEFAULT.sidecar.image}])
    assert plan(pod, INJECT).action is Action.INJECT


def whole(path: str, **fields: Any) -> Pod:
    """A Pod with a directory of the node at /host."""
    container = build.container(volumeMounts=[build.mount("run", "/host")], **fields)
    return build.pod(container, volumes=[build.host_path("run", path)])


VARIABLE = [{"name": "DOCKER_HOST", "value": "unix:///host/run/docker.sock"}]


@pytest.mark.parametrize(
    ("expected", "pod"),
    [
        (Reason.RUN_DIRECTORY_ONLY, whole("/run")),
        (Reason.RUN_DIRECTORY_ONLY, whole("/var/run/")),
        (Reason.RUN_DIRECTORY_ONLY, whole("/", env=VARIABLE)),
        (Reason.NOT_REQUESTED, whole("/")),
        (Reason.NOT_REQUESTED, whole("/", env=[{"name": "A", "value": "/elsewhere/docker.sock"}])),
        (Reason.NOT_REQUESTED, whole("/var/lib/docker")),
        (Reason.NOT_REQUESTED, whole("/data")),
        (Reason.NOT_REQUESTED, owned(whole("/run"), "DaemonSet")),
    ],
)
def test_a_directory_that_holds_the_socket(expected: Reason, pod: Pod) -> None:
    """Migrate does nothing with it, and says so where Docker's socket is meant."""
    found = plan(pod, MIGRATE)
    assert (Action.LEAVE, expected) == (found.action, found.finding.reason)
    assert ("DOCKER_HOST points there" in found.finding.text) == (
        "env" in pod["spec"]["containers"][0] and expected is Reason.RUN_DIRECTORY_ONLY
    )


def test_rows_without_a_name_are_told_by_their_place() -> None:
    """Who has ten of them finds the one that holds; and of a label nobody says that it is an image."""
    file = "[{images: [nobody]}, {matchLabels: {tidies: disks}, because: tidies up disks}]"
    pod = with_socket(build.pod(labels={"tidies": "disks"}))
    for table in ("neverInject", "nodeWatchers"):
        config = configs.parse(f"{table}: {file}".encode())
        finding = plan(pod, MIGRATE, config).finding
        assert finding.text.endswith(f"that is row 2 of {table}")
        assert "this Pod tidies up disks" in finding.text
