"""kube-apiserver, kubectl and etcd: those of KUBEBUILDER_ASSETS, else built and found here.

kube-apiserver and kubectl are built from the published Go module, in a folder whose name is
the hash of go.mod and go.sum. The first build takes 5 to 10 minutes on two cores; with Go's
cache a later one takes seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MODULE: Final = Path(__file__).parent / "go" / "kubernetes"
_BUILT: Final = Path(__file__).parents[2] / "build" / "assets"
_PACKAGES: Final = ("k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kubectl")
_STAMP: Final = "k8s.io/component-base/version"
_TELL_SECONDS: Final = 20.0

Say = Callable[[str], None]


class AssetsError(Exception):
    """A program cannot be had: the message says what to do."""


@dataclass(frozen=True, slots=True)
class Assets:
    """Paths of the programs."""

    etcd: Path
    kube_apiserver: Path
    kubectl: Path


def find_or_build(say: Say) -> Assets:
    """Find the programs, or build them, which takes minutes and says so.

    Raises:
        AssetsError: one is missing and cannot be built.
    """
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if folder:
        return _of_folder(Path(folder))
    etcd = _etcd()  # first: nobody should wait for a build to be told of this
    built = _built(say)
    return Assets(etcd, built / "kube-apiserver", built / "kubectl")


def _of_folder(folder: Path) -> Assets:
    assets = Assets(folder / "etcd", folder / "kube-apiserver", folder / "kubectl")
    for program in (assets.etcd, assets.kube_apiserver, assets.kubectl):
        if not os.access(program, os.X_OK):
            raise AssetsError(f"KUBEBUILDER_ASSETS is set, and there is no program {program}")
    return assets


def _etcd() -> Path:
    found = shutil.which("etcd")
    if found is None:
        raise AssetsError(
            "the tests with a real API server need etcd. On Debian and Ubuntu: apt-get install "
            "etcd-server; or set KUBEBUILDER_ASSETS to a folder of envtest"
        )
    return Path(found)


def _built(say: Say) -> Path:
    folder = _BUILT / _key()
    _BUILT.mkdir(parents=True, exist_ok=True)
    with _alone(_BUILT / ".lock"):
        if not folder.exists():
            _build(folder, say)
    return folder


def _key() -> str:
    contents = (_MODULE / "go.mod").read_bytes() + (_MODULE / "go.sum").read_bytes()
    return hashlib.sha256(contents).hexdigest()[:16]


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Two runs at once must not build at once: each takes 2 GB."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(folder: Path, say: Say) -> None:
    go = shutil.which("go")
    if go is None:
        raise AssetsError(
            "the tests with a real API server build kube-apiserver, which needs Go 1.24 or "
            "later; or set KUBEBUILDER_ASSETS to a folder of envtest"
        )
    say(f"building kube-apiserver {_version()} and kubectl, once: 5 to 10 minutes on two cores")
    with tempfile.TemporaryDirectory(dir=_BUILT, prefix=".build-") as name:
        stamp = f"-X {_STAMP}.gitVersion={_version()} -X {_STAMP}.gitMajor=1"
        stamp += f" -X {_STAMP}.gitMinor={_version().split('.')[1]}"
        command = ["nice", "-n", "19", go, "build", "-v", "-p", "2", "-trimpath"]
        command += ["-ldflags", stamp, "-o", name, *_PACKAGES]
        _run(command, say)
        Path(name).chmod(0o755)
        Path(name).rename(folder)
        Path(name).mkdir()  # for TemporaryDirectory to remove


def _version() -> str:
    """The version that go.mod asks for."""
    for line in (_MODULE / "go.mod").read_text(encoding="utf-8").splitlines():
        words = line.removeprefix("require").split()
        if words[:1] == ["k8s.io/kubernetes"]:
            return words[1]
    raise AssetsError(f"{_MODULE / 'go.mod'} does not require k8s.io/kubernetes")


def _run(command: list[str], say: Say) -> None:
    """Run go, and tell now and then how far it is: it prints a line for each package."""
    began = told = time.monotonic()
    last: list[str] = []
    count = 0
    with subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=_MODULE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr or ():
            count += 1
            last = [*last[-9:], line.rstrip()]
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                say(f"  {told - began:4.0f} s: {count} packages, now {line.strip()}")
    if process.returncode:
        raise AssetsError("go build failed:\n" + "\n".join(last))
    say(f"  done after {time.monotonic() - began:.0f} s")
