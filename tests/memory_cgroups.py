"""A memory cgroup of one's own, version 1 or 2: what runs in it gets no more, as a container does."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_REMOVE_SECONDS: Final = 10.0


class CgroupError(Exception):
    """There can be none here; the message says why."""


@dataclass(frozen=True, slots=True)
class MemoryCgroup:
    """One of them, and what the kernel says of it."""

    path: Path
    is_v2: bool

    def command(self, command: Sequence[str]) -> list[str]:
        """`command`, in this cgroup from its first byte on."""
        procs = self.path / "cgroup.procs"
        return ["/bin/sh", "-c", f'echo $$ >{procs} && exec "$@"', "sh", *command]

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory."""
        file = "memory.events" if self.is_v2 else "memory.oom_control"
        words = [line.split() for line in (self.path / file).read_text().splitlines()]
        return next(int(value) for name, value in words if name == "oom_kill")

    def peak(self) -> int:
        """The most bytes that it has ever had."""
        file = "memory.peak" if self.is_v2 else "memory.max_usage_in_bytes"
        return int((self.path / file).read_text())

    def usage(self) -> int:
        """The bytes that it has now, files that are only cached included."""
        file = "memory.current" if self.is_v2 else "memory.usage_in_bytes"
        return int((self.path / file).read_text())


@contextmanager
def memory_cgroup(limit: int) -> Iterator[MemoryCgroup]:
    """Make one with room for `limit` bytes and no swap; remove it once its processes have ended.

    Raises:
        CgroupError: it needs root, and a kernel that counts memory.
    """
    is_v2 = (_ROOT / "cgroup.controllers").exists()
    path = (_ROOT if is_v2 else _ROOT / "memory") / f"dinp-memory-{uuid.uuid4().hex[:8]}"
    try:
        if is_v2:
            (_ROOT / "cgroup.subtree_control").write_text("+memory")
        path.mkdir()
    except OSError as error:
        raise CgroupError(f"{path}: {error.strerror}") from error
    try:
        _limit(path, limit, is_v2=is_v2)
        yield MemoryCgroup(path, is_v2)
    finally:
        _remove(path)


def _limit(path: Path, limit: int, *, is_v2: bool) -> None:
    if is_v2:
        (path / "memory.max").write_text(str(limit))
        no_swap, none = path / "memory.swap.max", "0"
    else:
        (path / "memory.limit_in_bytes").write_text(str(limit))
        no_swap, none = path / "memory.memsw.limit_in_bytes", str(limit)
    if no_swap.exists():  # where the kernel counts swap
        no_swap.write_text(none)


def _remove(path: Path) -> None:
    deadline = time.monotonic() + _REMOVE_SECONDS
    while (path / "cgroup.procs").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    path.rmdir()
