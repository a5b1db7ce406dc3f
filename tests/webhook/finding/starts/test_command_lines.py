"""command_lines: what a command line starts in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.webhook.test_linear import growth
from webhook.finding.starts import command_lines, shell_lines, tables
from webhook.finding.starts.command_lines import Started, started

DOCKERD = Started("dockerd")
NOTHING = Started()


def in_shell(text: str, *behind: str) -> Started:
    return started(["sh", "-c", text, *behind])


@pytest.mark.parametrize(
    "text",
    [
        "dockerd",
        "/usr/local/bin/dockerd --debug &",
        "\\\ndockerd",
        "'dockerd' -D",
        'exec "dockerd"',
        "A= B=2 dockerd-entrypoint.sh --mtu=1400",
        "MTU=$(ip a | awk '{print $2}') dockerd",
        "dockerd-entrypoint.sh & sleep 5; make",
        "dockerd-entrypoint.sh dockerd",
        "nohup dockerd >/var/log/dockerd.log 2>&1 &",
        "2>/dev/null dockerd",
        "(dockerd &)",
        "{ dockerd; }",
        "mkdir -p /x&&dockerd|tee log",
        "! dockerd",
        "time -p dockerd",
        "if ! docker info; then dockerd & fi",
        "until docker info; do dockerd & sleep 1; done",
        "for i in 1 2 3; do dockerd && break; done",
        "start() {\n  dockerd &\n}\nstart",
        "case $1 in\n  start) dockerd ;;\nesac",
        "case x in (a|b) true;; esac; dockerd",
        "x=$(dockerd & echo 1)",
        'echo "$(dockerd)"',
        "`dockerd`",
        "cat <(dockerd)",
        "cat <<EOF > it\nit's\nEOF\ndockerd",
        "cat <<-'E F' | tee x\n\tit's\n\tE F\ndockerd",
        "echo hi # it's\ndockerd",
        "echo $((1<<2)); dockerd",
        "${DOCKERD:-dockerd} &",
        "$'dockerd'",
        "sudo -E -u root dockerd",
        "timeout -k 5 30 dockerd",
        "timeout -- 30 dockerd",
        "env -u X A=b dockerd",
        "su-exec root dockerd --host=tcp://0.0.0.0:2375",
        "su - root -c 'dockerd &'",
        "setpriv --reuid 0 dockerd",
        "/usr/local/bin/dind dockerd",
        "docker-entrypoint.sh dockerd",
        "screen -dmS docker dockerd",
        "sudo su -lc 'dockerd &'",
        "wait-for-it.sh db:5432 -- dockerd",
        'set -- dockerd "$@"; exec "$@"',
        "eval 'dockerd &'",
        "sh -c \"sh -ec 'dockerd'\"",
        "start-stop-daemon --start --exec /usr/bin/dockerd -- --debug",
        "start-stop-daemon --start --background --exec=/usr/bin/dockerd",
        "bash -euxo pipefail -c 'dockerd &\nmake'",
        "bash -eo pipefail +O extglob -O nullglob -c dockerd",
        "bash --rcfile /x -oc pipefail dockerd",
        "unshare --mount --propagation private dockerd",
        "numactl --interleave=all -N 0 dockerd",
        "chrt -r 20 dockerd",
        "xvfb-run -a -s '-screen 0 1x1x8' bash -c 'dockerd & npm test'",
        "systemd-run --unit docker -p Delegate=yes dockerd",
        "rootlesskit --net=slirp4netns --copy-up=/etc -p 127.0.0.1:2375:2375/tcp dockerd",
    ],
)
def test_a_shell_starts_it(text: str) -> None:
    """Wherever a shell runs a command: behind assignments, wrappers and words of its grammar, in quotes too."""
    assert DOCKERD == in_shell(text)


@pytest.mark.parametrize(
    "text",
    [
        "pgrep dockerd || echo 'dockerd is elsewhere'",
        'grep -q "dockerd" /tmp/log; tail -f dockerd.log',
        "command -v dockerd && which dockerd",
        "[ -x /usr/bin/dockerd ] && docker build .",
        "while ! pgrep -x dockerd; do sleep 1; done",
        "for d in dockerd containerd; do pgrep $d; done",
        "case $x in dockerd|x) echo;; esac",
        "case $x in dockerd) echo;; esac",
        "cat <<EOF > it\ndockerd\nEOF\n",
        "cat <<EOF > it\ndockerd\n",
        "# dockerd\ntrue # dockerd",
        "kill $(pidof dockerd); trap 'dockerd' EXIT",
        "docker run --privileged docker:dind dockerd",
        "docker exec x -- dockerd; kubectl exec p -- dockerd; ssh host dockerd",
        "dockerd-entrypoint.sh cat",
        "dockerd --version; dockerd-entrypoint.sh --help",
        "echo > dockerd",
        "DAEMON=dockerd",
        "dockerd() { true; }",
        "start-stop-daemon --stop --exec dockerd",
        "service docker status || systemctl is-active docker || /etc/init.d/docker stop",
        "timeout 600 docker build .",
        "systemctl start containerd; echo start docker",
        "start-stop-daemon --start dockerd",
        "start-stop-daemon --stop --exec=dockerd; start-stop-daemon --start --exec=sshd dockerd",
        "bash -euo pipefail build.sh -c dockerd",
        "podman build . && podman run service",
        "timeout 30",
    ],
)
def test_a_shell_that_mentions_it(text: str) -> None:
    """A word in an argument, a comment, a document or a pattern starts nothing."""
    assert NOTHING == in_shell(text)


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("service docker start", "service docker start && make"),
        ("service docker start", "sudo service docker restart"),
        ("service docker start", "rc-service docker start"),
        ("/etc/init.d/docker start", "/etc/init.d/docker start"),
        ("systemctl start docker", "systemctl start --no-block containerd docker.service"),
        ("systemctl enable --now docker", "systemctl enable --now docker"),
        ("wrapdocker", "/usr/local/bin/wrapdocker &"),
        ("start-docker.sh", "bash -e /opt/start-docker.sh"),
        ("start-docker.sh", ". start-docker.sh"),
        ("start-dind.sh", "./start_dind.sh &"),
        ("docker-daemon-start.sh", "bash /ci/docker-daemon-start.sh"),
        ("docker-init.sh", "/usr/local/share/docker-init.sh true"),
        ("podman system service", "podman system service --time=0 tcp://0.0.0.0:2375 &"),
    ],
)
def test_services_and_scripts(expected: str, text: str) -> None:
    """The rows of STARTS, in a shell as by themselves."""
    assert expected == in_shell(text).daemon


@pytest.mark.parametrize("start", tables.STARTS, ids=lambda start: f"{start.program} {start.says}")
def test_each_row_starts_a_daemon(start: tables.Start) -> None:
    """A program with one word of each set; without them it starts none."""
    path = "/etc/" if "/" in start.program else "/usr/bin/"
    words = [f"{path}{start.program}", *map(min, start.arguments)]
    assert start.says == started(words).daemon
    assert start.reason
    if start.arguments:
        assert NOTHING == started(words[:-1])


@pytest.mark.parametrize("program", tables.BY_WRAPPER)
def test_each_wrapper_runs_what_is_behind_it(program: str) -> None:
    """Behind an option with its value, and words of its own."""
    wrapper = tables.BY_WRAPPER[program]
    valued = [word for option in sorted(wrapper.valued) for word in (option, "x")]
    assert DOCKERD == started([program, *valued, *["x"] * wrapper.own, "dockerd"])
    assert NOTHING == started([program, *valued, *["x"] * wrapper.own, "docker", "dockerd"])
    assert wrapper.reason


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (DOCKERD, ["/argo/argoexec", "emissary", "--loglevel", "info", "--", "dockerd-entrypoint.sh"]),
        (DOCKERD, ["argoexec", "emissary", "--", "sh", "-c", "dockerd &"]),
        (NOTHING, ["argoexec", "emissary", "--", "docker", "run", "docker:dind", "dockerd"]),
        (DOCKERD, ["/tekton/bin/entrypoint", "-wait_file", "x", "-entrypoint", "dockerd", "--"]),
        (DOCKERD, ["entrypoint", "-entrypoint", "dockerd-entrypoint.sh", "--", "--mtu=1400"]),
        (DOCKERD, ["entrypoint", "-entrypoint", "sh", "--", "-c", "dockerd &"]),
        (NOTHING, ["entrypoint", "-entrypoint", "dockerd-entrypoint.sh", "--", "cat"]),
        (NOTHING, ["entrypoint", "-wait_file", "dockerd"]),
        (DOCKERD, ["tini", "-g", "--", "bash", "-o", "pipefail", "-ec", "dockerd"]),
        (DOCKERD, ["sh", "-c", 'sleep 1; exec "$@"', "name", "dockerd", "--debug"]),
        (NOTHING, ["sh", "-c", "echo $@", "name", "dockerd"]),
        (NOTHING, ["sh", "-c"]),
        (NOTHING, ["sh", "-x", "build.sh", "dockerd"]),
        (NOTHING, ["exporter", "--process", "dockerd"]),
        (NOTHING, []),
    ],
)  # fmt: skip
def test_wrappers_of_systems(expected: Started, words: list[str]) -> None:
    """Argo's, Tekton's and images' own; what their arguments name counts only where it is started."""
    assert expected == started(words)


@pytest.mark.parametrize(
    ("unreadable", "text"),
    [
        (True, "echo 'dockerd"),
        (True, 'echo "dockerd'),
        (True, "dockerd $(x"),
        (True, f"echo dockerd {'x ' * 20_000}"),
        (True, "eval " * 20 + "echo dockerd"),
        (False, "echo 'docker"),
    ],
)
def test_a_text_that_cannot_be_read(unreadable: bool, text: str) -> None:
    """It is told where it names a daemon: nobody knows whether it starts one."""
    found = in_shell(text)
    assert "" == found.daemon
    assert unreadable == bool(found.unreadable)


def test_what_is_read_before_counts() -> None:
    """A shell runs what stands before the line that it cannot read."""
    assert DOCKERD == in_shell("dockerd &\necho 'x")


UNITS = ("eval ", "su -- ", "su -c ", "entrypoint -entrypoint ", "start-stop-daemon -x ", "sh -c ")


@pytest.mark.parametrize(
    "unit", [*UNITS, "service docker ", "x -- ", "sudo ", "exec ", '"$@" ', "A=1 "]
)
@pytest.mark.parametrize(
    "make",
    [
        lambda unit, n: [*(unit * n).split(), "dockerdx"],
        lambda unit, n: ["sh", "-c", f"echo dockerd;{unit * n}", *["x"] * n],
        lambda unit, n: ["sh", "-c", f"echo dockerd;{(unit + chr(10)) * n}", *["x"] * n],
    ],
    ids=["words", "one command", "many commands"],
)  # fmt: skip
def test_work_grows_with_the_line(unit: str, make: Callable[[str, int], list[str]]) -> None:
    """Four times the words take four times as long, whichever wrapper is in a wrapper."""
    few, many = make(unit, 500), make(unit, 2000)

    def seconds(words: list[str]) -> float:
        began = time.thread_time()
        for _ in range(3):
            started(words)
        return time.thread_time() - began

    assert growth(lambda: seconds(few), lambda: seconds(many)) <= 8


@pytest.mark.parametrize(
    ("taken_apart", "words"),
    [
        (False, ["sh", "-c", ";a;b", "x", "y"]),
        (False, ["sh", "-c", ';"$@"', "x", "y"]),
        (False, ["sh", "-c", ";a;b", "x", "dockerd"]),
        (False, ["make", '"$@"', "docker"]),
        (True, ["sh", "-c", ';"$@"', "x", "dockerd"]),
        (True, ["sh", "-c", 'exec "${@}"', "x", "service", "docker", "start"]),
        (True, ["sh", "-c", "echo dockerd"]),
    ],
)
def test_what_is_taken_apart(
    taken_apart: bool, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text that names a daemon, or whose parameters do: each of them is one that `texts` counts."""
    read: list[str] = []

    def commands(text: str) -> Iterator[list[str]]:
        read.append(text)
        return iter(())

    monkeypatch.setattr(shell_lines, "commands", commands)
    started(words)
    assert taken_apart == bool(read)
    assert {*read} <= {*command_lines.texts(words)}


def test_so_many_wrappers_are_followed() -> None:
    """A line of nothing else takes no longer than one that runs."""
    assert started(["nice"] * 49 + ["dockerd"]) == DOCKERD
    assert started(["nice"] * 50 + ["dockerd"]) == NOTHING
    assert started(["flock", "x"] * 200_000) == NOTHING
