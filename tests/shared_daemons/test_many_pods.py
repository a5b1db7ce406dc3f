"""Fifty Pods at once on one daemon, what they cost it, and what is left of them.

They leave all that a careless job leaves: a container that has ended, with a volume that nobody
has named, a network and an image. The ages are seconds here, and hours and days where nobody
says otherwise. An image and a network have to be used within theirs.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.processes import wait_until
from tests.node import pods
from tests.shared_daemons.daemons import DAEMONSET, IMAGE, Daemons, client
from tests.terminal import teller

pytestmark = [pytest.mark.node, pytest.mark.tail]

NAMESPACE: Final = "many-pods"
PODS: Final = 50
SECONDS: Final = 600.0
CONTAINER_AGE: Final = 60
IMAGE_AGE: Final = 80
KEEPER: Final = (
    "--prune-interval=2s",
    f"--container-age={CONTAINER_AGE}s",
    f"--image-age={IMAGE_AGE}s",
)
_MIB: Final = 1024  # KiB
# What other tests have left.
EMPTY: Final = """
export DOCKER_HOST=unix:///dinp/docker.sock
docker ps --all --quiet | xargs -r docker rm --force --volumes
docker volume ls --quiet | xargs -r docker volume rm
docker system prune --all --force
"""
# Somebody who is still at work, and something that was put there to stay.
OTHERS: Final = (
    IMAGE
    + """
docker run -d --pull=never --name others -v others:/data localhost/shell:1 busybox sleep 100000
docker volume create kept
"""
)
# Each with its own image, as a build's is.
LEAVES: Final = """
name=$(hostname)
mkdir /context; cp /usr/bin/busybox /context
cat >/context/Dockerfile <<END
FROM scratch
COPY busybox /bin/busybox
ENV MADE_BY=$name
RUN ["/bin/busybox", "true"]
END
DOCKER_BUILDKIT=1 docker build --quiet --tag "localhost/$name:1" /context
docker network create "$name"
docker run --pull=never --name "$name" --network "$name" -v /data "localhost/$name:1" \\
    /bin/busybox sh -c 'busybox echo "$MADE_BY" >/data/said; busybox cat /data/said'
"""


@pytest.fixture(scope="module")
def tidy(daemons: Daemons) -> Iterator[Daemons]:
    """Daemons whose keepers remove things soon."""
    pod = daemons.daemon_on(daemons.nodes[0].name)["metadata"]["name"]
    daemons.execute(pod, "sh", "-euc", EMPTY)
    daemons.install(DAEMONSET, options={"keeper": KEEPER})
    yield daemons
    daemons.install(DAEMONSET)


def test_fifty_pods(tidy: Daemons, request: pytest.FixtureRequest) -> None:
    """All finish; later only what is in use is left, and what somebody has named."""
    say, node = teller(request), tidy.nodes[0].name
    daemon = tidy.daemon_on(node)
    name, uid = daemon["metadata"]["name"], daemon["metadata"]["uid"]
    with tidy.namespace(NAMESPACE):
        tidy.start(NAMESPACE, client("others", DAEMONSET, OTHERS, node=node))
        tidy.said(NAMESPACE, "others")
        before, began = memory(uid), time.monotonic()
        for number in range(PODS):
            pod = client(f"leaves-{number}", DAEMONSET, LEAVES, node=node)
            # They are to run at once, whatever a node of this machine has.
            pod["spec"]["automountServiceAccountToken"] = False
            tidy.start(NAMESPACE, pod)
        peak = until(lambda: all_ended(tidy), lambda: memory(uid))
        seconds = time.monotonic() - began
        assert {f"leaves-{number}": "Succeeded" for number in range(PODS)} == phases(tidy), said(
            tidy
        )
        listed = left(tidy, name)
        say(f"{PODS} Pods in {seconds:.0f} s leave {counted(listed)}")
        assert listed["containers"] > {"others"}  # the first may have been removed by now
        assert listed["images"] > {"localhost/shell"}
        began = time.monotonic()
        wait_until(lambda: is_tidy(tidy, name), "the daemon is tidy", seconds=SECONDS, interval=1)
        say(
            f"removed {time.monotonic() - began:.0f} s later; memory: {figure(before, peak, memory(uid))}"
        )
        assert "true" in tidy.docker(name, "inspect", "--format={{.State.Running}}", "others")
        # A client that asks now is served as before.
        assert "others" in tidy.docker(name, "exec", "others", "sh", "-c", "echo others")


def left(daemons: Daemons, pod: str) -> dict[str, set[str]]:
    """All that a daemon has, by names; containers also those that have ended."""
    ask = {
        "containers": ("ps", "--all", "--format={{.Names}}"),
        "volumes": ("volume", "ls", "--format={{.Name}}"),
        "networks": ("network", "ls", "--format={{.Name}}"),
        "images": ("images", "--format={{.Repository}}"),
    }
    return {kind: set(daemons.docker(pod, *command).split()) for kind, command in ask.items()}


def is_tidy(daemons: Daemons, pod: str) -> bool:
    """Whether there is no more than that of the others."""
    with suppress(AssertionError):  # what is removed while it is listed is an error of docker's
        return left(daemons, pod) == {
            "containers": {"others"},
            "volumes": {"others", "kept"},
            "networks": {"bridge", "host", "none"},
            "images": {"localhost/shell"},
        }
    return False


def counted(listed: dict[str, set[str]]) -> str:
    """How many of each kind."""
    return ", ".join(f"{len(names)} {kind}" for kind, names in listed.items())


def phases(daemons: Daemons) -> dict[str, str]:
    """The phase of each of the Pods."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    found = daemons.api.must("GET", path)["items"]
    named = {pod["metadata"]["name"]: pod["status"].get("phase", "") for pod in found}
    return {name: phase for name, phase in named.items() if name != "others"}


def all_ended(daemons: Daemons) -> bool:
    """Whether none of the Pods runs any more."""
    return set(phases(daemons).values()) <= {"Succeeded", "Failed"}


def said(daemons: Daemons) -> str:
    """The last words of those that have failed."""
    failed = [name for name, phase in phases(daemons).items() if phase != "Succeeded"]
    cluster = daemons.bare.cluster
    return "\n".join(pods.logs(cluster, NAMESPACE, name, "client")[-500:] for name in failed[:5])


def until(ended: Callable[[], bool], look: Callable[[], Counter[str]]) -> Counter[str]:
    """Look again and again until something has ended; return the most of each figure."""
    deadline, peak = time.monotonic() + SECONDS, look()
    while not ended() and time.monotonic() < deadline:
        peak |= look()
        time.sleep(0.5)
    return peak


def memory(uid: str) -> Counter[str]:
    """What a Pod's processes have resident, in KiB by their programs' names, but for containers'."""
    found: Counter[str] = Counter()
    for process in Path("/proc").iterdir():
        # It may end meanwhile.
        with suppress(OSError):
            if process.name.isdigit() and f"pod{uid}" in (process / "cgroup").read_text():
                found[(process / "comm").read_text().strip()] += resident(process)
    wanted = ("dockerd", "containerd", "containerd-shim", "dinp")
    return Counter({name: found[name] for name in wanted})


def resident(process: Path) -> int:
    """KiB of one process."""
    pages = int((process / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def figure(before: Counter[str], peak: Counter[str], after: Counter[str]) -> str:
    """For people."""
    return ", ".join(
        f"{name} {before[name] // _MIB}, at most {peak[name] // _MIB}, then {after[name] // _MIB} MiB"
        for name in peak
    )
