"""triage: what a Pod is to the node's Docker, and where a daemon of its own runs."""

from __future__ import annotations

from typing import Any, cast

import pytest

from webhook.asking.watchers import WATCHERS
from webhook.finding import found, node_docker, pod_daemons, triage
from webhook.finding.triage import Verdict
from webhook.pods.pod import Pod


def judge(pod: Pod) -> triage.Judgement:
    """With the built-in rows."""
    return found.judge(pod, WATCHERS)


SOCKET = {"name": "socket", "hostPath": {"path": "/var/run/docker.sock"}}
AT_SOCKET = {"name": "socket", "mountPath": "/var/run/docker.sock"}
PRIVILEGED = {"privileged": True}
DIND = {"name": "daemon", "image": "docker:28-dind"}
NOTHING: dict[str, Any] = {}


def a_pod(*containers: dict[str, Any], metadata: dict[str, Any] | None = None, **spec: Any) -> Pod:
    return cast("Pod", {"metadata": metadata, "spec": {"containers": list(containers), **spec}})


def own_daemon(pod: Pod) -> str | None:
    """Where the first daemon of the Pod's own runs."""
    found = pod_daemons.pod_daemons(pod, node_docker.node_mounts(pod), ())
    return next((daemon.where for daemon in found.daemons), None)


def user(**fields: Any) -> dict[str, Any]:
    """A container with the node's socket."""
    mounts = [AT_SOCKET, *fields.pop("volumeMounts", ())]
    return {"name": "app", "image": "example.com/app", "volumeMounts": mounts, **fields}


def with_path(path: str, **spec: Any) -> Pod:
    """A Pod with the node's socket and one more path of the node."""
    mount = {"name": "more", "mountPath": "/more"}
    more = {"name": "more", "hostPath": {"path": path}}
    return a_pod(user(volumeMounts=[mount]), volumes=[SOCKET, more], **spec)


def only_path(path: str, *, mount_path: str = "/more", **container: Any) -> Pod:
    """A Pod with one path of the node, and no socket."""
    mount = {"name": "more", "mountPath": mount_path}
    return a_pod(
        {"name": "app", "volumeMounts": [mount], **container},
        volumes=[{"name": "more", "hostPath": {"path": path}}],
    )


# ---- the verdict -------------------------------------------------------------------------

LOCAL = [{"name": "DOCKER_HOST", "value": "tcp://localhost:2375"}]
PORT = [{"containerPort": 2375}]
RUN_MOUNT = [{"name": "run", "mountPath": "/var/run/"}]
AGENT = {"metadata": {"ownerReferences": [{"kind": "DaemonSet", "name": "agent"}]}}


@pytest.mark.parametrize(
    ("expected", "pod"),
    [
        (Verdict.PROVIDER, a_pod({**DIND, "ports": PORT})),
        (Verdict.PROVIDER, a_pod({**DIND, "ports": [{**PORT[0], "hostPort": 2375}]}, user())),
        (
            Verdict.PROVIDER,
            a_pod(
                {**DIND, "volumeMounts": RUN_MOUNT},
                {"name": "metrics"},
                volumes=[{"name": "run", "hostPath": {"path": "/var/run/ours"}}],
            ),
        ),
        (Verdict.OWN, a_pod({**DIND, "ports": PORT}, {"name": "app"})),
        (Verdict.OWN, a_pod({**DIND, "ports": [{"containerPort": 9323}]})),
        (Verdict.MIXED, a_pod(DIND, user(), volumes=[SOCKET])),
        (Verdict.OWN, a_pod(DIND, hostPID=True)),
        (Verdict.NODE, a_pod(user(), volumes=[SOCKET], hostPID=True)),
        (Verdict.NODE, only_path("/run/containerd/containerd.sock")),
        (Verdict.MIGRATE, a_pod(user(image="docker"), volumes=[SOCKET])),
        (Verdict.MIGRATE, only_path("/var/run", image="docker")),
        (Verdict.UNSURE, a_pod(user(), volumes=[SOCKET])),
        (Verdict.UNSURE, a_pod(user(), volumes=[SOCKET], hostNetwork=True)),
        (Verdict.OWN, a_pod({"name": "app", "env": LOCAL})),
        (Verdict.INERT, a_pod({"name": "app"}, volumes=[SOCKET])),
        (Verdict.NONE, a_pod({"name": "app"})),
        (Verdict.NONE, a_pod({"name": "agent"}, hostPID=True, hostNetwork=True, **AGENT)),
        (Verdict.NONE, only_path("/var/lib/docker")),
        (Verdict.NONE, only_path("/data")),
    ],
)
def test_verdicts(expected: Verdict, pod: Pod) -> None:
    """The rows of `judge`'s table, in its order."""
    assert expected == judge(pod).verdict


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (Verdict.OWN, "tcp://localhost:2376"),
        (Verdict.OWN, "tcp://127.0.0.1:2375"),
        (Verdict.OWN, "127.0.0.1"),
        (Verdict.OWN, "tcp://[::1]:2375"),
        (Verdict.OWN, "unix:///shared/docker.sock"),
        (Verdict.NONE, "tcp://docker.tools.svc:2376"),
        (Verdict.NONE, "ssh://builder@localhost.example"),
        (Verdict.NONE, ""),
        (Verdict.NONE, None),
    ],
)
def test_docker_host_without_the_node(expected: Verdict, value: str | None) -> None:
    """A DOCKER_HOST in the Pod is a daemon of its own, one elsewhere is none."""
    env = [{"name": "DOCKER_HOST", "value": value}]
    assert expected == judge(a_pod({"name": "app", "env": env})).verdict


def test_docker_host_of_dinp() -> None:
    """What dinp itself has injected is no daemon of the Pod's own."""
    pod = a_pod(
        {"name": "app", "env": LOCAL},
        initContainers=[{**DIND, "name": "dinp-dind", "restartPolicy": "Always"}],
    )
    assert own_daemon(pod) is None
    assert judge(pod).verdict == Verdict.NONE


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (Verdict.UNSURE, "unix:///more/ours.sock"),
        (Verdict.MIGRATE, "unix:///more//docker.sock"),
        (Verdict.OWN, "unix:///elsewhere/docker.sock"),
        (Verdict.NONE, "tcp://more:2375"),
    ],
)
def test_socket_in_another_directory_of_the_node(expected: Verdict, value: str) -> None:
    """A DOCKER_HOST that is a file of any hostPath reaches the node, wherever that is."""
    pod = only_path("/opt/docker", env=[{"name": "DOCKER_HOST", "value": value}])
    assert expected == judge(pod).verdict


# ---- the score ---------------------------------------------------------------------------


def with_env(name: str, value: str) -> Pod:
    return a_pod(user(env=[{"name": name, "value": value}]), volumes=[SOCKET])


def with_args(*args: str) -> Pod:
    return a_pod(user(command=["sh", "-c"], args=list(args)), volumes=[SOCKET])


def with_field(path: str) -> Pod:
    env = [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": path}}}]
    return a_pod(user(env=env), volumes=[SOCKET])


def mounting(**mount: Any) -> Pod:
    return a_pod(user(volumeMounts=[{"name": "own", **mount}]), volumes=[SOCKET])


READ_ONLY = a_pod(user(volumeMounts=[{**AT_SOCKET, "readOnly": True}]), volumes=[SOCKET])
JNLP = a_pod(user(), {"name": "jnlp"}, volumes=[SOCKET])


def plain(metadata: dict[str, Any] | None = None, **spec: Any) -> Pod:
    return a_pod(user(), volumes=[SOCKET], metadata=metadata, **spec)


@pytest.mark.parametrize(
    ("score", "signal", "pod"),
    [
        (20, "owned by a DaemonSet", plain(AGENT["metadata"])),
        (20, r"mounts \\.\pipe\docker_engine of the node", only_path(r"\\.\pipe\docker_engine")),
        (5, "container app runs docker system prune", with_args("docker system prune -af")),
        (5, "container app runs docker rmi $", with_args("docker rmi $(docker images -q)")),
        (
            5,
            "container app runs xargs -r docker rmi",
            with_args("docker images -qf dangling=true | xargs -r docker rmi -f"),
        ),
        (
            5,
            "container app runs xargs -I{} docker image rm",
            with_args("docker images -q | xargs -I{} docker image rm {}"),
        ),
        (2, "hostPID", plain(hostPID=True)),
        (2, "mounts / of the node", with_path("/")),
        (2, "mounts /run of the node", with_path("/run/")),
        (2, "mounts /run/crio/crio.sock of the node", with_path("/run/crio/crio.sock")),
        (2, "priority system-node-critical", plain(priorityClassName="system-node-critical")),
        (1, "mounts /dev of the node", with_path("/dev")),
        (2, "mounts /var/log/pods of the node", with_path("/var/log/pods")),
        (1, "mounts /var/log/app of the node", with_path("/var/log/app")),
        (1, "a container named log-shipper", a_pod(user(name="log-shipper"), volumes=[SOCKET])),
        (
            1,
            "container app has image team/image_scanner",
            a_pod(user(image="team/image_scanner:2"), volumes=[SOCKET]),
        ),
        (5, "container app only runs docker restart", with_args("docker restart $(docker ps -q)")),
        (1, "hostNetwork", plain(hostNetwork=True)),
        (1, "container app mounts /var/run/docker.sock read-only", READ_ONLY),
        (1, "tolerates every taint", plain(tolerations=[{"operator": "Exists"}])),
        (1, "container app reads status.hostIP", with_field("status.hostIP")),
        (-3, "container app has image docker", a_pod(user(image="docker:28"), volumes=[SOCKET])),
        (
            -3,
            "container app has image library/docker",
            a_pod(user(image="localhost:5000/library/docker:20-git@sha256:0"), volumes=[SOCKET]),
        ),
        (-3, "a container named jnlp", JNLP),
        (-3, "label jenkins/label", plain({"labels": {"jenkins/label": "x"}})),
        (-3, "label tekton.dev/taskRun", plain({"labels": {"tekton.dev/taskRun": "x"}})),
        (
            -2,
            "container app sets E to unix:///s/docker.sock",
            with_env("E", "unix:///s/docker.sock"),
        ),
        (-2, "mounts /usr/bin/docker of the node", with_path("/usr/bin/docker")),
        (-2, "container app runs docker build", with_args("cd src\ndocker  build .")),
        (-2, "container app runs docker --debug push", with_args("docker --debug push x")),
        (
            -2,
            "container app runs docker build",
            with_args("docker system prune -f; docker build ."),
        ),
        (
            -2,
            "container app runs docker image push",
            with_args("docker restart x; docker image push y"),
        ),
        (-2, "container app runs make docker", with_args("make docker")),
        (-2, "container app runs docker:build", with_args("mvn docker:build")),
        (-2, "container app sets TESTCONTAINERS_X", with_env("TESTCONTAINERS_X", "1")),
        (-1, "container app has /root/.docker", mounting(mountPath="/root/.docker")),
        (-1, "container app has /c/.docker/", mounting(mountPath="/c/.docker/")),
        (
            -1,
            "container app has image team/ci-tools",
            a_pod(user(image="ci.example.com/team/ci-tools:build-1"), volumes=[SOCKET]),
        ),
        (-1, "a container named build", a_pod(user(name="build"), volumes=[SOCKET])),
        (-1, "for nodes with pool=ci", plain(nodeSelector={"pool": "ci"})),
        (-1, "for nodes with dedicated-ci", plain(tolerations=[{"key": "dedicated-ci"}])),
    ],
)
def test_each_signal(score: int, signal: str, pod: Pod) -> None:
    """One signal alone: its points, and the phrase that people read."""
    judgement = judge(pod)
    assert score == judgement.score
    assert (signal,) == judgement.signals


@pytest.mark.parametrize(
    "pod",
    [
        plain(),
        plain(priorityClassName="high", nodeSelector={"kubernetes.io/os": "linux"}),
        plain({"labels": {"app": "jenkins"}}),
        with_path("/dev/kvm"),
        with_path("/procedures"),
        with_field("metadata.name"),
        with_env("E", "unix:///run/other.sock"),
        with_args("docker ps; pgrep dockerd; docker inspect old"),
        mounting(mountPath="/data", readOnly=True),
        a_pod(user(image="ci.example.com/app:build-7"), volumes=[SOCKET]),
        a_pod(user(name="kube-proxy-dind", image="catalogue"), volumes=[SOCKET]),
        a_pod(user(name="rebuilder", image="circi/app"), volumes=[SOCKET]),
        a_pod(user(image=None, command=None, args=None, env=None), volumes=[SOCKET]),
    ],
)
def test_no_signal(pod: Pod) -> None:
    """What looks like a signal and shows nothing."""
    assert triage.Judgement(Verdict.UNSURE, (), 0) == judge(pod)


def test_the_label_of_a_job_decides() -> None:
    """A CI system's label outweighs whatever speaks for a node agent, but for the owner."""
    labels = {"labels": {"workflows.argoproj.io/workflow": "w"}}
    pod = a_pod(user(image="traefik"), volumes=[SOCKET], hostPID=True, metadata=labels)
    expected = triage.Judgement(Verdict.MIGRATE, ("label workflows.argoproj.io/workflow",), 2)
    assert expected == judge(pod)
    owned = a_pod(user(), volumes=[SOCKET], metadata={**labels, **AGENT["metadata"]})
    assert judge(owned).verdict == Verdict.NODE


def test_a_watcher_by_its_image() -> None:
    """What it is stands first among the signs."""
    judgement = judge(a_pod(user(image="mirror/traefik:3"), volumes=[SOCKET], hostPID=True))
    assert judgement.verdict == Verdict.NODE
    why = "its image is traefik, which makes routes for the node's containers"
    assert (why, "hostPID") == judgement.signals


def test_a_daemonset_outweighs_every_name() -> None:
    """An image cleaner on every node stays a node agent, though it is a docker client."""
    cleaner = user(
        image="docker", args=["docker", "push"], env=[{"name": "E", "value": "unix:///docker.sock"}]
    )
    judgement = judge(a_pod(cleaner, volumes=[SOCKET], **AGENT))
    assert judgement.verdict == Verdict.NODE
    assert judgement.signals == ("owned by a DaemonSet",)


def test_a_job_that_prunes_only() -> None:
    """A docker client that only removes images wants the node's images."""
    pod = a_pod(user(image="docker", args=["docker", "image", "prune", "-a"]), volumes=[SOCKET])
    assert judge(pod).verdict == Verdict.NODE


def test_a_builder_with_a_few_paths_of_the_node() -> None:
    """Builder signals are reported alone when they win."""
    pod = a_pod(user(image="docker"), volumes=[SOCKET], hostPID=True)
    assert triage.Judgement(Verdict.MIGRATE, ("container app has image docker",), -1) == judge(pod)


def test_points_are_capped() -> None:
    """Many paths of the node's state are not more than three."""
    names = ("proc", "sys", "boot", "var/log", "lib/modules")
    pod = a_pod(
        user(volumeMounts=[{"name": name, "mountPath": f"/host/{name}"} for name in names]),
        volumes=[SOCKET, *({"name": name, "hostPath": {"path": f"/{name}"}} for name in names)],
    )
    assert judge(pod).score == 3


# ---- a daemon of the Pod's own -----------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "container"),
    [
        ("runs image docker:dind", {"image": "docker:dind"}),
        ("runs image docker:20-dind", {"image": "docker:20-dind", "command": [], "args": None}),
        (
            "runs image r.example.com:5000/hub/docker:28.1-dind-rootless@sha256:0",
            {"image": "r.example.com:5000/hub/docker:28.1-dind-rootless@sha256:0"},
        ),
        ("runs image docker:dind", {"image": "docker:dind", "args": ["--mtu=1400"]}),
        ("runs image docker:dind", {"image": "docker:dind", "args": ["dockerd", "--debug"]}),
        ("runs image docker:dind", {"image": "docker:dind", "command": ["dockerd-entrypoint.sh"]}),
        (
            "runs image docker:dind",
            {"image": "docker:dind", "command": ["dockerd-entrypoint.sh"], "args": ["--mtu=1400"]},
        ),
        (
            "runs image docker:dind",
            {"image": "docker:dind", "command": ["tini", "--", "dockerd-entrypoint.sh", "dockerd"]},
        ),
        (None, {"image": "docker:dind", "command": ["cat"]}),
        (None, {"image": "docker:dind", "command": ["sleep"], "args": ["99d"]}),
        (None, {"image": "docker:dind", "args": ["docker", "build", "."]}),
        (None, {"image": "docker:dind", "args": ["sh", "-c", "docker build ."]}),
        (None, {"image": "docker:dind", "command": ["dockerd-entrypoint.sh"], "args": ["cat"]}),
        (None, {"image": "docker"}),
        (None, {"image": "docker@sha256:0"}),
        (None, {"image": "team/dind"}),
        (None, {"image": "team/image-cleaner-dind:1"}),
        (
            "runs image team/ubuntu-dind:22.04",
            {"image": "team/ubuntu-dind:22.04", "securityContext": PRIVILEGED},
        ),
        (None, {"image": "team/blindind:1", "securityContext": PRIVILEGED}),
        (
            None,
            {"image": "team/ubuntu-dind", "securityContext": PRIVILEGED, "command": ["sleep", "1"]},
        ),
        ("runs dockerd", {"image": "ubuntu", "command": ["/usr/bin/dockerd"]}),
        ("runs dockerd", {"args": ["sudo", "-E", "LANG=C", "dockerd-rootless.sh"]}),
        ("runs dockerd", {"command": ["bash", "-ec"], "args": ["dockerd >log 2>&1 &\nmake"]}),
        ("runs dockerd", {"command": ["/bin/sh", "-c", "mkdir /x && exec /usr/bin/dockerd"]}),
        (None, {"command": ["sh", "-c", "until pgrep dockerd; do tail dockerd.log; done"]}),
        (None, {"command": ["/usr/bin/exporter", "--process", "dockerd"]}),
        (None, {"command": ["env", "--"]}),
        ("sets DOCKERD_IN_RUNNER", {"env": [{"name": "DOCKERD_IN_RUNNER", "value": "true"}]}),
        (
            "sets DOCKER_IN_DOCKER_ENABLED",
            {"env": [{"name": "DOCKER_IN_DOCKER_ENABLED", "value": "True"}]},
        ),
        (None, {"env": [{"name": "DOCKER_IN_DOCKER_ENABLED", "value": "false"}]}),
        (None, {"env": [{"name": "DOCKERD_IN_RUNNER", "valueFrom": {"fieldRef": {}}}]}),
        (None, {"name": "dind"}),
    ],
)
def test_own_daemon(expected: str | None, container: dict[str, Any]) -> None:
    """The rows of `own_daemons`' table: what a container really starts, whatever its name."""
    container = {"name": "x-dind", "image": "app", **container}
    where = None if expected is None else f"container {container['name']} {expected}"
    assert where == own_daemon(a_pod({"name": "first"}, container))


def test_own_daemon_as_native_sidecar() -> None:
    """An init container counts as well."""
    pod = a_pod({"name": "app"}, initContainers=[{**DIND, "restartPolicy": "Always"}])
    assert own_daemon(pod) == "container daemon runs image docker:28-dind"


def test_own_daemon_by_prow_preset() -> None:
    """Prow's label is enough, but in a container that has the node's socket."""
    labels = {"labels": {"preset-dind-enabled": "true"}}
    expected = "label preset-dind-enabled is true"
    assert expected == own_daemon(a_pod({"name": "test"}, metadata=labels))
    assert own_daemon(a_pod(user(), volumes=[SOCKET], metadata=labels)) is None


def test_client_of_the_node() -> None:
    """A container with the node's socket is what it starts: a client, or a daemon that has it as all have."""
    client = a_pod(user(image="docker:dind", command=["cat"]), volumes=[SOCKET])
    assert own_daemon(client) is None
    assert judge(client).verdict == Verdict.MIGRATE
    daemon = a_pod(user(image="docker:dind", args=["dockerd"]), volumes=[SOCKET])
    assert own_daemon(daemon) == "container app runs image docker:dind"
    assert judge(daemon).verdict == Verdict.MIXED


def test_own_daemon_says_where() -> None:
    """A judgement names each daemon, and each container that has the socket as well."""
    assert judge(a_pod(DIND, user(), volumes=[SOCKET])).signals == (
        "container daemon runs image docker:28-dind",
        "container app mounts /var/run/docker.sock of the node",
    )


def test_endless_command_line() -> None:
    """However many words a command has, none of them is a call; a bounded part is judged."""
    pod = a_pod({"name": "x", "command": ["dockerd-entrypoint.sh"] * 5000 + ["cat"]})
    assert own_daemon(pod) is None


def test_a_bounded_part_is_judged() -> None:
    """What comes behind four thousand phrases has no say; a usual Pod has some dozens."""
    config = {"name": "work", "mountPath": "/root/.docker/config.json"}
    for number, score in ((100, -1), (20_000, 0)):
        mounts = [{"name": "work", "mountPath": f"/m{at}"} for at in range(number)]
        pod = a_pod(user(volumeMounts=[*mounts, config]), volumes=[SOCKET])
        assert score == judge(pod).score


def test_a_bounded_part_of_commands_is_judged() -> None:
    """Of all containers together, as of phrases."""
    for length, score in ((1000, -2), (60_000, 0)):
        users = [user(name=f"a{at}", command=["x" * length]) for at in range(5)]
        builder = user(name="b", command=["docker build ."])
        assert score == judge(a_pod(*users, builder, volumes=[SOCKET])).score
