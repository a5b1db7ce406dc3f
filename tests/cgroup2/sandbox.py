"""A Pod's daemon in the guest, as kubelet, containerd and runc make its container on cgroup v2."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.cgroup2.guest import Guest
from tests.cluster.processes import wait_until
from tests.node.images import PATH, Image
from webhook import admission, names
from webhook.asking import rules
from webhook.asking.config import Config
from webhook.pods.pod import Container

_KUBEPODS: Final = "/kubepods/burstable"
_CAPABILITIES: Final = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER
SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE
SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP
MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
CHECKPOINT_RESTORE
"""
# Where a privileged container's mounts come from: all of it can be written to.
_MOUNTS: Final = (
    ("/proc", "proc", "proc", ()),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
    ),
    ("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),  # noqa: S108 - a path in the container
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "rw")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "rw")),
)


@dataclass(slots=True)
class Sandbox:
    """One Pod of which only dinp-dind runs; its network is its own, and has no way out."""

    guest: Guest
    name: str
    image_name: str  # of the guest's images
    image: Image
    private: bool  # its own cgroup namespace, as containers have that are not privileged
    memory: int  # the Pod's limit, bytes
    starts: int = 0
    dind: Container = field(init=False)

    def __post_init__(self) -> None:
        self.dind = _dind(self.image.name.removeprefix("docker.io/library/"))

    @property
    def cgroup(self) -> str:
        """The Pod's, as the node sees it."""
        return f"{_KUBEPODS}/pod-{self.name}"

    @property
    def container(self) -> str:
        """Its id: each start makes a new container, as the kubelet does."""
        return f"{self.name}-{self.starts}"

    @property
    def daemon_cgroup(self) -> str:
        """The container's, as the node sees it."""
        return f"{self.cgroup}/{self.container}"

    @property
    def _folder(self) -> str:
        return f"/pods/{self.name}"

    def start(self) -> None:
        """Start its container; it is not ready then."""
        self.starts += 1
        here = f"{self._folder}/{self.starts}"
        config = json.dumps(self._config())
        volumes = " ".join(f"{self._folder}/{mount['name']}" for mount in self._mounts())
        self.guest.run(f"""
            cgroup=/sys/fs/cgroup{self.cgroup}
            mkdir -p "$cgroup" {here}/upper {here}/work {here}/rootfs {volumes}
            echo {self.memory} >"$cgroup/memory.max"
            mount -t overlay overlay {here}/rootfs \
                -o lowerdir=/images/{self.image_name},upperdir={here}/upper,workdir={here}/work
            cat >{here}/config.json <<'END'\n{config}\nEND
            (   runc run --bundle {here} {self.container} </dev/null >{here}/log 2>&1 && code=0 || code=$?
                echo "$code" >{here}/code ) >/dev/null 2>&1 &
        """)

    def wait_until_ready(self) -> None:
        """Wait for the startup probe, as the kubelet does."""
        try:
            wait_until(self.probe, f"dockerd in {self.name} answers", seconds=300, interval=0.5)
        except Exception as error:
            error.add_note(self.log())
            raise

    def probe(self) -> bool:
        """Whether its startup probe, run in the container, succeeds."""
        words = self.dind["startupProbe"]["exec"]["command"]  # type: ignore[typeddict-item]  # not read by dinp
        return self.guest.attempt(f"runc exec {self.container} {' '.join(words)}")[0] == 0

    def docker(self, script: str) -> str:
        """Run a shell script of a client: it has the volume with the socket."""
        return self.guest.run(self._client(script))

    def attempt(self, script: str) -> tuple[int, str]:
        """The same, where it may fail: the exit code and what it says."""
        return self.guest.attempt(self._client(script))

    def signal(self, name: str) -> None:
        """Send a signal to the container's first process, as the runtime does."""
        self.guest.run(f"runc kill {self.container} {name}")

    def wait_for_end(self) -> int:
        """Wait until the container has ended and is removed; return its exit code."""
        file = f"{self._folder}/{self.starts}/code"
        wait_until(
            lambda: self.guest.attempt(f"test -s {file}")[0] == 0,
            f"the container {self.container} ends",
            seconds=300,
            interval=0.2,
        )
        return int(self.guest.run(f"cat {file}"))

    def pids(self, program: str) -> list[int]:
        """The processes of this name in the Pod, by their numbers on the node."""
        said = self.guest.run(f"""
            find /sys/fs/cgroup{self.cgroup} -name cgroup.procs -exec cat {{}} + |
                while read -r pid; do
                    [ "$(cat /proc/$pid/comm 2>/dev/null)" != {program} ] || echo "$pid"
                done
        """)
        return sorted(int(pid) for pid in said.split())

    def read(self, file: str) -> str:
        """A file of the cgroup that the container of this Pod began in."""
        return self.guest.run(f"cat /sys/fs/cgroup{self.daemon_cgroup}/{file}").strip()

    def limit_daemon(self, memory: int) -> None:
        """Give dinp-dind a limit of its own, bytes, as dinp.io/limits or a resize of the Pod does."""
        self.guest.run(f"echo {memory} >/sys/fs/cgroup{self.daemon_cgroup}/memory.max")

    def kills(self) -> int:
        """How many processes were killed for memory, below the cgroup of dinp-dind."""
        return int(
            dict(line.split() for line in self.read("memory.events").splitlines())["oom_kill"]
        )

    def cgroups(self) -> list[str]:
        """Those that are left of containers."""
        found = self.guest.run(f"find /sys/fs/cgroup{self.cgroup} -mindepth 1 -type d")
        return found.split()

    def log(self) -> str:
        """What the container wrote."""
        return self.guest.attempt(f"tail -n 60 {self._folder}/{self.starts}/log")[1]

    def _client(self, script: str) -> str:
        socket = f"{self._folder}/{names.RUN}/docker.sock"
        return f"export DOCKER_HOST=unix://{socket}\n{script}"

    def _mounts(self) -> list[Any]:
        return list(self.dind.get("volumeMounts") or ())

    def _config(self) -> Mapping[str, Any]:
        """What containerd would give runc."""
        variables = {"PATH": PATH, **self.image.environment}
        for variable in self.dind.get("env") or ():
            variables[variable["name"]] = variable.get("value") or ""
        kinds = ["pid", "network", "ipc", "uts", "mount", *(["cgroup"] if self.private else [])]
        every = [f"CAP_{name}" for name in _CAPABILITIES.split()]
        resources: dict[str, Any] = {
            "devices": [{"allow": True, "access": "rwm"}],
            "unified": {"memory.oom.group": "1"},  # as the kubelet has it
        }
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": [*(self.dind.get("command") or ()), *(self.dind.get("args") or ())],
                "env": [f"{name}={value}" for name, value in variables.items()],
                "cwd": "/",
                "oomScoreAdj": 988,  # as the kubelet has it, on a machine of 6 GB
                "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), every),
            },
            "root": {"path": "rootfs"},
            "hostname": self.name,
            "mounts": [*_system_mounts(), *map(self._volume, self._mounts())],
            "linux": {
                "namespaces": [{"type": kind} for kind in kinds],
                "cgroupsPath": self.daemon_cgroup,
                "resources": resources,
            },
        }

    def _volume(self, mount: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "destination": mount["mountPath"],
            "type": "bind",
            "source": f"{self._folder}/{mount['name']}",
            "options": ["rbind", "rprivate", "ro" if mount.get("readOnly") else "rw"],
        }


def _system_mounts() -> list[Mapping[str, Any]]:
    return [
        {"destination": place, "type": kind, "source": source, "options": list(options)}
        for place, kind, source, options in _MOUNTS
    ]


def _dind(image: str) -> Container:
    """The container that dinp gives a Pod that asks for one."""
    pod = {
        "metadata": {
            "name": "ci",
            "annotations": {rules.INJECT: "sidecar", "dinp.io/image": image},
        },
        "spec": {"containers": [{"name": "build", "image": "client"}]},
    }
    injected = admission.inject(pod, rules.RULES["/pods/annotated"], Config())
    assert injected.outcome == "mutated", injected.finding
    (dind,) = injected.pod["spec"].get("initContainers") or []
    assert dind["name"] == names.DIND
    return dind
