"""A machine with cgroup v2: Debian's kernel under qemu, and a shell in it."""

from __future__ import annotations

import base64
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cgroup2.initramfs import Initramfs
from tests.cgroup2.kernel import EMULATOR, Kernel
from tests.cluster.processes import StartError, running, wait_until
from tests.node.images import Image
from tests.node.programs import command

_INIT: Final = Path(__file__).with_name("init.sh")
# Far more than it takes on a quiet machine, as the machine may not be quiet.
_BOOT_SECONDS: Final = 300.0
_SCRIPT_SECONDS: Final = 300.0
# In software even where there is a /dev/kvm: a machine that is one itself may have one that opens
# and runs nothing.
_QEMU: Final = (
    *(EMULATOR, "-accel", "tcg,thread=multi", "-smp", "2"),
    *("-m", "4G", "-net", "none", "-no-reboot", "-display", "none", "-monitor", "none"),
)


class GuestError(Exception):
    """A script failed in the guest: has what it said."""


@dataclass(frozen=True, slots=True)
class Guest:
    """The running machine; it is a node without a kubelet."""

    port: socket.socket
    console: Path

    def run(self, script: str, *, seconds: float = _SCRIPT_SECONDS) -> str:
        """Run a shell script as the node's root; return what it says, on both streams.

        Raises:
            GuestError: it failed, or took too long.
        """
        code, said = self.attempt(script, seconds=seconds)
        if code:
            raise GuestError(f"exit code {code} of\n{_short(script)}\n{said}")
        return said

    def attempt(self, script: str, *, seconds: float = _SCRIPT_SECONDS) -> tuple[int, str]:
        """Run one that may fail; return its exit code and what it says.

        Raises:
            GuestError: it took too long.
        """
        self.port.sendall(base64.b64encode(script.encode()) + b"\n")
        try:
            code, _, said = self.line(seconds).partition(" ")
        except TimeoutError:
            last = "\n".join(self.console.read_text(errors="replace").splitlines()[-20:])
            raise GuestError(f"no end after {seconds:g} s of\n{_short(script)}\n{last}") from None
        return int(code), base64.b64decode(said).decode(errors="replace")

    def line(self, seconds: float) -> str:
        """The next line that the guest sends.

        Raises:
            TimeoutError: there is none.
        """
        deadline = time.monotonic() + seconds
        read = b""
        while not read.endswith(b"\n"):
            self.port.settimeout(max(deadline - time.monotonic(), 0.01))
            part = self.port.recv(65536)
            if not part:
                raise TimeoutError
            read += part
        return read.decode().strip()


def _short(script: str) -> str:
    return "\n".join(line[:200] for line in script.strip().splitlines())


@contextmanager
def guest(kernel: Kernel, images: Mapping[str, Image], logs: Path) -> Iterator[Guest]:
    """Boot a machine whose root is `images["node"]`; the others lie in /images/<name>.

    Raises:
        StartError: it did not come up.
    """
    with tempfile.TemporaryDirectory(prefix="dinp-cgroup2-") as temporary:
        directory = Path(temporary)
        _write_initramfs(directory / "initramfs", kernel, images)
        console = logs / "console.log"
        channel = directory / "port"
        machine = [
            *_QEMU,
            *("-kernel", str(kernel.image), "-initrd", str(directory / "initramfs")),
            *("-append", "console=ttyS0 panic=-1 "),
            *("-serial", f"file:{console}"),
            *("-chardev", f"socket,id=port,path={channel},server=on,wait=off"),
            *("-serial", "chardev:port"),
        ]
        with (
            running([command(machine[0]), *machine[1:]], logs / "qemu.log") as process,
            closing(socket.socket(socket.AF_UNIX)) as port,
        ):
            wait_until(lambda: _connects(port, channel), "qemu listens")
            booted = Guest(port, console)
            try:
                first = booted.line(_BOOT_SECONDS)
            except TimeoutError:
                raise StartError(_why(process.poll(), logs)) from None
            if first != "ready":
                raise StartError(f"the guest said {first!r}")
            (directory / "initramfs").unlink()  # 450 MB that a killed run would leave
            yield booted


def _connects(port: socket.socket, channel: Path) -> bool:
    """Whether it does: the file is there a moment before anybody listens."""
    return port.connect_ex(str(channel)) == 0


def _why(code: int | None, logs: Path) -> str:
    said = [(logs / name).read_text(errors="replace") for name in ("qemu.log", "console.log")]
    end = "is still running" if code is None else f"ended with {code}"
    return f"the machine did not come up; qemu {end}\n" + "\n".join(said)[-3000:]


def _write_initramfs(target: Path, kernel: Kernel, images: Mapping[str, Image]) -> None:
    with target.open("wb") as file:
        archive = Initramfs(file)
        for place in ("init", "node/init"):
            archive.add(place, _INIT.read_bytes(), 0o755)
        for name, path in kernel.modules():
            archive.add(f"node/usr/{name}", path.read_bytes())
        archive.add("node/usr/sbin/modprobe", b'#!/bin/sh\nexec busybox modprobe "$@"\n', 0o755)
        for name, image in images.items():
            archive.add_image(image, "node" if name == "node" else f"node/images/{name}")
        archive.close()
