"""pod_daemons: what a Pod shows of daemons of its own."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook.finding import docker_hosts, node_docker, pod_daemons
from webhook.finding.pod_daemons import PodDaemons, Unread
from webhook.finding.starts import tables
from webhook.pods import bounds
from webhook.pods.pod import Pod

PRIVILEGED = {"securityContext": {"privileged": True}}


def _found(pod: Pod) -> PodDaemons:
    local = docker_hosts.local_hosts(pod, docker_hosts.aliases(pod))
    return pod_daemons.pod_daemons(pod, node_docker.node_mounts(pod), local)


def var(name: str, value: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value}]


def daemons(*containers: Any, **spec: Any) -> list[str]:
    found = _found(build.pod(*containers, **spec)).daemons
    return [daemon.where for daemon in found]


def how(**fields: Any) -> str | None:
    """How the container x starts a daemon."""
    found = daemons(build.container(), build.container("x", **fields))
    assert len(found) <= 1
    return found[0].removeprefix("container x ") if found else None


@pytest.mark.parametrize(
    ("is_daemon", "image"),
    [
        (True, "docker"),
        (True, "docker:latest"),
        (True, "docker:28"),
        (True, "docker:23.0.1-alpine3.17"),
        (True, "r.example.com:5000/library/docker@sha256:0"),
        (True, "docker:28@sha256:0"),
        (False, "docker:28-cli"),
        (False, "docker:cli"),
        (False, "docker:28-git"),
        (False, "docker:20.10"),
        (False, "docker:19.03.13-git"),
        (False, "docker:28-cli@sha256:0"),
        (False, "team/docker-tools:28"),
    ],
)
@pytest.mark.parametrize("args", [None, [], ["--mtu=1400"], ["dockerd", "-D"]])
def test_dockers_own_image(is_daemon: bool, image: str, args: list[str] | None) -> None:
    """Privileged, and left to run: from 23 on, the tags without a suffix are the dind image."""
    expected = None
    if is_daemon or (args and args[0] == "dockerd"):
        expected = f"runs image {image}" if is_daemon else "runs dockerd"
    assert expected == how(image=image, args=args, **PRIVILEGED)
    assert how(image=image, args=["docker", "build", "."], **PRIVILEGED) is None
    assert how(image=image, command=["cat"], **PRIVILEGED) is None
    assert how(image=image) is None


@pytest.mark.parametrize(
    ("is_daemon", "image"),
    [
        (True, "team/jenkins-agent-dind:latest"),
        (True, "team/dind"),
        (True, "team/dind28:1"),
        (True, "ci/docker-in-docker:24"),
        (True, "ci/docker_in_docker"),
        (True, "ci/docker-daemon:3"),
        (True, "ci/runner:2.3-ubuntu-dind"),
        (False, "team/blindind:1"),
        (False, "team/docker-in-dockerfile"),
        (False, "dind/agent:1"),
    ],
)
@pytest.mark.parametrize("args", [None, ["secret", "name"], ["sleep", "9"]])
def test_another_image_named_like_dind(is_daemon: bool, image: str, args: list[str] | None) -> None:
    """Privileged, without a command: a daemon, whatever its args; else a name proves nothing."""
    assert (f"runs image {image}" if is_daemon else None) == how(
        image=image, args=args, **PRIVILEGED
    )
    assert how(image=image, args=args) is None
    assert how(image=image, command=["sleep"], args=args, **PRIVILEGED) is None


@pytest.mark.parametrize(
    ("is_daemon", "command"),
    [
        (True, ["/entrypoint.sh"]),
        (True, ["/usr/bin/tini", "--", "/usr/local/bin/entrypoint.sh"]),
        (True, ["supervisord", "-n"]),
        (True, ["/sbin/init"]),
        (False, ["sh", "-c", "sleep infinity"]),
        (False, ["./entrypoint.sh.test"]),
        (False, ["/tekton/bin/entrypoint", "-entrypoint", "docker", "--", "build", "."]),
        (False, ["terraform", "init"]),
    ],
)
def test_an_entrypoint_of_images_as_the_command(is_daemon: bool, command: list[str]) -> None:
    """It leaves an image named like dind to run, and Docker's own image to its client."""
    image = "team/agent-dind:3"
    expected = f"runs image {image}" if is_daemon else None
    assert expected == how(image=image, command=command, **PRIVILEGED)
    assert how(image=image, command=command) is None
    assert how(image="docker:28-dind", command=["docker-entrypoint.sh"], **PRIVILEGED) is None


@pytest.mark.parametrize(
    ("is_daemon", "source", "fields"),
    [
        (True, {"emptyDir": {}}, {}),
        (True, {"persistentVolumeClaim": {"claimName": "c"}}, {"command": ["/entrypoint.sh"]}),
        (True, {"hostPath": {"path": "/mnt/dind"}}, {}),
        (False, {"hostPath": {"path": "/var/lib/docker"}}, {}),
        (False, {"emptyDir": {}}, {"command": ["sh", "-c", "make"]}),
        (False, {"emptyDir": {}}, {"securityContext": {}}),
        (False, {"emptyDir": {}}, {"image": "docker:28-cli", "args": ["build", "."]}),
    ],
)
def test_a_volume_for_a_daemons_data(
    is_daemon: bool, source: dict[str, Any], fields: dict[str, Any]
) -> None:
    """An agent whose entrypoint starts dockerd has one; a client of the node's socket is none, whatever it has."""
    volumes = [{"name": "graph", **source}, build.host_path("sock", "/var/run/docker.sock")]
    mounts = [build.mount("graph", "/var/lib/docker")]
    agent = build.container("x", **{**PRIVILEGED, "volumeMounts": mounts, **fields})
    expected = ["container x has a volume for a daemon's data at /var/lib/docker"]
    pod = build.pod(agent, volumes=volumes)
    found = _found(pod).daemons
    assert (expected if is_daemon else []) == [daemon.where for daemon in found]
    # GitLab and Jenkins put each volume into every container: then it shows nothing.
    other = build.container("other", command=["cat"], volumeMounts=mounts)
    assert [] == daemons(agent, other, volumes=volumes)
    user = build.container("user", env=var("DOCKER_HOST", "tcp://localhost:2375"))
    served = "container x serves a local DOCKER_HOST" in daemons(agent, user, volumes=volumes)
    assert served == (is_daemon or "hostPath" in source)
    mounts = [*mounts, build.mount("sock", "/var/run/docker.sock")]
    pod = build.pod(
        build.container("x", **{**PRIVILEGED, **fields, "volumeMounts": mounts}), volumes=volumes
    )
    assert () == _found(pod).daemons


def test_a_hook_after_the_start() -> None:
    """The kubelet runs the command of postStart in the container."""

    def after_start(*command: str) -> str | None:
        return how(command=["sleep", "9"], lifecycle={"postStart": {"exec": {"command": command}}})

    assert "runs dockerd" == after_start("sh", "-c", "dockerd > /log 2>&1 &")
    assert after_start("sh", "-c", "pgrep dockerd") is None
    assert after_start() is None
    assert how(lifecycle={"preStop": {"exec": {"command": ["dockerd"]}}}) is None
    fields = {"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "dockerd '"]}}}}
    found = _found(build.pod(build.container("x", **fields)))
    assert [Unread("x", "its postStart hook", "a quote has no end", True)] == [*found.unread]


@pytest.mark.parametrize(
    ("is_daemon", "host", "source", "fields"),
    [
        (True, "unix:///run/e/docker.sock", {"emptyDir": {}}, {}),
        (True, "unix:///run/e/docker.sock", {"persistentVolumeClaim": {"claimName": "c"}}, {}),
        (False, "unix:///run/e/docker.sock", {"emptyDir": {}}, {"command": ["sleep"]}),
        (False, "unix:///run/e/docker.sock", {"emptyDir": {}}, {"securityContext": {}}),
        (False, "unix:///run/e/docker.sock", {"emptyDir": {}}, {"volumeMounts": []}),
        (False, "unix:///run/e/docker.sock", {"hostPath": {"path": "/run/e"}}, {}),
        (False, "unix:///run/e/in/docker.sock", {"emptyDir": {}}, {}),
        (False, "unix:///elsewhere/docker.sock", {"emptyDir": {}}, {}),
        (
            *(False, "unix:///run/e/docker.sock", {"emptyDir": {}}),
            {"env": var("DOCKER_HOST", "unix:///x/docker.sock")},
        ),
    ],
)
def test_what_puts_the_socket_into_a_volume(
    is_daemon: bool, host: str, source: dict[str, Any], fields: dict[str, Any]
) -> None:
    """A privileged container left to run, that has the volume with the socket of another's DOCKER_HOST."""
    inner = build.mount("inner", "/run/e/in")
    mounts = [inner, build.mount("shared", "/run/e/")]
    user = build.container("user", env=var("DOCKER_HOST", host), volumeMounts=mounts)
    there = {**PRIVILEGED, "volumeMounts": [build.mount("shared", "/out")], **fields}
    volumes = [{"name": "shared", **source}, {"name": "inner", "emptyDir": {}}]
    expected = ["container engine serves a local DOCKER_HOST"] if is_daemon else []
    assert expected == daemons(user, build.container("engine", **there), volumes=volumes)


@pytest.mark.parametrize("name", tables.SWITCHES)
def test_each_switch(name: str) -> None:
    """On in any spelling; where others may mean something else by it, only in a privileged container."""
    assert tables.SWITCHES[name].reason
    for value in ("true", "True", "1", "yes", "start"):
        assert f"sets {name}" == how(env=var(name, value), **PRIVILEGED)
    assert (None if tables.SWITCHES[name].privileged else f"sets {name}") == how(
        env=var(name, "true")
    )
    for value in ("", "false", "0", "no", "stop", "tcp://docker"):
        assert how(env=var(name, value), **PRIVILEGED) is None
    assert how(env=[*var(name, "true"), *var(name, "false")], **PRIVILEGED) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BUILDKITE_COMMAND", "dockerd-entrypoint.sh"),
        ("BUILDKITE_COMMAND", "nohup dockerd &\nmake"),
        ("DRONE_SCRIPT", "service docker start"),
        ("CI_SCRIPT", base64.b64encode(b"echo + dockerd\ndockerd &\nmake\n").decode()),
        ("ENTRYPOINT_OPTIONS", json.dumps({"args": ["sh", "-c", "dockerd & make"], "timeout": 1})),
        ("ENTRYPOINT_OPTIONS", json.dumps({"args": ["/usr/local/bin/wrapdocker"]})),
    ],
)
def test_a_command_in_a_variable(name: str, value: str) -> None:
    """What a system's own entrypoint runs counts, and names of an image too."""
    entrypoint = {"command": ["/tools/entrypoint"], "image": "app"}
    assert str(how(env=var(name, value), **entrypoint)).startswith("runs ")
    dind = {**entrypoint, "image": "docker:28-dind"}
    assert "runs image docker:28-dind" == how(env=var(name, value), **dind)
    assert how(env=var(f"X_{name}", value), **entrypoint) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BUILDKITE_COMMAND", "pgrep dockerd; docker build ."),
        ("BUILDKITE_COMMAND", ""),
        ("CI_SCRIPT", base64.b64encode(b"pgrep dockerd").decode()),
        ("CI_SCRIPT", "dockerd"),
        ("CI_SCRIPT", "no base64: ü"),
        ("ENTRYPOINT_OPTIONS", json.dumps({"args": ["docker", "run", "dockerd"]})),
        ("ENTRYPOINT_OPTIONS", json.dumps({"args": None})),
        ("ENTRYPOINT_OPTIONS", "{}"),
    ],
)
def test_a_client_in_a_variable(name: str, value: str) -> None:
    """It starts none, though its image could."""
    assert how(env=var(name, value), command=["entrypoint"], image="docker:dind") is None


PROW = "it is not the JSON that Prow writes"


@pytest.mark.parametrize(
    ("expected", "fields"),
    [
        (Unread("x", "ENTRYPOINT_OPTIONS", PROW, False), {"env": var("ENTRYPOINT_OPTIONS", "make")}),
        (Unread("x", "ENTRYPOINT_OPTIONS", PROW, False), {"env": var("ENTRYPOINT_OPTIONS", '{"args":{}}')}),
        (Unread("x", "ENTRYPOINT_OPTIONS", PROW, True), {"env": var("ENTRYPOINT_OPTIONS", "dockerd")}),
        (Unread("x", "ENTRYPOINT_OPTIONS", PROW, True), {"image": "docker:dind", "command": ["e"], "env": var("ENTRYPOINT_OPTIONS", "make")}),
        (Unread("x", "its command", "a quote has no end", True), {"command": ["sh", "-c", "dockerd '"]}),
        (Unread("x", "BUILDKITE_COMMAND", "a quote has no end", True), {"env": var("BUILDKITE_COMMAND", "dockerd '")}),
        (None, {"command": ["sh", "-c", "docker '"]}),
        (None, {"command": ["sh", "-c", "dockerd '"], **PRIVILEGED, "image": "docker:dind", "env": var("DIND", "true")}),
    ],
)  # fmt: skip
def test_what_cannot_be_read(expected: Unread | None, fields: dict[str, Any]) -> None:
    """It is told, with whether it may start a daemon: nobody guesses."""
    found = _found(build.pod(build.container("x", **fields)))
    assert ([] if expected is None else [expected]) == [*found.unread]
    assert (expected is None and "env" in fields) == bool(found.daemons)


def test_so_much_of_all_containers_is_read() -> None:
    """Behind that, a text that names a daemon is too long; a short word that starts one is seen."""
    filler = "x" * (bounds.SCRIPTS // 2 - 100)
    many = [
        build.container(f"c{at}", command=["sh", "-c", f"{filler}; dockerd"]) for at in range(3)
    ]
    found = _found(build.pod(*many))
    assert ["container c0 runs dockerd", "container c1 runs dockerd"] == [
        daemon.where for daemon in found.daemons
    ]
    assert [Unread("c2", "its command", "it is too long", True)] == [*found.unread]


@pytest.mark.parametrize(
    ("is_daemon", "name", "fields"),
    [
        (True, "dind", {}),
        (True, "docker", {}),
        (True, "docker-daemon", {"args": ["--x"]}),
        (True, "engine", {"ports": [{"containerPort": 2376}]}),
        (False, "engine", {"ports": [{"containerPort": 80}]}),
        (False, "dind", {"command": ["sleep"]}),
        (False, "dind", {"securityContext": {"privileged": False}}),
    ],
)
@pytest.mark.parametrize("host", ["tcp://localhost:2375", "127.0.0.1:1234", "tcp://there:2375", ""])
def test_what_a_local_docker_host_leads_to(
    is_daemon: bool, name: str, fields: dict[str, Any], host: str
) -> None:
    """A privileged container whose image is left to run, and that looks like a daemon; not by itself."""
    served = build.container(name, **{**PRIVILEGED, **fields})
    user = build.container("user", env=var("DOCKER_HOST", host))
    expected = [f"container {name} serves a local DOCKER_HOST"]
    is_local = bool(host) and "there" not in host
    assert (expected if is_daemon and is_local else []) == daemons(user, served)
    alone = build.container(name, env=var("DOCKER_HOST", host), **{**PRIVILEGED, **fields})
    assert [] == daemons(alone)


def test_a_migrated_client_stays_one() -> None:
    """A dinp before this one took a daemon with the node's socket for a client: it has dinp's now."""
    mount = build.mount("dinp-run", "/var/run/docker.sock", subPath="docker.sock")
    assert [] == daemons(build.container(command=["dockerd"], volumeMounts=[mount]))
    assert [] == daemons(build.container("dinp-cli", command=["dockerd"]))


def test_the_last_variable_counts() -> None:
    """As the kubelet has it: one script for each name, however often that stands there."""
    scripts = [*var("DRONE_SCRIPT", "dockerd"), *var("DRONE_SCRIPT", "make")]
    assert how(env=scripts) is None
    assert how(env=scripts[::-1]) == "runs dockerd"


def test_parameters_are_read_as_much() -> None:
    """A text that runs what stands behind it is as long as one that names a daemon."""
    script = f'{"x" * bounds.SCRIPTS};"$@"'
    container = build.container("x", command=["sh", "-c", script, "x", "dockerd"])
    found = _found(build.pod(container))
    assert [Unread("x", "its command", "it is too long", True)] == [*found.unread]
