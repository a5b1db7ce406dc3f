"""dinp's image, built by a real dockerd from the project's Dockerfile.

Its base, python:<version>-slim, cannot be pulled everywhere, so a stand-in is made of this
machine's Python: what the Dockerfile asks of it is a shell, python3 with venv, and pip.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pip

from tests.cluster.processes import StartError, output, running, wait_until
from tests.node.contents import with_shell
from tests.node.images import Image
from tests.node.programs import Programs, environment
from tests.node.python_client import add_tree

NAME: Final = "dinp:dev"
NEXT: Final = "dinp:next"  # the same as a new version of it
_ROOT: Final = Path(__file__).parents[2]
# What the image is made of, as patterns; data files of packages too.
_SOURCES: Final = (
    *("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "requirements*.lock"),
    *(
        f"{package}/**/*.{kind}"
        for package in ("webhook", "certs", "keeper", "scripts")
        for kind in ("py", "sh")
    ),
)
_KEPT: Final = "dinp-image-"
_BASE: Final = f"docker.io/library/python:{sys.version_info[0]}.{sys.version_info[1]}-slim"
_WHEELS: Final = Path("/usr/share/python-wheels")  # Debian's ensurepip takes pip from there
_LEFT_OUT: Final = frozenset({"__pycache__", "site-packages", "dist-packages", "test"})
# Wheels name these, which are one with libc now.
_LIBC: Final = ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libgcc_s.so.1")
_PIP_LIBRARY: Final = "usr/local/lib/pip"
_PIP: Final = f'#!/bin/sh\nPYTHONPATH=/{_PIP_LIBRARY} exec python3 -m pip "$@"\n'
_PIP_CONFIGURATION: Final = Path("/etc/pip.conf")


@dataclass(frozen=True, slots=True)
class Docker:
    """A daemon without a network of its own, and the docker CLI for it."""

    socket: Path

    def run(self, *arguments: str, variables: Mapping[str, str] | None = None) -> str:
        """Run docker, which has to succeed, and return what it says.

        Raises:
            StartError: it failed; has what it said.
        """
        done = subprocess.run(  # noqa: S603 - our own command
            ["/usr/bin/docker", f"--host=unix://{self.socket}", *arguments],
            env={**environment(), **(variables or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StartError(f"docker {arguments[0]}: {done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done.stdout


@contextmanager
def docker(programs: Programs, directory: Path) -> Iterator[Docker]:
    """Run dockerd 29 in mounts of its own; `directory` is that of a run (leftovers.py).

    Raises:
        StartError: it did not come up.
    """
    own = directory / "docker"
    own.mkdir()
    socket = own / "docker.sock"
    path = f"{programs.docker_29}:{programs.containerd}:{programs.runc}:{environment()['PATH']}"
    daemon = [
        *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
        *("env", "-i", f"PATH={path}", "HOME=/root", "dockerd"),
        *(f"--data-root={own}/data", f"--exec-root={own}/exec", f"--pidfile={own}/pid"),
        # No bridge and no rules: builds use this machine's network.
        *("--bridge=none", "--iptables=false", "--ip6tables=false"),
        *(f"--host=unix://{socket}", f"--cgroup-parent=/{directory.name}"),
    ]
    with running(daemon, directory / "logs" / "dockerd.log"):
        made = Docker(socket)
        wait_until(lambda: _answers(made), "dockerd answers", interval=0.2)
        yield made


def build(made: Docker, directory: Path) -> None:
    """Build NAME as `make image` does.

    Raises:
        StartError: a step failed; has the end of what it said.
    """
    base = directory / "base.tar"
    _base().write(base)
    made.run("load", "--input", str(base))
    base.unlink()
    arguments = [f"--build-arg=BASE={_BASE}", "--build-arg=VERSION=0.0.test"]
    arguments += ["--network=host", "--progress=plain", f"--tag={NAME}", str(_ROOT)]
    made.run("build", *arguments, variables={"DOCKER_BUILDKIT": "1"})


def save(made: Docker, file: Path) -> None:
    """Write the image to a tar, by both names.

    Raises:
        StartError: docker refuses.
    """
    made.run("tag", NAME, NEXT)
    made.run("save", "--output", str(file), NAME, NEXT)


def keep(made: Docker) -> None:
    """Save the image where kept() finds it, instead of one of other sources."""
    file = kept()
    for other in file.parent.glob(f"{_KEPT}*"):
        other.unlink()
    unfinished = file.with_name(f".{file.name}")
    save(made, unfinished)
    unfinished.rename(file)


def kept() -> Path:
    """The file that has the image of these sources, once keep() has saved it."""
    digest = hashlib.sha256(f"{sys.version}{Path(__file__).read_text('utf-8')}".encode())
    for name in _SOURCES:
        for file in sorted(_ROOT.glob(name)):
            digest.update(str(file.relative_to(_ROOT)).encode() + file.read_bytes())
    return _ROOT / "build" / "assets" / f"{_KEPT}{digest.hexdigest()[:16]}.tar"


def _answers(made: Docker) -> bool:
    try:
        made.run("version")
    except StartError:
        return False
    return True


def _base() -> Image:
    image = with_shell(_BASE)
    python = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]  # undocumented, and what venv itself uses
    # At its own path, so that it finds its library by itself.
    image.add(python)
    image.links["usr/local/bin/python3"] = str(python)
    standard = Path(sysconfig.get_path("stdlib"))
    add_tree(image, standard, str(standard).lstrip("/"), but=_LEFT_OUT)
    for name in _LIBC:
        image.add(next(Path("/usr/lib").glob(f"*-linux-gnu/{name}")))
    for wheel in sorted(_WHEELS.glob("*.whl")):
        image.files[str(wheel).lstrip("/")] = wheel
    add_tree(image, Path(pip.__file__).parent, f"{_PIP_LIBRARY}/pip")
    image.files["usr/local/bin/pip"] = _PIP
    # How this machine reaches the package index.
    for file in (_PIP_CONFIGURATION, _certificates()):
        if file is not None and file.exists():
            image.files[str(file).lstrip("/")] = file
    return image


def _certificates() -> Path | None:
    told = output([sys.executable, "-m", "pip", "config", "list"])
    for line in told.splitlines():
        name, _, value = line.partition("=")
        if name.endswith(".cert"):
            return Path(value.strip("'"))
    return None
