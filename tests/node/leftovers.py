"""The folder and the cgroups of one run, and the end of those whose run was SIGKILLed.

Processes, mounts and networks end with their run, however it ends (namespace.py). What is
left is a folder dinp-node-* for temporary files and the cgroups of that name. Both have a lock,
which a run holds as long as it lives: another one may have its folder elsewhere (TMPDIR).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "dinp-node-"
_CGROUPS: Final = Path("/sys/fs/cgroup")
_END_SECONDS: Final = 20.0
_LOCKED_SECONDS: Final = 5.0  # much longer than it takes from making cgroups to locking them


@contextmanager
def run_directory() -> Iterator[Path]:
    """A folder for the files of a run, and cgroups of its name; both are removed at the end."""
    remove_leftovers()
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with _locked(directory):
            (directory / "logs").mkdir()
            make_cgroups(directory.name)
            with _locked_cgroup(directory.name):
                yield directory
    finally:
        _remove(directory)


def remove_leftovers() -> None:
    """Remove what runs before this one have left."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError), _locked(directory):
            _remove(directory)
    names = {cgroup.name for root in _roots() for cgroup in root.glob(f"{PREFIX}*")}
    for name in names:
        if not (Path(tempfile.gettempdir()) / name).exists() and _is_abandoned(name):
            _remove_cgroups(name)


def _is_abandoned(name: str) -> bool:
    """Whether no run holds the lock of these cgroups, nor has made them just now to lock them."""
    cgroup = _roots()[0] / name
    try:
        with _locked_cgroup(name):
            return time.time() - cgroup.stat().st_ctime > _LOCKED_SECONDS
    except FileNotFoundError:
        return True  # their removal was interrupted: the first goes first
    except OSError:
        return False


@contextmanager
def _locked_cgroup(name: str) -> Iterator[None]:
    """Hold the lock of a run's cgroups, which is the folder of the first.

    Raises:
        OSError: another run does, or the folder is gone.
    """
    folder = os.open(_roots()[0] / name, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(folder)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the folder's lock.

    Raises:
        OSError: another run does, or the folder is gone.
    """
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _remove(directory: Path) -> None:
    _remove_cgroups(directory.name)
    # The kernel lets go of overlay mounts a moment after the last process that saw them.
    deadline = time.monotonic() + _END_SECONDS
    while directory.exists() and time.monotonic() < deadline:
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(0.2 if directory.exists() else 0)
    if directory.exists():
        shutil.rmtree(directory)


def is_v2() -> bool:
    """Whether this machine has one tree of cgroups, as most now do."""
    return (_CGROUPS / "cgroup.controllers").exists()


def _roots() -> list[Path]:
    """The hierarchies: one with cgroup v2, one for each controller with v1."""
    if is_v2():
        return [_CGROUPS]
    # A directory may be there twice: cpu,cpuacct has links cpu and cpuacct.
    return sorted({path.resolve() for path in _CGROUPS.iterdir() if path.is_dir()})


def make_cgroups(name: str) -> None:
    """Make one in each hierarchy; those of a run end with its folder."""
    for root in _roots():
        cgroup = root / name
        cgroup.mkdir()
        # A cpuset of v1 starts empty, and then no process can enter it.
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not is_v2() and (root / file).exists():
                (cgroup / file).write_text((root / file).read_text())
    if is_v2():
        controllers = (_CGROUPS / "cgroup.controllers").read_text().split()
        wanted = " ".join(f"+{controller}" for controller in controllers)
        with suppress(OSError):  # where systemd, or a container, has done so before
            (_CGROUPS / "cgroup.subtree_control").write_text(wanted)


def _remove_cgroups(name: str) -> None:
    """Remove the trees, inmost first: a cgroup is busy until the last process has ended."""
    deadline = time.monotonic() + _END_SECONDS
    left = [root / name for root in _roots() if (root / name).exists()]
    while left and time.monotonic() < deadline:
        for tree in left:
            for cgroup, _, _ in os.walk(tree, topdown=False):
                with suppress(OSError):
                    Path(cgroup).rmdir()
        left = [tree for tree in left if tree.exists()]
        time.sleep(0.05 if left else 0)
