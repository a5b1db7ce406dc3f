"""dind.sh on cgroup v2: a build stays within its Pod, and its Pod's daemon outlives it."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.cgroup2.sandbox import Sandbox
from tests.cluster.processes import wait_for_one, wait_until

pytestmark = pytest.mark.node

MIB: Final = 1 << 20
SHELL: Final = "localhost/shell:1"
RUN: Final = "docker run --pull=never"
MAKE_IMAGE: Final = f"""
tar -c -C / bin usr/bin/busybox usr/bin/dd usr/bin/sh usr/bin/sleep | docker import - {SHELL}
{RUN} -d --name keeper -m 64m --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 {SHELL} sleep 10000
"""
EAT: Final = "dd if=/dev/zero of=/dev/null bs=1G count=1"


@pytest.fixture(scope="module", autouse=True)
def keeper(pod: Sandbox) -> int:
    """A container that only waits, with limits; its process on the node."""
    pod.docker(MAKE_IMAGE)
    return sleeper(pod)


def sleeper(pod: Sandbox) -> int:
    """The process, on the node, of the one container that sleeps."""
    script = "for pid in {}; do tr '\\0' ' ' </proc/$pid/cmdline; echo; done"

    def found() -> list[int]:
        pids = pod.pids("sleep")
        code, said = pod.guest.attempt(script.format(" ".join(map(str, pids))))
        lines = said.splitlines() if code == 0 else []
        return [pid for pid, line in zip(pids, lines, strict=False) if line == "sleep 10000 "]

    # dind.sh sleeps, too, for a second; and a process that is about to run another program has its
    # parent's name until then.
    return wait_for_one(found, "one container sleeps")


def cgroup_of(pod: Sandbox, process: int) -> str:
    """As the node sees it."""
    return pod.guest.run(f"sed -n s/^0:://p /proc/{process}/cgroup").strip()


def test_docker_takes_it_as_v2(pod: Sandbox) -> None:
    """Docker finds one tree, and all that it needs to limit containers."""
    form = "{{.CgroupVersion}} {{.MemoryLimit}} {{.CPUCfsQuota}} {{.PidsLimit}} {{.CPUSet}}"
    said = pod.docker(f"docker info --format '{form}' 2>/dev/null")
    assert said.strip() == "2 true true true true"


def test_controllers_are_delegated(pod: Sandbox) -> None:
    """The daemon's cgroup hands down all that it has, and no process is in its way."""
    assert pod.read("cgroup.procs") == ""
    assert pod.read("cgroup.subtree_control") == pod.read("cgroup.controllers")
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= set(pod.read("cgroup.controllers").split())


def test_containers_are_in_the_pod(pod: Sandbox, keeper: int) -> None:
    """In a cgroup below the daemon's, where the node counts them against the Pod."""
    assert re.fullmatch(rf"{pod.daemon_cgroup}/docker/[0-9a-f]{{64}}", cgroup_of(pod, keeper))


def test_limits_hold(pod: Sandbox, keeper: int) -> None:
    """Memory, CPU, processes and cpuset of a container are set where the kernel enforces them."""
    files = ("memory.max", "cpu.max", "pids.max", "cpuset.cpus")
    cgroup = f"/sys/fs/cgroup{cgroup_of(pod, keeper)}"
    said = pod.guest.run(f"cd {cgroup}; cat {' '.join(files)}")
    assert said.splitlines() == [str(64 * MIB), "50000 100000", "50", "0"]


def test_containers_are_measured(pod: Sandbox) -> None:
    """The shim finds the cgroup by the path that /proc says: `docker stats` has figures."""
    form = "{{.MemUsage}} {{.PIDs}}"
    said = pod.docker(f"docker stats --no-stream --format '{form}' keeper").split()
    assert said[0] != "0B"
    assert said[2:] == ["64MiB", "1"]


def test_limit_of_a_container(pod: Sandbox) -> None:
    """Who eats more than its own limit is killed, and Docker says why."""
    # containerd is told that memory ran out only where it listens before that, and where the
    # cgroup is still there when it looks.
    pod.docker(f"""
        {RUN} -d --name limited -m 64m {SHELL} sh -c '
            until [ -e /listens ]; do sleep 0.1; done
            {EAT}; code=$?
            until [ -e /told ]; do sleep 0.1; done
            exit $code'
        docker exec limited sh -c '>/listens'
    """)
    events = "--filter container=limited --filter event=oom"
    wait_until(
        lambda: "oom" in pod.docker(f"docker events --since 0 --until $(date +%s) {events}"),
        "Docker is told",
    )
    pod.docker("docker exec limited sh -c '>/told'")
    assert pod.docker("docker wait limited").strip() == "137"
    killed = pod.docker("docker inspect --format '{{.State.OOMKilled}}' limited")
    assert killed.strip() == "true"


def test_memory_counts_in_the_pod(pod: Sandbox) -> None:
    """What a container holds is in the Pod's memory on the node."""
    file = f"/sys/fs/cgroup{pod.cgroup}/memory.current"
    before = int(pod.guest.run(f"cat {file}"))
    hold = "dd if=/dev/zero of=/held/file bs=1M count=100; echo held; exec sleep 10000"
    pod.docker(f"""
        {RUN} -d --name holder --tmpfs /held {SHELL} sh -c '{hold}'
        until docker logs holder 2>&1 | grep held; do sleep 0.1; done
    """)
    held = int(pod.guest.run(f"cat {file}")) - before
    pod.docker("docker rm -f holder")
    assert held > 90 * MIB


# Classic and BuildKit; the limit that is met may be the Pod's, or that of dinp-dind alone.
@pytest.mark.parametrize(
    ("buildkit", "of_daemon"), [(0, False), (1, True)], ids=["classic", "BuildKit"]
)
def test_greedy_build(pod: Sandbox, keeper: int, buildkit: int, of_daemon: bool) -> None:
    """A build that eats all memory is killed, and nothing else: not the daemon, no container."""
    before = {program: pod.pids(program) for program in ("dockerd", "containerd")}
    kills = pod.kills()
    if of_daemon:
        pod.limit_daemon(400 * MIB)
    code, said = pod.attempt(f"""
        printf 'FROM {SHELL}\\nRUN {EAT}\\n' | DOCKER_BUILDKIT={buildkit} docker build -
    """)
    assert code != 0
    assert re.search("code: 137|cannot allocate memory", said), said
    assert pod.kills() == kills + 1
    wait_until(
        lambda: {program: pod.pids(program) for program in before} == before, "all others are there"
    )
    assert keeper == sleeper(pod)
    assert pod.probe()


def test_the_kubelet_gets_in(pod: Sandbox) -> None:
    """A probe, or kubectl exec, joins the daemon, though its container's own cgroup is closed."""
    said = pod.guest.run(f"runc exec {pod.container} sed -n s/^0:://p /proc/self/cgroup").strip()
    assert said == ("/init" if pod.private else f"{pod.daemon_cgroup}/init")


def test_killed_daemon(pod: Sandbox) -> None:
    """It is started again in its container, and what it runs is in the Pod as before."""
    (killed,) = pod.pids("dockerd")
    pod.guest.run(f"kill -9 {killed}")
    wait_until(
        lambda: pod.pids("dockerd") not in ([], [killed]), "another dockerd is there", seconds=300
    )
    pod.wait_until_ready()
    pod.docker("docker rm -f keeper")
    pod.docker(f"{RUN} -d -m 64m --name again {SHELL} sleep 10000")
    cgroup = cgroup_of(pod, sleeper(pod))
    assert cgroup.startswith(f"{pod.daemon_cgroup}/docker/")
    assert pod.guest.run(f"cat /sys/fs/cgroup{cgroup}/memory.max").strip() == str(64 * MIB)


def test_end_and_restart(pod: Sandbox) -> None:
    """TERM ends it with 0 and leaves no cgroup; a new container of the Pod finds its images.

    One that is killed leaves nothing either, whatever ran in it.
    """
    pod.signal("TERM")
    assert pod.wait_for_end() == 0, pod.log()
    wait_until(lambda: pod.cgroups() == [], "no cgroup is left")
    pod.start()
    pod.wait_until_ready()
    pod.docker(f"{RUN} -d -m 64m --name third {SHELL} sleep 10000")
    assert cgroup_of(pod, sleeper(pod)).startswith(f"{pod.daemon_cgroup}/docker/")
    pod.signal("KILL")
    assert pod.wait_for_end() == 137
    wait_until(lambda: pod.cgroups() == [], "no cgroup is left")
