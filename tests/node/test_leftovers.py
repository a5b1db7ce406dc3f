"""A run that has ended, however it did, has left nothing on the machine."""

from __future__ import annotations

import os
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
from tests.node import logs
from tests.node.leftovers import PREFIX
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
import os, pathlib, signal, tempfile, time
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
@pytest.mark.parametrize("number", [1, 2])
def test_waits(number):
    (pathlib.Path(tempfile.gettempdir()) / f"waits-{number}").touch()
    time.sleep(1000)
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


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for the temporary files of one run, which has to leave it empty.

    Not tmp_path: the paths of containerd's sockets must not have more than 107 characters.
    """
    with tempfile.TemporaryDirectory(prefix="dl-") as name:
        yield Path(name)
        assert [] == list(Path(name).glob("dinp-*"))


def test_interrupted(temporary: Path) -> None:
    """^C, while a container runs in a daemon in a Pod."""
    with _busy_cluster(temporary) as run:
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(_END_SECONDS) == 0
        _wait_until_nothing_is_left(lambda: _left_of(run))


@pytest.mark.tail
def test_taken_down(temporary: Path) -> None:
    """`make cluster-down` ends clusters of its checkout that run in other terminals."""
    with _busy_cluster(temporary) as run:
        _take_down(temporary)
        assert run.process.wait(_END_SECONDS) == 0
        _wait_until_nothing_is_left(lambda: _left_of(run))


def test_killed(temporary: Path) -> None:
    """SIGKILL leaves a folder and cgroups, until the next run or `make cluster-down`."""
    with _busy_cluster(temporary) as run:
        run.process.kill()
        run.process.wait()
        name = run.directory.name
        wait_until(
            lambda: not _programs(name), "all processes have ended", seconds=30, interval=0.5
        )
        _take_down(temporary)
        _wait_until_nothing_is_left(lambda: _left_of(run))


@pytest.mark.parametrize(
    ("word", "code"),
    [
        pytest.param("succeeds", 0, marks=pytest.mark.tail),
        ("fails", 1),
        pytest.param("is_interrupted", 2, marks=pytest.mark.tail),
    ],
)
def test_tests(tmp_path: Path, temporary: Path, word: str, code: int) -> None:
    """A run of the tests cleans up after those that fail, and after ^C, too."""
    file = tmp_path / "test_of_a_test.py"
    file.write_text(_FAILING + "\n", encoding="utf-8")
    options = ["-p", "no:cacheprovider", f"--rootdir={_ROOT}", "-m", "node"]
    pytest_run = [sys.executable, "-m", "pytest", *options, f"{file}::test_{word}"]
    done = subprocess.run(  # noqa: S603 - our own command
        pytest_run, cwd=_ROOT, env=_own(temporary), capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    found = _INTRODUCTION.search(done.stdout + done.stderr)
    assert found is not None, done.stdout
    _wait_until_nothing_is_left(lambda: _left_by_name(Path(found[1])))


@pytest.mark.tail
def test_killed_workers(tmp_path: Path, temporary: Path) -> None:
    """SIGKILL of a run with two workers ends both and their clusters; the rest is as above."""
    file = tmp_path / "test_of_a_test.py"
    file.write_text(_FAILING + "\n", encoding="utf-8")
    options = ["-p", "no:cacheprovider", f"--rootdir={_ROOT}", "-m", "node", "-n", "2"]
    pytest_run = [sys.executable, "-m", "pytest", *options, f"{file}::test_waits"]
    process = subprocess.Popen(  # noqa: S603 - our own command
        pytest_run, cwd=_ROOT, env=_own(temporary), stdout=subprocess.DEVNULL
    )
    try:
        marks = [temporary / f"waits-{number}" for number in (1, 2)]
        wait_until(lambda: all(mark.exists() for mark in marks), "both wait", interval=0.5)
        names = [folder.name for folder in temporary.glob(f"{PREFIX}*")]
        assert all(_programs(name) >= {"etcd", "kubelet", "containerd"} for name in names)
        assert len(names) == 2
    finally:
        process.kill()
        process.wait()
    wait_until(
        lambda: not any(_programs(name) for name in names),
        "all processes have ended",
        seconds=_END_SECONDS,
        interval=0.5,
    )
    _take_down(temporary)
    _wait_until_nothing_is_left(
        lambda: [left for name in names for left in _left_by_name(temporary / name)]
    )


def _own(temporary: Path) -> dict[str, str]:
    """The environment of a run of its own: not that of a worker of these tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", logs.SUITE))
    }
    return {**kept, "TMPDIR": str(temporary)}


def _take_down(temporary: Path) -> None:
    output(["env", f"TMPDIR={temporary}", sys.executable, "-m", "tools.cluster", "--down"])


@contextmanager
def _busy_cluster(temporary: Path) -> Iterator[Run]:
    """`make cluster` with a busy Pod."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.cluster"],
        cwd=_ROOT,
        env=_own(temporary),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield _make_busy(process)
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
    rules = [line for line in _rules() if f"{run.address}/" in line]
    return [*links, *rules, *_left_by_name(run.directory)]


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


def _rules() -> list[str]:
    """This machine's rules for packets."""
    return [
        line
        for kind in ("nft", "legacy")
        for line in output([command(f"iptables-{kind}-save")]).splitlines()
    ]
