"""plan: what is to be done, before anything is done."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook import admission
from webhook.asking import config as configs
from webhook.asking.config import Config
from webhook.asking.rules import RULES, Mode
from webhook.planning.plan import Action, Plan, decide
from webhook.pods import bounds
from webhook.pods.pod import Container, Pod
from webhook.reasons import Reason


def plan(pod: Pod, path: str = "/pods/annotated/shared", config: Config = build.DEFAULT) -> Plan:
    return decide(pod, RULES[path], config)


def warned(found: Plan) -> set[Reason]:
    return {warning.reason for warning in found.warnings}


SOCKET = [build.mount("socket", "/var/run/docker.sock")]


@pytest.mark.parametrize(
    ("action", "reason", "annotations"),
    [
        (Action.DENY, Reason.BAD_VALUE, {"dinp.io/inject": "on"}),
        (Action.DENY, Reason.BAD_VALUE, {"dinp.io/inject": "sidecar", "dinp.io/storage": "x"}),
        (Action.DENY, Reason.SIDECAR_ONLY, {"dinp.io/inject": "service", "dinp.io/storage": ""}),
        (Action.DENY, Reason.UNKNOWN_CONTAINER, {"dinp.io/inject": "sidecar", "dinp.io/containers": "x"}),
        (Action.DENY, Reason.IMAGE_NOT_ALLOWED, {"dinp.io/inject": "sidecar", "dinp.io/image": "x"}),
        (Action.DENY, Reason.FLAG_NOT_ALLOWED, {"dinp.io/inject": "sidecar", "dinp.io/dockerd-args": "--host=x"}),
        (
            Action.DENY,
            Reason.REQUEST_OVER_LIMIT,
            {"dinp.io/inject": "sidecar", "dinp.io/requests": "cpu=2", "dinp.io/limits": "cpu=1"},
        ),
        (Action.LEAVE, Reason.OPTED_OUT, {"dinp.io/inject": "false"}),
        (Action.LEAVE, Reason.NOT_REQUESTED, {"dinp.io/storage": "nonsense"}),
        (Action.INJECT, Reason.INJECTED, {"dinp.io/inject": "sidecar"}),
    ],
)  # fmt: skip
def test_what_becomes_of_a_request(
    action: Action, reason: Reason, annotations: dict[str, str]
) -> None:
    """Wrong is denied, none is left, good is injected."""
    found = plan(build.pod(annotations=annotations))
    assert (action, reason) == (found.action, found.finding.reason)
    assert (action is Action.INJECT) == (found.additions is not None)


LIKE_A_DAEMON: list[dict[str, Any]] = [
    {"image": "docker:29-dind"},
    {"env": [{"name": "DOCKER_IN_DOCKER_ENABLED", "value": "true"}]},
    {"command": ["sh", "-c", "[ -S /var/run/docker.sock ] || dockerd &"]},
]
SHARED_RULES = ("/pods/inject/service", "/pods/migrate/daemonset", "/pods/migrate/service")


@pytest.mark.parametrize("fields", LIKE_A_DAEMON)
@pytest.mark.parametrize("path", ["/pods/inject/sidecar", "/pods/migrate/sidecar"])
def test_a_client_that_looks_like_a_daemon_stays_one(path: str, fields: dict[str, Any]) -> None:
    """A dinp before this one gave it dinp's socket instead of the node's: no other daemon now."""
    pod: Any = build.with_socket(build.container(volumeMounts=SOCKET))
    again: Any = admission.inject(pod, RULES[path], Config()).pod
    (client,) = again["spec"]["containers"]
    env = [*client["env"], *fields.get("env", ())]
    again["spec"]["containers"] = [{**client, **fields, "env": env}]
    twice = admission.inject(again, RULES["/pods/inject/sidecar"], Config())
    assert ("unchanged", Reason.ALREADY_DONE) == (twice.outcome, twice.finding.reason)


@pytest.mark.parametrize("fields", LIKE_A_DAEMON)
@pytest.mark.parametrize("path", ["/pods/inject/sidecar", "/pods/migrate/sidecar", *SHARED_RULES])
def test_a_daemon_that_mounts_the_socket_is_one(path: str, fields: dict[str, Any]) -> None:
    """GitLab and Jenkins put every volume into every container, also into that of the daemon."""
    daemon = build.container("daemon", volumeMounts=SOCKET, **fields)
    pod: Any = build.with_socket(build.container(volumeMounts=SOCKET), daemon)
    found = plan(pod, path)
    assert (Action.LEAVE, Reason.OWN_DAEMON) == (found.action, found.finding.reason)
    assert found.note_status


@pytest.mark.parametrize("path", ["/pods/annotated", "/pods/inject/sidecar"])
def test_a_command_that_cannot_be_read(path: str) -> None:
    """One that names a daemon may start it: the Pod is left, asked for or not. Any other is a warning."""
    mode = "sidecar" if path == "/pods/annotated" else None
    pod = build.pod(
        build.container(command=["sh", "-c", "echo 'dockerd"]),
        annotations={"dinp.io/inject": mode} if mode else {},
    )
    left = plan(pod, path)
    assert (Action.LEAVE, Reason.UNREAD_COMMAND) == (left.action, left.finding.reason)
    assert left.note_status
    env = [{"name": "ENTRYPOINT_OPTIONS", "value": "make"}]
    done = plan(build.asking("sidecar", build.container(env=env)))
    assert Action.INJECT is done.action
    assert Reason.UNREAD_VARIABLE in warned(done)


OTHERS = {"name": "others", "hostPath": {"path": "/run/engine/docker.sock"}}


@pytest.mark.parametrize("mode", ["sidecar", "daemonset", "service"])
def test_somebody_elses_socket(mode: str) -> None:
    """Left under migrate, alone or beside the node's own; who asks for it means this socket, too."""
    other = build.container("other", volumeMounts=[build.mount("others", "/var/run/docker.sock")])
    alone = build.pod(other, volumes=[OTHERS])
    left = plan(alone, f"/pods/migrate/{mode}")
    assert (Action.LEAVE, Reason.OTHERS_SOCKET) == (left.action, left.finding.reason)
    assert left.note_status
    both: Any = build.with_socket(build.container(volumeMounts=SOCKET), other)
    both["spec"]["volumes"].append(OTHERS)
    done = plan(both, f"/pods/migrate/{mode}")
    assert Action.INJECT is done.action
    assert ["build"] == [client.name for client in done.clients]
    assert Reason.OTHERS_SOCKET_LEFT in warned(done)
    once: Any = admission.inject(both, RULES[f"/pods/migrate/{mode}"], Config()).pod
    assert [] == admission.inject(once, RULES[f"/pods/migrate/{mode}"], Config()).operations
    asked = plan(build.asking(mode, other, volumes=[OTHERS]))
    assert Reason.MIGRATED is asked.finding.reason


def test_what_was_a_builder_is_no_node_agent_later() -> None:
    """A monitoring agent keeps the socket beside it, and the builder's own signals have gone."""
    agent = build.container("agent", volumeMounts=SOCKET, command=["docker", "system", "prune"])
    builder = build.container(image="docker:28", volumeMounts=SOCKET, command=["docker", "build"])
    pod: Any = build.with_socket(
        builder, agent, annotations={"dinp.io/containers": "build"}, hostPID=True
    )
    once = admission.inject(pod, RULES["/pods/migrate/sidecar"], Config())
    assert "mutated" == once.outcome, once.finding
    again: Any = once.pod
    twice = admission.inject(again, RULES["/pods/migrate/sidecar"], Config())
    assert "unchanged" == twice.outcome, twice.finding


@pytest.mark.parametrize("path", ["/pods/annotated", "/pods/inject/sidecar"])
def test_a_shared_daemon_must_be_allowed(path: str) -> None:
    """A Pod cannot grant it to itself."""
    found = plan(build.asking("daemonset"), path)
    assert (Action.DENY, Reason.SHARED_DAEMON_NOT_ALLOWED) == (found.action, found.finding.reason)


@pytest.mark.parametrize(
    ("action", "note", "path"),
    [
        (Action.LEAVE, True, "/pods/inject/sidecar"),
        (Action.LEAVE, True, "/pods/migrate/sidecar"),
        (Action.DENY, False, "/pods/annotated"),
    ],
)
def test_what_cannot_work(action: Action, note: bool, path: str) -> None:
    """Denied when the Pod asks, left with a note when its namespace does."""
    annotations = {"dinp.io/inject": "sidecar"} if action is Action.DENY else {}
    image = build.container(image="docker:cli", volumeMounts=SOCKET)
    found = plan(build.with_socket(image, annotations=annotations, hostUsers=False), path)
    assert (action, Reason.HOST_USERS) == (found.action, found.finding.reason)
    assert note == found.note_status
    assert ({Reason.HOST_USERS} if note else set()) == warned(found)


def test_migrate_is_for_pods_with_the_socket() -> None:
    """Without it nothing happens; with it, to the containers that mount it."""
    found = plan(build.pod(), "/pods/migrate/sidecar")
    assert (Action.LEAVE, Reason.NOT_REQUESTED) == (found.action, found.finding.reason)
    pod = build.with_socket(
        build.container("build", image="docker:cli", volumeMounts=SOCKET), build.container("lint")
    )
    found = plan(pod, "/pods/migrate/sidecar")
    assert (Action.INJECT, Reason.MIGRATED) == (found.action, found.finding.reason)
    assert str(found.finding) == "migrated /var/run/docker.sock in container build"
    assert ["build"] == [client.name for client in found.clients]


def test_node_agents_are_left_under_migrate() -> None:
    """They want the node's own containers; by annotation they get what they ask for."""
    fields: dict[str, Any] = {"hostPID": True, "volumes": [build.host_path("root", "/")]}
    agent = build.container(volumeMounts=[*SOCKET, build.mount("root", "/host", readOnly=True)])
    found = plan(build.with_socket(agent, **fields), "/pods/migrate/sidecar")
    assert (Action.LEAVE, Reason.NODE_AGENT) == (found.action, found.finding.reason)
    assert {Reason.NODE_AGENT} == warned(found)
    assert "hostPID" in str(found.finding)
    asking = build.with_socket(agent, annotations={"dinp.io/inject": "sidecar"}, **fields)
    assert plan(asking, "/pods/migrate/sidecar").action is Action.INJECT


def test_an_unsure_verdict_is_told() -> None:
    """Migrated as the namespace asks, and how to opt out."""
    pod = build.with_socket(build.container("main", image="app", volumeMounts=SOCKET))
    assert Reason.UNSURE in warned(plan(pod, "/pods/migrate/sidecar"))


def test_a_daemon_of_its_own() -> None:
    """An admitted no-op with a warning, even when the Pod asks."""
    for pod in (build.asking("sidecar", build.container(image="docker:27-dind")),):
        found = plan(pod)
        assert (Action.LEAVE, Reason.OWN_DAEMON) == (found.action, found.finding.reason)
        assert {Reason.OWN_DAEMON} == warned(found)
    client = build.container(image="docker:27-dind", command=["cat"])
    assert plan(build.asking("sidecar", client)).action is Action.INJECT


PODS = [build.container("build"), build.container("istio-proxy"), build.container("test")]


@pytest.mark.parametrize(
    ("expected", "named", "labels"),
    [
        (["prepare", "build", "test"], None, {}),
        (["build"], "build", {}),
        (["istio-proxy"], "istio-proxy", {}),
        (["prepare", "test"], "test,prepare", {}),
        (["build"], "build,nobody", {}),
        (["build"], "build,nobody", {"tekton.dev/taskRun": "r"}),
        (Reason.UNKNOWN_CONTAINER, "nobody", {}),
        (Reason.NO_CONTAINER, "nobody", {"tekton.dev/taskRun": "r"}),
        (Reason.NO_CONTAINER, "nobody", {"jenkins": "slave", "jenkins/label": "a"}),
    ],
)
def test_which_containers(
    expected: list[str] | Reason, named: str | None, labels: dict[str, str]
) -> None:
    """All but meshes', or those that are named; a wrong name is told, and refused only if all are wrong.

    Annotations of Tekton's and Jenkins' Pods come from a parent, so there nothing is refused.
    """
    annotations = {} if named is None else {"dinp.io/containers": named}
    prepare = build.container("prepare")
    found = plan(
        build.asking(
            "sidecar", *PODS, annotations=annotations, labels=labels, initContainers=[prepare]
        )
    )
    if isinstance(expected, Reason):
        assert expected is found.finding.reason
    else:
        assert expected == [client.name for client in found.clients]
        assert (Reason.MISSING_CONTAINERS in warned(found)) == ("nobody" in (named or ""))


def test_dinps_own_containers_are_never_clients() -> None:
    """Not even by name: the daemon's container never gets client variables."""
    first = build.asking(
        labels={"tekton.dev/taskRun": "r"}, annotations={"dinp.io/containers": "build,dinp-dind"}
    )
    dind = build.container("dinp-dind", volumeMounts=[build.mount("dinp-run", "/dinp")])
    first["spec"]["initContainers"] = [dind]
    assert "dinp-dind" not in {client.name for client in plan(first).clients}


def test_an_explicit_request_without_an_eligible_container() -> None:
    """What was asked for and is not done has a reason that does not deny the asking."""
    found = plan(build.asking("sidecar", build.container("istio-proxy")))
    assert found.action is not Action.INJECT
    assert found.finding.reason is not Reason.NOT_REQUESTED


RUNS = build.container(args=["docker", "run", "-v", "/src:/src", "golang"])


@pytest.mark.parametrize(
    ("reason", "there", "pod", "config"),
    [
        (Reason.BIND_MOUNTS_SHARED, True, build.asking("daemonset", RUNS), ""),
        (Reason.BIND_MOUNTS_SHARED, False, build.asking("daemonset"), ""),
        (Reason.BIND_MOUNTS_SHARED, False, build.asking("sidecar", RUNS), ""),
        (Reason.PVC_SHARED, True, build.asking(annotations={"dinp.io/storage": "pvc:a"}), ""),
        (Reason.PVC_SHARED, False, build.asking(), ""),
        (Reason.UNKNOWN_ANNOTATION, True, build.asking(annotations={"dinp.io/x": ""}), ""),
        (
            Reason.SOCKET_LEFT,
            True,
            build.with_socket(
                build.container(),
                build.container("istio-proxy", volumeMounts=SOCKET),
                annotations={"dinp.io/inject": "sidecar"},
            ),
            "",
        ),
    ],
    ids=range(7),
)
def test_warnings(reason: Reason, there: bool, pod: Pod, config: str) -> None:
    """What somebody should know, and only where it is so."""
    found = plan(pod, config=configs.parse(config.encode()))
    assert found.action is Action.INJECT
    assert there == (reason in warned(found))


def exported(annotations: dict[str, str], *containers: Container, **spec: Any) -> Any:
    """A Pod that dinp has seen, as somebody applies it again."""
    pod: Any = build.asking("sidecar", *containers, annotations=annotations, **spec)
    return admission.inject(pod, build.ANNOTATED, build.DEFAULT).pod


def asking(pod: Any, **annotations: str) -> Any:
    """`pod` with other annotations, named without dinp.io/."""
    named = {f"dinp.io/{name}": value for name, value in annotations.items()}
    kept = {**pod["metadata"]["annotations"], **named}
    return {**pod, "metadata": {**pod["metadata"], "annotations": kept}}


@pytest.mark.parametrize("there", ["tcp", "tls", "unix"])
@pytest.mark.parametrize("asked", ["tcp", "tls", "unix"])
def test_another_transport_is_asked_for(there: str, asked: str) -> None:
    """An exported Pod's daemon and clients come to be as if the transport had been asked at first."""
    pod = exported({"dinp.io/transport": there})
    again: Any = admission.inject(asking(pod, transport=asked), build.ANNOTATED, build.DEFAULT).pod
    first = exported({"dinp.io/transport": asked})
    (client,), (expected,) = again["spec"]["containers"], first["spec"]["containers"]
    left = {"TESTCONTAINERS_HOST_OVERRIDE"}  # the same for all of them, so nobody takes it away
    assert {**build.env(client), **build.env(expected)} == build.env(client)
    assert build.env(client).keys() - build.env(expected).keys() <= left
    assert (client.get("volumeMounts") or []) == (expected.get("volumeMounts") or [])
    assert build.dind(first) == build.dind(again)
    volumes = [{volume["name"] for volume in one["spec"]["volumes"]} for one in (first, again)]
    assert volumes[0] == volumes[1]
    assert not plan(again).warnings or there != asked


def test_a_docker_host_of_the_users_stays() -> None:
    """Of another address than the daemon's, also when the Pod comes again."""
    env = [{"name": "DOCKER_HOST", "value": "tcp://there:2376"}]
    pod = exported({}, build.container(env=env), build.container("other"))
    assert Reason.USERS_DOCKER_HOST in warned(plan(pod))
    assert build.env(pod["spec"]["containers"][0])["DOCKER_HOST"] == "tcp://there:2376"


def test_a_local_docker_host_beside_a_dind_that_is_there() -> None:
    """Added to an exported Pod it is the user's, as any other: dinp's daemon is in the Pod, and no other."""
    pod = exported({}, build.container(), build.container("other"))
    pod["spec"]["containers"][0]["env"] = [{"name": "DOCKER_HOST", "value": "localhost:2376"}]
    assert Reason.USERS_DOCKER_HOST in warned(plan(pod))


def test_no_share_is_left_over() -> None:
    """What an earlier annotation asked for is gone: the mounts, the seed, the volume."""
    pod = exported({"dinp.io/share": "/tools:seed,/cache"})
    again = admission.inject(asking(pod, share="/cache"), build.ANNOTATED, build.DEFAULT).pod
    first = exported({"dinp.io/share": "/cache"})
    assert first["spec"] == again["spec"]


BORROWED = build.container("dinp-dind", image="docker:28-dind", volumeMounts=[])
OURS = build.container("dinp-dind", volumeMounts=[build.mount("dinp-run", "/dinp")])


@pytest.mark.parametrize("foreign", ["container", "init container", "dinp's"])
@pytest.mark.parametrize(
    ("rule", "spec", "annotations", "labels"),
    [
        ("/pods/inject/sidecar", {"hostNetwork": True}, {}, {}),
        ("/pods/inject/sidecar", {"hostUsers": False}, {}, {}),
        ("/pods/inject/sidecar", {}, {}, {"app.kubernetes.io/component": "jenkins-controller"}),
        ("/pods/inject/sidecar", {"containers": [build.container("istio-proxy")]}, {}, {}),
        ("/pods/inject/daemonset", {}, {}, {}),
        ("/pods/inject/service", {"dnsPolicy": "Default"}, {}, {}),
        (
            "/pods/annotated",
            {"containers": [build.container(image="docker:dind", securityContext={"privileged": True})]},
            {"dinp.io/inject": "sidecar"},
            {},
        ),
    ],
)  # fmt: skip
def test_the_name_is_not_borrowed(
    foreign: str, rule: str, spec: dict[str, Any], annotations: Any, labels: Any
) -> None:
    """Where dinp does not make its container anew, a Pod that is asked for cannot have one."""
    pod: Any = build.pod(annotations=annotations, labels=labels)
    pod["spec"] |= spec
    if foreign == "container":
        pod["spec"]["containers"] = [*pod["spec"]["containers"], BORROWED]
    else:
        pod["spec"]["initContainers"] = [BORROWED if foreign == "init container" else OURS]
    result = admission.inject(pod, RULES[rule], build.DEFAULT)
    assert result.outcome == "denied"
    assert "dinp-dind" in result.finding.text


@pytest.mark.parametrize(
    ("rule", "annotations"),
    [
        ("/pods/annotated", {}),
        ("/pods/inject/sidecar", {"dinp.io/inject": "false"}),
        ("/pods/inject/sidecar", {"kubernetes.io/config.mirror": "x"}),
        ("/pods/migrate/sidecar", {}),
    ],
)
def test_pods_that_nobody_asks_for_are_left(rule: str, annotations: dict[str, str]) -> None:
    """dinp judges no others, and never sees most of them."""
    pod: Any = build.pod(annotations=annotations, initContainers=[BORROWED])
    assert admission.inject(pod, RULES[rule], build.DEFAULT).outcome == "unchanged"


@pytest.mark.parametrize(
    ("there", "annotations", "resources"),
    [
        (True, {"dinp.io/limits": "cpu=1"}, {"limits": {"cpu": "4"}}),
        (True, {"dinp.io/requests": "client"}, {"limits": {"cpu": "4"}}),
        (True, {"dinp.io/requests": "cpu=1"}, {"limits": {"cpu": "4"}}),
        (False, {"dinp.io/limits": "cpu=1"}, {}),
        (False, {}, {"limits": {"cpu": "4"}}),
    ],
)
def test_pod_level_resources_win(
    there: bool, annotations: dict[str, str], resources: dict[str, Any]
) -> None:
    """Where they bound the daemon, its own are told to have no effect, and no amounts of them."""
    found = plan(build.asking(annotations=annotations, resources=resources))
    assert there == (Reason.POD_LEVEL_RESOURCES in warned(found))
    assert Reason.NO_CLIENT_RESOURCES not in warned(found)


def test_names_without_a_socket_under_migrate() -> None:
    """dinp.io/containers narrows the containers with the socket; to none is told."""
    pod = build.with_socket(
        build.container("build", image="docker:cli", volumeMounts=SOCKET),
        build.container("lint"),
        annotations={"dinp.io/containers": "lint"},
    )
    found = plan(pod, "/pods/migrate/sidecar")
    assert (Action.LEAVE, Reason.NO_SOCKET_NAMED) == (found.action, found.finding.reason)
    assert {Reason.NO_SOCKET_NAMED} == warned(found)


def test_jenkins_hears_of_its_step() -> None:
    """docker.image().inside needs the workspace where the daemon is."""
    found = plan(build.asking("daemonset", labels={"jenkins/label": "agent"}))
    assert any("inside" in warning.text for warning in found.warnings)
    assert not any("inside" in warning.text for warning in plan(build.asking("service")).warnings)


def test_warnings_are_told_once() -> None:
    """Two mounts, one sentence."""
    mounts = [build.mount("run", "/a"), build.mount("run", "/a/")]
    pod = build.asking(
        "sidecar",
        build.container(volumeMounts=mounts),
        volumes=[build.host_path("run", "/run")],
    )
    assert len(set(plan(pod).warnings)) == len(plan(pod).warnings)


def of_host(name: str, value: str, **fields: Any) -> Container:
    return build.container(name, env=[{"name": "DOCKER_HOST", "value": value}], **fields)


@pytest.mark.parametrize("path", ["/pods/inject/sidecar", "/pods/inject/service"])
def test_nothing_is_done_for_nobody(path: str) -> None:
    """Where each client has a daemon elsewhere, it is told, by its containers and their hosts."""
    pod = build.pod(of_host("build", "tcp://a:1"), of_host("push", "ssh://b"))
    found = plan(pod, path)
    assert (Action.LEAVE, Reason.NO_USER, True) == (
        *(found.action, found.finding.reason),
        found.note_status,
    )
    assert "(build: 'tcp://a:1' and push: 'ssh://b')" in found.warnings[0].text
    one = build.pod(of_host("build", "tcp://a:1"), build.container("push"))
    assert "gave containers push " in plan(one, path).finding.text


@pytest.mark.parametrize(
    ("given", "mode"), [(True, "sidecar"), (True, "daemonset"), (False, "service")]
)
def test_a_socket_is_a_daemon(given: bool, mode: str) -> None:
    """Who has a DOCKER_HOST of its own may use the path of the socket, but where that would go."""
    pod = build.with_socket(of_host("build", "tcp://a:1", image="docker:cli", volumeMounts=SOCKET))
    found = plan(pod, f"/pods/migrate/{mode}")
    assert given == (found.finding.reason is Reason.MIGRATED)
    assert given == (found.action is Action.INJECT)
    both = build.with_socket(
        of_host("build", "tcp://a:1", image="docker:cli", volumeMounts=SOCKET),
        build.container("push", image="docker:cli", volumeMounts=SOCKET),
    )
    first = admission.inject(both, RULES[f"/pods/migrate/{mode}"], build.DEFAULT)  # type: ignore[arg-type]
    socket: Any = first.pod["spec"]["containers"][0].get("volumeMounts")
    assert given == (socket != SOCKET)  # nothing is taken from who gets nothing
    assert given == ("in container build" in first.finding.text)
    again: Any = first.pod
    second = admission.inject(again, RULES[f"/pods/migrate/{mode}"], build.DEFAULT)
    assert [] == second.operations


def test_gitlabs_helper_has_no_use_for_docker() -> None:
    """It gets no daemon for itself alone; asked for by its name it does."""
    build_, helper = of_host("build", "tcp://docker:2375"), build.container("helper")
    pod = build.asking("sidecar", build_, helper)
    assert plan(pod).finding.reason is Reason.NO_USER
    named = {"dinp.io/containers": "helper"}
    pod = build.asking("sidecar", build_, helper, annotations=named)
    assert plan(pod).finding.reason is Reason.INJECTED
    other = build.asking("sidecar", build_, build.container("other"))
    assert plan(other).finding.reason is Reason.INJECTED


def test_gitlabs_variables_are_gitlabs() -> None:
    """The way out is where the variables come from."""
    pod = build.asking(
        "sidecar", of_host("build", "tcp://docker:2375"), labels={"job.runner.gitlab.com/pod": "x"}
    )
    assert "from the CI/CD variables" in plan(pod).finding.text


def test_several_containers_are_told_in_one_sentence() -> None:
    """Five steps with one finding are one warning, which names them."""
    steps = [build.container(f"step-{at}", envFrom=[{}]) for at in range(5)]
    (found,) = plan(build.asking("sidecar", *steps)).warnings
    assert found.text.startswith("containers step-0, step-1, step-2, step-3 and step-4: ")


def test_a_plan_can_be_printed() -> None:
    """Frozen, and with the mode and the settings in it."""
    found = plan(build.asking("sidecar"))
    assert found.mode is Mode.SIDECAR
    assert "injected" in repr(found)
    with pytest.raises(AttributeError):
        found.mode = None  # type: ignore[misc]  # that is the test


def test_warnings_have_an_end() -> None:
    """The first ones are told, and that there are more."""
    hosts = [
        {"name": "DOCKER_HOST", "value": f"tcp://{at}:1"} for at in range(bounds.WARNINGS + 50)
    ]
    others = [build.container(f"c{at}", env=[host]) for at, host in enumerate(hosts)]
    containers = [build.container("build"), *others]
    found = plan(build.asking("sidecar", *containers)).warnings
    assert bounds.WARNINGS + 1 == len(found)
    assert Reason.MORE_WARNINGS is found[-1].reason
    few = plan(build.asking("sidecar", *containers[:100])).warnings
    assert Reason.MORE_WARNINGS not in {warning.reason for warning in few}
