"""What people are told of any Pod is so, by the Pod that they get."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from tests.webhook import small_pods as build
from tests.webhook.small_pods import Case, Draw
from tests.webhook.test_properties import environment, every_pod, inject, many
from webhook import names
from webhook.planning import plan, socket_addresses
from webhook.planning.plan import Action, Plan
from webhook.planning.sidecar import transport_of
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, VolumeMount
from webhook.reasons import Finding, Reason

# Few volumes, paths and parts, so that they meet in most Pods.
_VOLUMES: dict[str, dict[str, Any]] = {
    "work": {"emptyDir": {}},
    "claim": {"persistentVolumeClaim": {"claimName": "claim", "readOnly": True}},
    "files": {"configMap": {"name": "files"}},
    "token": {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
}
_MOUNTS = st.builds(
    lambda name, path, part: {"name": name, "mountPath": path, **part},
    st.sampled_from(("work", "work", "work", *_VOLUMES)),
    st.sampled_from(("/work", "/src", "/home", "/tekton/x", "/etc/ssl/certs", "/etc", "/app/file")),
    st.sampled_from(
        [
            *({}, {}, {"readOnly": True}, {"subPath": "a"}, {"subPath": "a/b"}),
            {"subPathExpr": "$(X)"},
        ]
    ),
)
_LISTS = st.lists(_MOUNTS, min_size=1, max_size=3, unique_by=lambda mount: mount["mountPath"])


@st.composite
def _sharing(draw: Draw) -> Case:
    """Pods with a sidecar whose containers share volumes, and maybe an earlier pass's daemon."""
    names_ = ("init-permissions", "prepare"), ("build", "helper", "push")
    init, main = ([build.container(n, volumeMounts=draw(_LISTS)) for n in some] for some in names_)
    labels = draw(st.sampled_from([{}, {"job.runner.gitlab.com/pod": "x"}]))
    annotations = draw(st.sampled_from([{}, {"dinp.io/rootless": "true"}]))
    volumes = [{"name": name, **volume} for name, volume in _VOLUMES.items()]
    if draw(st.booleans()):
        daemon = build.dind(inject(build.asking(), build.ANNOTATED, build.DEFAULT).pod)
        mirrored = [mount for mount in draw(_LISTS) if "subPathExpr" not in mount]
        theirs = [*pods.mounts(daemon), *mirrored]
        init = [{**daemon, "volumeMounts": theirs}, *init]
        volumes += [{"name": name, "emptyDir": {}} for name in ("dinp-run", "dinp-storage")]
    fields: dict[str, Any] = {"initContainers": init, "volumes": volumes, "labels": labels}
    pod = build.asking("sidecar", *main, **fields, annotations=annotations)
    return pod, build.ANNOTATED, build.DEFAULT


every_sharing_pod = given(case=_sharing())


def injected(case: Case) -> tuple[Plan, Pod]:
    decided = plan.decide(*case)
    assume(decided.action is Action.INJECT)
    return decided, inject(*case).pod


def of(decided: Plan, *reasons: Reason) -> list[Finding]:
    """The sentences of these reasons about one container each."""
    clients = (warning for client in decided.clients for warning in client.warnings)
    assert decided.additions is not None
    return [one for one in (*decided.additions.warnings, *clients) if one.reason in reasons]


def by_path(container: Container) -> dict[str, VolumeMount]:
    return {pods.clean_path(mount["mountPath"]): mount for mount in pods.mounts(container)}


NOT_SHARED = (
    *(Reason.SUB_PATH_EXPR, Reason.SUB_PATH_FILE, Reason.SYSTEM_PATH),
    *(Reason.DAEMON_CONFIG_MOUNT, Reason.TRUST, Reason.CREDENTIALS),
)


@many
@every_sharing_pod
def test_what_is_called_unshared_is_unshared(case: Case) -> None:
    """The daemon has nothing of that container at that path; and where it is silent, it has."""
    decided, new = injected(case)
    daemon = by_path(build.dind(new))
    containers = {container["name"]: container for container in pods.containers(case[0])}
    told = {(one.container, path) for one in of(decided, *NOT_SHARED) for path in paths(one)}
    for client in decided.clients:
        for path, mount in by_path(containers[client.name]).items():
            if (client.name, path) in told:
                assert path not in daemon or part(mount) != part(daemon[path])
            elif not path.startswith("/tekton"):
                assert path in daemon


def part(mount: VolumeMount) -> tuple[str, str, str]:
    """What of which volume a mount shows."""
    return mount["name"], mount.get("subPath") or "", mount.get("subPathExpr") or ""


def paths(finding: Finding) -> list[str]:
    """The path that a sentence about a mount begins with."""
    assert finding.around is not None
    return re.findall(r"^: the (?:mount|volume) at (\S+)", finding.around[1])


@many
@every_sharing_pod
def test_the_daemon_has_the_volume_that_a_conflict_names(case: Case) -> None:
    """Of two volumes at one path the sentence names the container of the right one."""
    decided, new = injected(case)
    containers = {container["name"]: container for container in pods.containers(new)}
    for one in of(decided, Reason.MOUNT_CONFLICT):
        found = re.search(r"at (\S+) the daemon has the volume of container (\S+),", one.text)
        assert found is not None
        path, kept = found.groups()
        theirs, daemons = by_path(containers[kept])[path], by_path(build.dind(new))[path]
        assert part(theirs) == part(daemons)


@many
@every_pod
def test_who_is_said_to_use_another_daemon_does(case: Case) -> None:
    """Never of the socket that was migrated, an empty value, or the daemon's own address."""
    decided, new = injected(case)
    containers = {container["name"]: container for container in pods.containers(new)}
    for one in of(decided, Reason.USERS_DOCKER_HOST):
        container = containers[one.container]
        value = pods.env_value(container, "DOCKER_HOST")
        var = pods.env_var(container, "DOCKER_HOST")
        assert var is not None
        assert value or var.get("valueFrom")
        assert socket_addresses.path_of(value) not in {"/var/run/docker.sock", "/run/docker.sock"}
        if decided.mode == "sidecar" and transport_of(build.dind(new)) == "tcp":
            assert value != "tcp://localhost:2375"


@many
@every_pod
def test_who_is_said_to_have_a_daemon_has_one(case: Case) -> None:
    """By DOCKER_HOST or at the path of a socket; and some container has."""
    decided, new = injected(case)
    containers = {container["name"]: container for container in pods.containers(new)}
    given = [client for client in decided.clients if client.is_given]
    assert given
    for client in given:
        container = containers[client.name]
        mounted = {mount["name"] for mount in pods.mounts(container)}
        has_host = {"DOCKER_HOST"} <= environment(container).keys() and client.variables
        assert has_host or mounted & {names.RUN, names.SOCKET}
    if decided.finding.reason is Reason.MIGRATED:
        text = decided.finding.text.removeprefix("migrated ")
        assert {part.rpartition(" ")[2] for part in text.split(", ")} <= {c.name for c in given}
