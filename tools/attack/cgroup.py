"""A memory cgroup for one process, of version 1 or 2: whichever this machine has.

    with cgroup(limit) as made:
        ... a process that writes its id into each of made.joins

Version 1 has a hierarchy for each controller, and memory and cpuacct are needed of them. What is
still in it at its end is killed, and it is removed; one that a SIGKILL left is, by the next run.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mounts")
_PREFIX: Final = "dinp-attack-"
_HOW: Final = (
    "run it as root, in a container with --privileged and --cgroupns=host, on a machine with a "
    "memory controller (cgroup_enable=memory on its kernel's command line where it is off)"
)
# What bounds memory, and where what is swapped would get past that; files that need not be there.
_LIMITS: Final = {1: "memory.limit_in_bytes", 2: "memory.max"}
_SWAP: Final = {1: "memory.memsw.limit_in_bytes", 2: "memory.swap.max"}
_PEAK: Final = {1: "memory.max_usage_in_bytes", 2: "memory.peak"}
_EVENTS: Final = {1: "memory.oom_control", 2: "memory.events"}


class CgroupError(Exception):
    """None can be made; says what is missing, and how to get it."""


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One that is there: a folder for memory, and one for processor time (version 2: the same)."""

    version: int
    memory: Path
    cpu: Path

    @property
    def joins(self) -> list[Path]:
        """Files that a process writes its id to."""
        return [folder / "cgroup.procs" for folder in dict.fromkeys((self.memory, self.cpu))]

    def command(self, command: Sequence[str]) -> list[str]:
        """`command`, in it from its first byte on."""
        join = "".join(f"echo $$ >{file} && " for file in self.joins)
        return ["sh", "-c", f'{join}exec "$@"', "sh", *command]

    def processes(self) -> list[int]:
        """The ids of those that are in it."""
        return [int(line) for line in (self.memory / "cgroup.procs").read_text().split()]

    def peak(self) -> int | None:
        """The most bytes that it has ever had; None where the kernel (before 5.19) does not say."""
        file = self.memory / _PEAK[self.version]
        return int(file.read_text()) if file.exists() else None

    def kills(self) -> int:
        """How many processes the kernel has killed here for want of memory."""
        return _fields(self.memory / _EVENTS[self.version]).get("oom_kill", 0)

    def cpu_seconds(self) -> float:
        """Processor time of all its processes, also of those that have ended."""
        if self.version == 1:
            return int((self.cpu / "cpuacct.usage").read_text()) / 1e9
        return _fields(self.cpu / "cpu.stat")["usage_usec"] / 1e6


@contextmanager
def cgroup(limit: int) -> Iterator[Cgroup]:
    """Make one of `limit` bytes, without swap.

    Raises:
        CgroupError: it cannot be made.
    """
    made: list[Path] = []
    try:
        yield _make(limit, MOUNTS.read_text(encoding="utf-8"), made)
    except PermissionError as error:
        raise CgroupError(f"{error.filename} may not be written: {_HOW}") from error
    finally:
        for folder in made:
            _remove(folder)


def _make(limit: int, mounts: str, made: list[Path]) -> Cgroup:
    version, memory, cpu = _hierarchies(mounts)
    for parent in dict.fromkeys((memory, cpu)):
        _sweep(parent)
        made.append(Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent)))
    found = Cgroup(version, made[0], made[-1])
    if not (file := found.memory / _LIMITS[version]).exists():
        raise CgroupError(f"there is no {file}, though its hierarchy is there: {_HOW}")
    file.write_text(str(limit), encoding="ascii")
    swap = found.memory / _SWAP[version]
    if swap.exists():
        swap.write_text(str(limit if version == 1 else 0), encoding="ascii")
    return found


def _hierarchies(mounts: str) -> tuple[int, Path, Path]:
    """The version, and where memory and processor time are counted."""
    second = None
    first: dict[str, Path] = {}
    for line in mounts.splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup":
            first |= dict.fromkeys(options.split(","), Path(where))
        elif kind == "cgroup2":
            second = Path(where)
    if {"memory", "cpuacct"} <= first.keys():
        return 1, first["memory"], first["cpuacct"]
    if second is not None and _has_memory(second):
        return 2, second, second
    raise CgroupError(
        f"no cgroup hierarchy here bounds memory (neither version 1 with memory and cpuacct, "
        f"nor version 2 with memory is mounted): {_HOW}"
    )


def _has_memory(root: Path) -> bool:
    """Whether children of the root have the controller, or get it now.

    It can be given to them by a cgroup without processes alone, and by the root of all.
    """
    control = root / "cgroup.subtree_control"
    if "memory" not in (root / "cgroup.controllers").read_text().split():
        return False
    if "memory" in control.read_text().split():
        return True
    try:
        control.write_text("+memory", encoding="ascii")
    except PermissionError:
        raise
    except OSError as error:
        raise CgroupError(f"{control} takes no +memory ({error.strerror}): {_HOW}") from error
    return True


def _sweep(parent: Path) -> None:
    """Remove what runs that are gone have left."""
    for folder in parent.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            _remove(folder)


def _remove(folder: Path, seconds: float = 20.0) -> None:
    """Kill what is in it, and remove it as soon as that is gone."""
    deadline = time.monotonic() + seconds
    while folder.exists():
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        with suppress(OSError):
            folder.rmdir()
            return
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


def _fields(file: Path) -> dict[str, int]:
    """A file with a name and a number in each line."""
    pairs = (line.split() for line in file.read_text().splitlines())
    return {name: int(number) for name, number in pairs}
