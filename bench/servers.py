"""Servers as processes of their own, for the load of wrk; none outlives its `with`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

from tools.serving import write_certificate

DINP: Final = ("bench.as_image", "serve")
WITH_JSONPATCH: Final = ("bench.with_jsonpatch", "serve")
_START_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.002


class BenchError(Exception):
    """A measurement cannot be made: the message says why."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server on loopback."""

    port: int
    health_port: int
    process: subprocess.Popen[bytes]
    directory: Path  # has its ca.crt
    ready_seconds: float  # from its start until /readyz said so (of a peer: until it served)

    @property
    def pid(self) -> int:
        """Of its process."""
        return self.process.pid

    def resident(self) -> float:
        """MiB of memory that it holds now."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise BenchError(f"process {self.pid} says nothing of its memory")


def cores() -> tuple[int, int]:
    """The core of the servers and that of the load.

    Raises:
        BenchError: there is only one.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchError("the load needs a core beside the server's, and there is only one")
    return usable[0], usable[1]


def pin_children(pid: int, core: int) -> None:
    """Pin what a process has started to a core; waits a second for it to start something."""
    deadline = time.monotonic() + 1
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not (found := children.read_text(encoding="ascii").split()):
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_SECONDS)
    for child in found:
        os.sched_setaffinity(int(child), {core})


@contextmanager
def dinp(
    program: Sequence[str] = DINP, *, core: int | None = None, folder: Path | None = None
) -> Iterator[Running]:
    """Run `dinp serve` of the checkout in `folder`, or what stands in for it; pinned to `core` once it is ready."""
    with _directory() as directory:
        command = [*program, "--bind-address", "127.0.0.1", "--shutdown-delay", "0"]
        command += ["--secure-port", "0", "--health-port", "0"]
        command += ["--tls-cert-file", str(directory / "tls.crt")]
        command += ["--tls-private-key-file", str(directory / "tls.key")]
        with _running(command, directory, core, folder) as started:
            yield started


@contextmanager
def peer(mode: str, *, core: int | None = None) -> Iterator[Running]:
    """Run `bench.peer` in one of its modes."""
    with _directory() as directory:
        command = ["bench.peer", mode, str(directory / "tls.crt"), str(directory / "tls.key")]
        with _running(command, directory, core) as started:
            yield started


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dinp-bench-") as name:
        write_certificate(Path(name))
        yield Path(name)


@contextmanager
def _running(
    command: Sequence[str], directory: Path, core: int | None, folder: Path | None = None
) -> Iterator[Running]:
    began = time.perf_counter()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", *command], cwd=folder, stdout=log, stderr=log
        )
    try:
        ports = _wait(process, directory / "log")
        seconds = time.perf_counter() - began
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        yield Running(ports["port"], ports["health_port"], process, directory, seconds)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path) -> dict[str, int]:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        ports = _ports(log)
        if ports and (not ports["health_port"] or _is_ready(ports["health_port"])):
            return ports
        time.sleep(_POLL_SECONDS)
    raise BenchError(f"a server did not start: {log.read_text(errors='replace').strip()}")


def _ports(log: Path) -> dict[str, int] | None:
    for line in log.read_text(errors="replace").splitlines(keepends=True):
        if line.startswith("{") and line.endswith("}\n"):
            said = json.loads(line)
            if said.get("event") == "serving":
                return {name: said[name] for name in ("port", "health_port")}
    return None


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False
