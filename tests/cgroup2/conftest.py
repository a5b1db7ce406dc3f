"""One machine with cgroup v2 for all tests here, and in it Pods that differ in what they show."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests import selection
from tests.cgroup2 import kernel
from tests.cgroup2.guest import Guest, guest
from tests.cgroup2.sandbox import Sandbox
from tests.cluster.assets import AssetsError
from tests.node import contents, programs
from tests.node.images import Image
from tests.node.programs import Programs
from tests.terminal import teller

_LOGS: Final = Path(__file__).parents[2] / "build" / "logs" / "cgroup2"
_MEMORY: Final = 600 << 20
# Name of the Pod: its image, and whether it has a cgroup namespace of its own. A privileged
# container has not; in one that is not privileged, or of sysbox, the own cgroup is the root.
_PODS: Final = {
    "node-29": ("29", False),
    "own-20": ("20.10", True),
}


@pytest.fixture(scope="session")
def sandboxes(request: pytest.FixtureRequest) -> Iterator[dict[str, Sandbox]]:
    """The Pods; their daemons answer. A machine that cannot have them fails: it never skips."""
    say = teller(request)
    built = programs.find_or_build(say)
    if platform.machine() != "x86_64":
        raise AssetsError("the tests on cgroup v2 boot this machine's programs: x86_64 alone")
    if kernel.missing_packages():
        raise AssetsError(
            "the tests on cgroup v2 take an emulator that is not here: apt-get install "
            f"--no-install-recommends {' '.join(kernel.missing_packages())}"
        )
    found = kernel.find_or_download(say)
    images = {
        "node": _node(built),
        "29": contents.dind_29(built),
        "20.10": contents.dind_20_10(),
    }
    wanted = selection.asked(request, "pod")
    shutil.rmtree(_LOGS, ignore_errors=True)
    _LOGS.mkdir(parents=True)
    began = time.monotonic()
    with guest(found, images, _LOGS) as machine:
        say(f"{time.monotonic() - began:5.1f} s: a machine with cgroup v2 is up")
        pods = {
            name: Sandbox(machine, name, image, images[image], private=private, memory=_MEMORY)
            for name, (image, private) in _PODS.items()
            if name in wanted
        }
        for pod in pods.values():
            pod.start()
        for pod in pods.values():
            pod.wait_until_ready()
        say(f"{time.monotonic() - began:5.1f} s: Docker answers in {', '.join(pods)}")
        try:
            yield pods
        finally:
            _keep(machine, pods)


@pytest.fixture(scope="session", params=["node-29", pytest.param("own-20", marks=pytest.mark.tail)])
def pod(sandboxes: dict[str, Sandbox], request: pytest.FixtureRequest) -> Sandbox:
    """One Pod after the other."""
    return sandboxes[request.param]


def _node(built: Programs) -> Image:
    """A shell, runc as containerd calls it, and the docker CLI of a client."""
    image = contents.client()
    image.add(built.runc / "runc", "/usr/bin/runc")
    return image


def _keep(machine: Guest, pods: dict[str, Sandbox]) -> None:
    for pod in pods.values():
        (_LOGS / f"{pod.name}.log").write_text(pod.log())
    (_LOGS / "dmesg.log").write_text(machine.attempt("dmesg")[1])
