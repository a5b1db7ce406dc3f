"""A run that has ended, however it did, has left nothing on the machine."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.processes import PATIENCE, StartError, output, wait_until
from tests.node.leftovers import PREFIX, remove_leftovers
from tests.node.programs import command

pytestmark = pytest.mark.node

_ROOT: Final = Path(__file__).parents[2]
_INTRODUCTION: Final = re.compile(rf"(/\S*/{PREFIX}\w+)/logs")
_KUBECTL: Final = re.compile(r'PATH="([^:"]+):')
_CGROUPS: Final = Path("/sys/fs/cgroup")
_END_SECONDS: Final = 60.0
# A daemon with a container in it: overlay mounts, cgroups and namespaces, three deep.
_BUSY: Final = """
tar -c -C / bin usr/bin/busybox | docker import - localhost/shell:1
docker run --detach --pull=never localhost/shell:1 busybox sleep 1000
sleep 1000
"""
_FAILING: Final = """
import os, signal
import pytest
from tests.node.conftest import node
from tests.terminal import teller
pytestmark = pytest.mark.node
@pytest.fixture(autouse=True)
def directory(node, request):
    teller(request)(f"{node.directory}/logs")
def test_succeeds():
    pass
def test_fails():
    assert False
def test_is_interrupted():
    # A shell's job in the background ignores it, and so does all that the job starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGINT)
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A cluster in another process, and by what its parts would be found."""

    process: subprocess.Popen[str]
    directory: Path  # its name is in the command line, the mounts or the cgroup of each process
    address: str


def test_interrupted() -> None:
    """^C, while a container runs in a daemon in a Pod."""
    with _busy_cluster() as run:
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(_END_SECONDS) == 0
        _wait_until_nothing_is_left(lambda: _left_of(run))


def test_taken_down() -> None:
    """`make cluster-down` ends clusters that run in other terminals."""
    with _busy_cluster() as run:
        output([sys.executable, "-m", "tools.cluster", "--down"])
        assert run.process.wait(_END_SECONDS) == 0
        _wait_until_nothing_is_left(lambda: _left_of(run))


def test_killed() -> None:
    """SIGKILL leaves a folder and cgroups, until the next run or `make cluster-down`."""
    with _busy_cluster() as run:
        run.process.kill()
        run.process.wait()
        name = run.directory.name
        wait_until(
            lambda: not _programs(name), "all processes have ended", seconds=30, interval=0.5
        )
        remove_leftovers()
        _wait_until_nothing_is_left(lambda: _left_of(run))


@pytest.mark.parametrize(("word", "code"), [("succeeds", 0), ("fails", 1), ("is_interrupted", 2)])
def test_tests(tmp_path: Path, word: str, code: int) -> None:
    """A run of the tests cleans up after those that fail, and after ^C, too."""
    file = tmp_path / "test_of_a_test.py"
    file.write_text(_FAILING + "\n", encoding="utf-8")
    before = _machine()
    options = ["-p", "no:cacheprovider", f"--rootdir={_ROOT}", "-m", "node"]
    pytest_run = [sys.executable, "-m", "pytest", *options, f"{file}::test_{word}"]
    done = subprocess.run(  # noqa: S603 - our own command
        pytest_run, cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    found = _INTRODUCTION.search(done.stdout + done.stderr)
    assert found is not None, done.stdout
    _wait_until_nothing_is_left(lambda: _left_by_name(Path(found[1])))
    assert _machine() == before


@contextmanager
def _busy_cluster() -> Iterator[Run]:
    """`make cluster` with a busy Pod."""
    before = _machine()
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.cluster"],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield _make_busy(process)
        assert _machine() == before
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(_END_SECONDS)
        assert process.stdout is not None
        process.stdout.close()


def _make_busy(process: subprocess.Popen[str]) -> Run:
    """Wait until the cluster is up, and a container runs in it."""
    said = _introduction(process)
    directory, kubectl = _INTRODUCTION.search(said), _KUBECTL.search(said)
    assert directory is not None, said
    assert kubectl is not None, said
    folder = Path(directory[1])
    kubeconfig = folder / "kubeconfig"
    as_admin = [f"{kubectl[1]}/kubectl", f"--kubeconfig={kubeconfig}", "--namespace=annotated"]
    pod = ["--image=localhost/client:1", "--annotations=dinp.io/inject=sidecar"]
    output([*as_admin, "run", "busy", *pod, "--command", "--", "sh", "-ec", _BUSY])
    ready = [*as_admin, "wait", "--for=condition=Ready", "pod/busy", f"--timeout={PATIENCE:g}s"]
    output(ready)
    asked = [*as_admin, "exec", "busy", "--container=busy", "--", "docker", "ps", "--quiet"]
    wait_until(lambda: _says_something(asked), "a container runs in the Pod", interval=1)
    server = re.search(r"https://([0-9.]+):", kubeconfig.read_text(encoding="utf-8"))
    assert server is not None
    # Else nothing left would be nothing looked for.
    assert _programs(folder.name) >= {"etcd", "kubelet", "containerd", "dockerd", "busybox"}
    return Run(process, folder, server[1])


def _says_something(command: list[str]) -> bool:
    with suppress(StartError):
        return output(command).strip() != ""
    return False


def _introduction(process: subprocess.Popen[str]) -> str:
    """What it says once it is up."""
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or "leaves nothing" not in "".join(lines[-2:]):
        line = process.stdout.readline()
        assert line, f"it ended: {''.join(lines)}"
        lines.append(line)
    return "".join(lines)


def _wait_until_nothing_is_left(left: Callable[[], list[str]]) -> None:
    """The kernel ends a network, and what is in it, a moment after its last process."""
    with suppress(StartError):
        wait_until(lambda: not left(), "nothing is left", seconds=_END_SECONDS, interval=0.5)
    assert left() == []


def _left_of(run: Run) -> list[str]:
    """What is still there of a run."""
    links = [line for line in _addresses() if f" {run.address}/" in line]
    return [*links, *_left_by_name(run.directory)]


def _left_by_name(directory: Path) -> list[str]:
    """The same by its name alone: processes, with which namespaces end, mounts, cgroups, the folder."""
    pids = [f"process {pid}" for pid in _pids() if _belongs(pid, directory.name)]
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    cgroups = [*_CGROUPS.glob(directory.name), *_CGROUPS.glob(f"*/{directory.name}")]  # v2, v1
    folder = [directory] if directory.exists() else []
    return [
        *pids,
        *(line for line in mounts if directory.name in line),
        *(str(path) for path in (*cgroups, *folder)),
    ]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _belongs(pid: int, name: str) -> bool:
    """Whether a process is part of a run, other than this one that looks for it."""
    files = (Path(f"/proc/{pid}/{file}") for file in ("cmdline", "cgroup", "mountinfo"))
    with suppress(OSError):  # it ended meanwhile
        return any(name.encode() in file.read_bytes() for file in files)
    return False


def _programs(name: str) -> set[str]:
    """The programs that are part of a run."""
    found = set()
    for pid in _pids():
        with suppress(OSError):
            comm = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8")
            found |= {comm.strip()} if _belongs(pid, name) else set()
    return found


def _addresses() -> list[str]:
    return output([command("ip"), "-oneline", "address"]).splitlines()


def _machine() -> list[str]:
    """Its rules for packets, without their counters and times, and dinp's temporary files."""
    lines = [str(path) for path in sorted(Path(tempfile.gettempdir()).glob("dinp-*"))]
    for kind in ("nft", "legacy"):
        saved = output([command(f"iptables-{kind}-save")]).splitlines()
        lines += [re.sub(r"\[.*\]", "", line) for line in saved if not line.startswith("#")]
    return lines
