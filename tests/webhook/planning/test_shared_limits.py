"""shared_limits: what a shared daemon cannot do, where a Pod shows that it matters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook.asking import config as configs
from webhook.asking.rules import Mode
from webhook.planning import shared_limits
from webhook.reasons import Reason

BIND = Reason.BIND_MOUNTS_SHARED
PORTS = Reason.PUBLISHED_PORTS


def limits(mode: Mode = Mode.SERVICE, config: str = "{}", labels: Any = None, **fields: Any) -> Any:
    pod = build.pod(build.container(**fields), labels=labels)
    settings = build.settings(configs.parse(config.encode()), mode)
    found = shared_limits.limits(pod, pod["spec"]["containers"], settings)
    return [finding.reason for finding in found]


@pytest.mark.parametrize(
    ("expected", "command"),
    [
        ([BIND], "docker run --rm -v /src:/src golang go test"),
        ([BIND], "cd /src && /usr/bin/docker run --volume=/a:/a x"),
        ([BIND], "docker container create --mount type=bind,source=/a,target=/a x"),
        ([PORTS], "x=$(docker run -d -p 80:80 nginx)"),
        ([PORTS], "'docker' run --publish 80 nginx"),
        ([PORTS], "docker run -P nginx"),
        ([BIND, PORTS], "docker run -v /a:/a x; docker -D run -p80:80 x"),
        ([], "docker build -t app ."),
        ([], "docker login -p secret && docker push app"),
        ([], "docker run app; mkdir -p /x"),
        ([], "docker run app && python -v"),
        ([], "docker run --platform linux/amd64 --volumes-from x app"),
        ([], "mydocker run -v /a:/a"),
        ([], ""),
    ],
)
def test_what_a_command_shows(expected: list[Reason], command: str) -> None:
    """Options of `docker run` and `docker create`, and of no other command."""
    assert expected == limits(command=["sh", "-c"], args=[command])


def test_testcontainers_publishes_ports() -> None:
    """By its variables, or its name in a command: its containers are reached at ports, but where these are the node's."""
    env = [{"name": "TESTCONTAINERS_RYUK_DISABLED", "value": "true"}]
    assert [PORTS] == limits(env=env)
    assert [PORTS] == limits(command=["python3", "-c", "from testcontainers.core import x"])
    node = "daemonset: {hostNetwork: true}"
    assert [PORTS] == limits(config=node, env=env)
    assert [] == limits(Mode.DAEMONSET, node, env=env)
    assert [PORTS] == limits(Mode.DAEMONSET, env=env)


def test_a_jenkins_pod_has_its_step() -> None:
    """docker.image().inside mounts the workspace, whatever the containers start."""
    assert [BIND] == limits(labels={"jenkins/label": "a"})


def test_a_bounded_part_of_commands_is_read() -> None:
    """Of all containers together, as the triage reads them."""
    for length, expected in ((1000, [BIND]), (100_000, [])):
        many = [build.container(f"a{at}", command=["x" * length]) for at in range(3)]
        last = build.container("last", command=["docker", "run", "-v", "/a:/a", "x"])
        settings = build.settings(build.DEFAULT, Mode.SERVICE)
        found = shared_limits.limits(build.pod(), [*many, last], settings)
        assert expected == [finding.reason for finding in found]
