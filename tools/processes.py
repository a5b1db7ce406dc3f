"""Processes that end with the one that started them, however that ends."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from functools import cache


def with_parent(command: Sequence[str]) -> list[str]:
    """`command` such that the kernel kills it with its parent, even where that is SIGKILLed.

    Only on Linux with util-linux, as in every Debian; elsewhere it is the command itself.
    prctl(2) has a trap: "parent" is the thread that starts the process. Start none from a
    thread that ends before it should.
    """
    return [*_prefix(), *command]


@cache
def _prefix() -> tuple[str, ...]:
    program = shutil.which("setpriv")
    if program is None:
        return ()
    prefix = (program, "--pdeathsig", "KILL")
    # Busybox has a setpriv, too, but without this flag.
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)  # noqa: S603 - our own command
    return () if tried.returncode else prefix
