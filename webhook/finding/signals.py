"""What speaks for a node agent, and what for a builder: one table over the facts of a Pod."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from webhook.finding.facts import About, Fact
from webhook.pods import bounds
from webhook.pods import pod as pods


class Signal(NamedTuple):
    """A fact about one of these things whose value `holds` counts `points`, at most `most` times."""

    name: str
    points: int
    about: tuple[About, ...]
    holds: Callable[[str], object]
    most: int = 1


class Score(NamedTuple):
    """Points in all, and what spoke for a node agent (more than 0) and for a builder (less)."""

    points: int
    speaking: tuple[tuple[int, str], ...]

    def agent(self) -> tuple[str, ...]:
        """Sentences."""
        return tuple(text for points, text in self.speaking if points > 0)

    def builder(self) -> tuple[str, ...]:
        """Sentences."""
        return tuple(text for points, text in self.speaking if points < 0)


# ---- what holds of a value -----------------------------------------------------------------


def _always(_value: str) -> bool:
    return True


def _one_of(*values: str) -> Callable[[str], bool]:
    return frozenset(values).__contains__


def _ends_with(*ends: str) -> Callable[[str], bool]:
    return lambda value: value.endswith(ends)


def _begins_with(*beginnings: str) -> Callable[[str], bool]:
    return lambda value: value.startswith(beginnings)


# DOTALL, so that every `.*` before the end matches at once: no text takes quadratic time.
def _is(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern, re.DOTALL).fullmatch


def _has(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern).search


def _words(*words: str) -> Callable[[str], object]:
    """Whether one of them stands there by itself: `build` in `ci-build_2`, not in `rebuilder`."""
    return _has(rf"(?<![a-z0-9])(?:{'|'.join(words)})(?![a-z0-9])")


# Of names of images and containers, and of nodes.
_CI_WORDS: Final = (
    *("ci", "cd", "cicd", "jenkins", "jnlp", "buildkite", "build", "builders?", "builds"),
    *("runners?", "executor", "teamcity", "bamboo", "gocd", "azp", "azdevops", "azure-pipelines"),
    *("azure-devops", "concourse", "drone", "woodpecker", "gitlab", "github", "circleci"),
    *("actions", "buildkit", "buildx", "buildpacksio", "kaniko", "skaffold", "earthly", "dagger"),
    *("repo2docker", "s2i", "testcontainers", "e2e", "pipelines?", "compile", "release"),
    *(
        "publish",
        "packager",
        "integration-tests?",
        "molecule",
        "octopusdeploy",
        "bitbucket",
        "semaphore",
        "spinnaker",
        "harness",
    ),
    *("kestra", "airflow", "dagster", "prefect", "windmill", "localstack", "packer", "semaphoreci"),
)
_WATCHES_WORDS: Final = (
    *("monitor", "monitors", "monitoring", "exporters?", "metrics", "logs?", "logger", "logging"),
    *("shipper", "log-?shipper", "collector", "forwarder", "telemetry", "otel", "scanner"),
    *("security", "audit", "auditor", "cleaner", "cleanup", "gc", "prune", "pruner", "janitor"),
    *("reaper", "probe", "sensor", "inspector", "watcher", "watchdog", "healer", "profiler"),
    *(
        "ebpf",
        "cni",
        "chaos",
        "dashboard",
        "observability",
        "detector",
        "apm",
        "node-?agent",
        "housekeeping",
    ),
    *("image-?gc", "image-?puller", "prepull", "prepuller", "sweeper", "garbage", "stats"),
)
# Variables by which agents of CI systems are set up, and clients of Docker's builds.
_CI_VARIABLES: Final = (
    *("AZP_", "BAMBOO_", "TEAMCITY_", "GO_SERVER_URL", "GO_EA_", "GITHUB_", "ACTIONS_"),
    *("RUNNER_", "BUILDKITE_", "JENKINS_", "DRONE_", "WOODPECKER_", "CIRCLECI_", "CIRCLE_"),
    *("GITEA_INSTANCE_", "GITEA_RUNNER_", "CI_", "TESTCONTAINERS_", "BUILDX_", "COMPOSE_"),
    *("DOCKER_BUILDKIT", "DOCKER_CONFIG", "BITBUCKET_", "SEMAPHORE_", "VSTS_"),
)
_DOCKER_IMAGES: Final = frozenset({"docker", "docker-cli", "docker-client", "dind"})
_CI_LABELS: Final = frozenset(
    {
        *("jenkins", "tekton.dev", "actions.github.com", "prow.k8s.io"),
    }
)
_STATE_TREES: Final = (
    *("/proc", "/sys", "/boot", "/lib/modules", "/var/log", "/var/lib/docker"),
    *("/var/lib/kubelet", "/etc/cni", "/opt/cni"),
)


_CONTAINER_LOGS: Final = ("/var/lib/docker/containers", "/var/log/containers", "/var/log/pods")


def _is_runtime(path: str) -> bool:
    """containerd's, CRI-O's or another runtime's socket."""
    below = next(
        (path.removeprefix(at) for at in ("/run/", "/var/run/") if path.startswith(at)), ""
    )
    return "containerd" in below or "cri" in below


def _is_state(path: str) -> bool:
    # /dev as a whole: /dev/shm, /dev/kvm and /dev/fuse are what builds and browsers need.
    return path == "/dev" or any(pods.is_within(path, tree) for tree in _STATE_TREES)


def _is_dockers(image: str) -> bool:
    return image.rpartition("/")[2] in _DOCKER_IMAGES


def _is_cis(label: str) -> bool:
    prefix, slash, _ = label.partition("/")
    return bool(slash) and prefix in _CI_LABELS


# The first one whose value holds counts for a fact. 20 outweighs all others: one Pod on each node
# is there for the node, and no Linux daemon replaces a Windows pipe.
SIGNALS: Final = (
    Signal("daemon_set", 20, (About.OWNER,), _one_of("DaemonSet")),
    Signal("windows_pipe", 20, (About.NODE_PATH,), _ends_with("docker_engine")),
    Signal("cleaner", 5, (About.COMMAND,), _is(r"(?:xargs .*)?docker (?:.*rmi?|.* prune)\b.*")),
    Signal("host_pid", 2, (About.HOST_PID,), _always),
    Signal("whole_node", 2, (About.NODE_PATH,), _one_of("/")),
    Signal("run_directory", 2, (About.NODE_PATH,), _one_of("/run", "/var", "/var/run")),
    Signal("other_runtime", 2, (About.NODE_PATH,), _is_runtime),
    Signal("system_priority", 2, (About.PRIORITY,), _is("system-.*")),
    # Logs of the node's containers, as its runtime writes them.
    Signal("container_logs", 2, (About.NODE_PATH,), _one_of(*_CONTAINER_LOGS)),
    Signal("node_state", 1, (About.NODE_PATH,), _is_state, most=3),
    Signal("host_network", 1, (About.HOST_NETWORK,), _always),
    Signal("read_only", 1, (About.READ_ONLY,), _ends_with("/docker.sock", "/run", "/var", "/")),
    Signal("tolerates_all", 1, (About.ANY_NODE,), _always),
    Signal("knows_node", 1, (About.FIELD,), _one_of("spec.nodeName", "status.hostIP")),
    Signal("watching_command", 5, (About.WATCHES,), _always),
    Signal("docker_image", -3, (About.IMAGE,), _is_dockers),
    Signal("jenkins_agent", -3, (About.NAME,), _one_of("jnlp")),
    Signal("ci_job", -3, (About.LABEL,), _is_cis),
    Signal("endpoint", -2, (About.SOCKET,), _ends_with("/docker.sock")),
    Signal("docker_cli", -2, (About.NODE_PATH,), _is("/.*bin/docker")),
    Signal("docker_command", -2, (About.COMMAND,), _always),
    Signal(
        *("credentials", -1, (About.MOUNT_PATH,)),
        _is(r".*/(?:\.docker(?:cfg|/.*)?|registry-credentials)/?"),
    ),
    Signal("ci_words", -1, (About.IMAGE, About.NAME), _words(*_CI_WORDS), most=2),
    Signal("ci_variables", -2, (About.VARIABLE,), _begins_with(*_CI_VARIABLES)),
    Signal("ci_nodes", -1, (About.NODES,), _words(*_CI_WORDS)),
    Signal("watching_words", 1, (About.IMAGE, About.NAME), _words(*_WATCHES_WORDS), most=2),
)
# What a fact takes of the bound beside its values.
_WORDS: Final = 16
_BY_SUBJECT: Final = {
    about: tuple(signal for signal in SIGNALS if about in signal.about) for about in About
}


def score(facts: Iterable[Fact]) -> Score:
    """Count: each fact once, and as many as any usual Pod has."""
    speaking: list[tuple[int, str]] = []
    times: dict[str, int] = {}
    left = bounds.PHRASES
    for fact in dict.fromkeys(facts):
        left -= _WORDS + len(fact.value) + len(fact.container) + len(fact.name)
        if left < 0:
            break
        for signal in _BY_SUBJECT[fact.about]:
            if signal.holds(fact.value):
                times[signal.name] = times.get(signal.name, 0) + 1
                if times[signal.name] <= signal.most:
                    speaking.append((signal.points, str(fact)))
                break
    return Score(sum(points for points, _ in speaking), tuple(speaking))
