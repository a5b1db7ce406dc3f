"""How Docker daemons are started, and which variables have one started: two tables of data.

A new way to start a daemon is a new row with its reason; nothing else knows one. Names of
programs are those of files, without their folder, but for scripts of init.d.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple


def words(text: str) -> frozenset[str]:
    """The words of `text`: a set of many is read better so."""
    return frozenset(text.split())


# ---- how daemons are started -----------------------------------------------------------------


class Start(NamedTuple):
    """A program that starts a daemon if its arguments have one word of each set, in any order."""

    program: str
    arguments: tuple[frozenset[str], ...]
    says: str  # after "runs"
    reason: str


_AGAIN: Final = frozenset({"start", "restart"})
_NAME: Final = frozenset({"docker"})
_UNITS: Final = frozenset({"docker", "docker.service", "docker.socket"})
_SERVING: Final = (frozenset({"system"}), frozenset({"service"}))


def _scripts(name: str, reason: str) -> Iterator[Start]:
    for script in (f"start-{name}.sh", f"start-{name}", f"{name}-start.sh"):
        for spelling in dict.fromkeys((script, script.replace("-", "_"))):
            yield Start(spelling, (), script, reason)


STARTS: Final = (
    Start("dockerd", (), "dockerd", "the daemon itself"),
    Start("dockerd-rootless.sh", (), "dockerd", "Docker's start of a rootless daemon"),
    Start("dockerd-rootless", (), "dockerd", "the same, as some distributions call it"),
    Start("podman", _SERVING, "podman system service", "Podman answers Docker's API, too"),
    Start("wrapdocker", (), "wrapdocker", "jpetazzo/dind and Docker's own image before 1.8"),
    *_scripts("docker", "images with dockerd (cruizba/ubuntu-dind) and scripts of teams"),
    *_scripts("dockerd", "the same, by the daemon's name"),
    *_scripts("docker-daemon", "the same"),
    *_scripts("dind", "the same"),
    Start("docker-init.sh", (), "docker-init.sh", "devcontainers/features, docker-in-docker"),
    Start("envbox", (_NAME,), "envbox docker", "Coder's: a daemon and the workspace in it"),
    Start("service", (_NAME, _AGAIN), "service docker start", "System V init: Debian, Ubuntu"),
    Start("invoke-rc.d", (_NAME, _AGAIN), "service docker start", "what Debian's service calls"),
    Start("rc-service", (_NAME, _AGAIN), "service docker start", "OpenRC: Alpine"),
    Start("init.d/docker", (_AGAIN,), "/etc/init.d/docker start", "the script that service runs"),
    Start("systemctl", (_UNITS, _AGAIN), "systemctl start docker", "systemd in the container"),
    Start(
        *("systemctl", (_UNITS, frozenset({"enable"}), frozenset({"--now"}))),
        *("systemctl enable --now docker", "the same, for every start of the system"),
    ),
)
# With one of these a daemon only says something, and ends.
ASKING: Final = words("--version -v --help -h --validate")
# It starts dockerd with flags or nothing behind it, and else what is behind it (Docker's own dind image).
ENTRYPOINT: Final = "dockerd-entrypoint.sh"
# What images start themselves by: whoever names one as the command leaves the image to run. Not
# `entrypoint`, which is Tekton's and Prow's, and runs what its options say.
ENTRYPOINTS: Final = words(
    "entrypoint.sh docker-entrypoint.sh startup.sh supervisord systemd s6-svscan runsvdir"
)
# A text without any of these words starts no daemon, and is not taken apart.
MENTIONS: Final = re.compile(
    "dockerd|wrapdocker|start[-_](?:docker|dind)|(?:docker|daemon|dind)[-_]start|docker-init|"
    r"(?:service|rc\.d|init\.d|systemctl)\b[^\n;&|]{0,60}docker|envbox|podman\b[^\n;&|]{0,60}service"
)


class Wrapper(NamedTuple):
    """A program that runs the command behind its own options and words.

    `own`: how many words of its own stand before the command; `valued`: options whose value is the
    next word.
    """

    programs: tuple[str, ...]
    reason: str
    own: int = 0
    valued: frozenset[str] = frozenset()


WRAPPERS: Final = (
    Wrapper(("tini", "tini-static", "docker-init"), "init of a container", 0, words("-p -e")),
    Wrapper(("dumb-init", "catatonit"), "init of a container", 0, words("-r --rewrite")),
    Wrapper(("dind",), "Docker's hack/dind: mounts for nested containers"),
    Wrapper(("nohup", "setsid", "time", "builtin", "command"), "the shell's and coreutils'"),
    Wrapper(("exec",), "the shell itself becomes the command", 0, words("-a")),
    Wrapper(("busybox", "with-contenv"), "picks a program, or its variables"),
    Wrapper(("docker-entrypoint.sh", "entrypoint.sh"), "entrypoints of images run their arguments"),
    Wrapper(
        ("daemonize", "screen"), "goes to the background", 0, words("-S -dmS -c -e -o -p -l -u")
    ),
    Wrapper(("env",), "sets variables", 0, words("-u --unset -C --chdir")),
    Wrapper(("sudo", "doas"), "another user", 0, words("-u -g -h -p -C -r -t -D -R -T --user")),
    Wrapper(("su-exec", "gosu", "s6-setuidgid", "setuidgid"), "another user", 1),
    Wrapper(("setpriv", "capsh", "prlimit"), "other rights", 0, words("--reuid --regid")),
    Wrapper(("timeout",), "ends it after a time", 1, words("-k -s --kill-after --signal")),
    Wrapper(("nice", "ionice", "numactl"), "another priority", 0, words("-n -c -p -t -N -m")),
    Wrapper(("chrt",), "another scheduler, by a number", 1, words("-T -P -D")),
    Wrapper(("chpst",), "other limits, another user", 0, words("-u -U -e -n")),
    Wrapper(("taskset", "chroot", "faketime", "flock"), "a word of theirs first", 1, words("-w")),
    Wrapper(("stdbuf",), "other buffers", 0, words("-i -o -e")),
    Wrapper(("strace", "ltrace"), "traces", 0, words("-o -e -p -S -G")),
    Wrapper(("unshare",), "new namespaces", 0, words("-S -G -R -w --propagation --setgroups")),
    Wrapper(("rootlesskit",), "the user namespace of a rootless daemon", 0, words("-p")),
    Wrapper(("xvfb-run",), "a display", 0, words("-n -s -e -f -w -p")),
    Wrapper(("systemd-run",), "a unit of systemd", 0, words("-u -p -E --unit --property")),
    Wrapper(("dbus-run-session", "fixuid", "systemd-inhibit"), "a session, a user or a lock"),
)
# Options that give the program, instead of a word of its own; by program.
GIVEN_BY_OPTION: Final[dict[str, frozenset[str]]] = {
    "entrypoint": words("-entrypoint --entrypoint"),  # Tekton's steps
    "start-stop-daemon": words("--exec -x --startas -a"),  # scripts of init.d
}
NOT_WITH: Final = words("--stop -K --status -T")  # of start-stop-daemon
# Options that give a line for a shell.
LINE_BY_OPTION: Final = words("-c --command -lc -qc")
LINE_TAKERS: Final = frozenset({"su", "runuser", "script", "flock"})
SHELLS: Final = frozenset({"sh", "bash", "ash", "dash", "zsh", "ksh", "mksh"})
SHELLS_VALUED: Final = words("--rcfile --init-file")
# Letters of a shell's options with the next word as their value, as in `bash -euxo pipefail -c`.
SHELLS_LETTERS: Final = frozenset("oO")
SOURCING: Final = frozenset({".", "source"})
EVALUATING: Final = frozenset({"eval"})
# What stands behind `--` is a command, unless one of these has it as an argument, or runs it
# elsewhere. Any other is a wrapper: argoexec emissary, wait-for-it.sh, envconsul, and those to
# come. Wrong, it leaves a Pod as it is, with a warning; the other way gives it a second daemon.
NO_WRAPPERS: Final = words(
    "docker docker-compose podman nerdctl crictl ctr kubectl oc helm ssh scp rsync nsenter "
    "pgrep pkill pidof kill killall ps top echo printf cat tac tail head less more ls find stat test [ [[ "
    "grep egrep fgrep rg sed awk cut tr sort wc tee touch rm cp mv ln mkdir chmod chown readlink "
    "basename dirname which whereis type hash man git curl wget cd apt apt-get apk yum dnf "
    "trap alias export unset read declare local : true false exit return sleep wait"
)
# Before a command, in the shell's grammar.
RESERVED: Final = words("if then elif else while until do ! { coproc")

PROGRAMS: Final[dict[str, tuple[Start, ...]]] = {
    start.program: tuple(one for one in STARTS if one.program == start.program) for start in STARTS
}
BY_WRAPPER: Final[dict[str, Wrapper]] = {
    program: wrapper for wrapper in WRAPPERS for program in wrapper.programs
}

# ---- variables that have a daemon started ----------------------------------------------------


class Switch(NamedTuple):
    """A variable for which an image starts dockerd; `privileged`: only where the container is."""

    name: str
    privileged: bool
    reason: str


def _and_its_like(name: str) -> Iterator[Switch]:
    for like in (
        f"ENABLE_{name}",
        f"{name}_ENABLED",
        f"USE_{name}",
        f"START_{name}",
        f"RUN_{name}",
    ):
        yield Switch(like, True, f"images of many teams; like {name}")


SWITCHES: Final[dict[str, Switch]] = {
    switch.name: switch
    for switch in (
        *_and_its_like("DIND"),
        *_and_its_like("DOCKER_IN_DOCKER"),
        *_and_its_like("DOCKERD"),
        *_and_its_like("DOCKER_DAEMON"),
        Switch("START_DOCKER", True, "images of many teams"),
        Switch("DOCKER_IN_DOCKER_ENABLED", False, "Prow's job images (kubekins, bootstrap)"),
        Switch("DOCKER_IN_DOCKER", False, "TeamCity's agents: start"),
        Switch("DOCKERD_IN_RUNNER", False, "actions-runner-controller's runner-dind"),
        Switch("DIND", False, "images of many teams"),
    )
}
ON: Final = frozenset({"true", "1", "yes", "y", "on", "start", "enable", "enabled"})

# ---- variables with the command --------------------------------------------------------------

# Text for a shell.
SCRIPT_VARIABLES: Final = {
    "BUILDKITE_COMMAND": "agent-stack-k8s moves command and args here",
    "DRONE_SCRIPT": "Drone's runner for Kubernetes pipes it into a shell",
}
# The same in base64.
ENCODED_VARIABLES: Final = {
    "CI_SCRIPT": "Woodpecker's agent for Kubernetes decodes it and pipes it into a shell",
}
# JSON with the words of the command in `args` (sigs.k8s.io/prow, pkg/entrypoint.Options).
PROWS_OPTIONS: Final = "ENTRYPOINT_OPTIONS"
COMMAND_VARIABLES: Final = frozenset({*SCRIPT_VARIABLES, *ENCODED_VARIABLES, PROWS_OPTIONS})
