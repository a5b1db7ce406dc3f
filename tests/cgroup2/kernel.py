"""Debian's cloud kernel, unpacked and never installed: what it takes to boot it, and its modules."""

from __future__ import annotations

import fcntl
import lzma
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.assets import AssetsError, Say
from tests.cluster.processes import StartError, output
from tests.node.programs import command

EMULATOR: Final = "qemu-system-x86_64"
_META_PACKAGE: Final = "linux-image-cloud-amd64"
_KEPT: Final = Path(__file__).parents[2] / "build" / "assets"
_PREFIX: Final = "linux-"
# What overlay, bridges, veth and iptables are made of; the rest is 70 MB of drivers.
_MODULES: Final = ("net", "lib", "crypto", "fs/overlayfs", "drivers/net/veth.ko")


@dataclass(frozen=True, slots=True)
class Kernel:
    """One version of it."""

    folder: Path

    @property
    def image(self) -> Path:
        """What qemu boots."""
        return self.folder / "vmlinuz"

    def modules(self) -> Iterator[tuple[str, Path]]:
        """The files of /lib/modules: path in there, and where that is."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path != self.image:
                yield str(path.relative_to(self.folder)), path


def missing_packages() -> list[str]:
    """The packages of Debian 12 that are not here, and without which no kernel is emulated."""
    return [] if Path(command(EMULATOR)).is_absolute() else ["qemu-system-x86"]


def find_or_download(say: Say) -> Kernel:
    """The kernel that apt has now, else the one that is here.

    Raises:
        AssetsError: there is none of both.
    """
    _KEPT.mkdir(parents=True, exist_ok=True)
    package = _package()
    if package is None:
        here = sorted(_KEPT.glob(f"{_PREFIX}*"), key=lambda folder: folder.stat().st_mtime)
        if not here:
            raise AssetsError(
                f"apt knows no {_META_PACKAGE}: on Debian 12 run apt-get update first"
            )
        return Kernel(here[-1])
    name, version = package
    folder = _KEPT / f"{_PREFIX}{version.replace(':', '_')}"
    with _alone():
        if not folder.exists():
            say(f"downloading {name} {version}, once")
            _unpack(name, folder)
    return Kernel(folder)


def _package() -> tuple[str, str] | None:
    """Name and version of the package that has the kernel: what the meta package asks for."""
    depends = _said("apt-cache", "depends", _META_PACKAGE)
    name = re.search(r"Depends: (linux-image-\S+)", depends)
    if name is None:
        return None
    version = re.search(r"Candidate: (\d\S*)", _said("apt-cache", "policy", name[1]))
    return None if version is None else (name[1], version[1])


def _said(*words: str) -> str:
    if not shutil.which(words[0]):
        return ""
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    return done.stdout


@contextmanager
def _alone() -> Iterator[None]:
    """Two runs at once must not unpack at once."""
    with (_KEPT / ".linux-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unpack(name: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_KEPT, prefix=".unfinished-") as temporary:
        here = Path(temporary)
        done = subprocess.run(  # noqa: S603 - our own command
            [command("apt-get"), "-qq", "download", name],
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssetsError(
                f"apt-get could not download {name}, maybe as its lists are old (apt-get update): "
                f"{done.stderr.strip()}"
            )
        (package,) = here.glob("*.deb")
        _run("dpkg-deb", "-x", str(package), str(here / "all"))
        (image,) = (here / "all" / "boot").glob("vmlinuz-*")
        release = image.name.removeprefix("vmlinuz-")
        kept = here / "kept"
        _copy_modules(here / "all" / "lib" / "modules" / release, kept / "lib/modules" / release)
        _run("busybox", "depmod", "-b", str(kept), release)
        image.rename(kept / "vmlinuz")
        kept.rename(folder)


def _copy_modules(source: Path, target: Path) -> None:
    """Copy those that are needed; busybox's modprobe takes them uncompressed alone."""
    target.mkdir(parents=True)
    for name in ("modules.order", "modules.builtin"):
        shutil.copy(source / name, target)
    for chosen in _MODULES:
        for module in _files(source / "kernel" / chosen):
            copy = target / str(module.relative_to(source)).removesuffix(".xz")
            copy.parent.mkdir(parents=True, exist_ok=True)
            content = module.read_bytes()
            copy.write_bytes(lzma.decompress(content) if module.suffix == ".xz" else content)


def _files(place: Path) -> Iterator[Path]:
    """The modules of a folder, or the one of that name, compressed or not."""
    if place.is_dir():
        yield from place.rglob("*.ko*")
    else:
        yield from place.parent.glob(f"{place.name}*")


def _run(*words: str) -> None:
    try:
        output([command(words[0]), *words[1:]])
    except StartError as error:
        raise AssetsError(f"the kernel could not be unpacked: {error}") from error
