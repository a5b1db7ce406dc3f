"""Processes that end with the one that started them, and how that one is ended."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Sequence
from functools import cache
from typing import Final


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


def interrupt_by_signals() -> None:
    """Raise KeyboardInterrupt at the first SIGINT or SIGTERM: a second must not end the cleaning up.

    SIGINT too, because it is ignored where a shell says &.
    """
    for number in _ENDING:
        signal.signal(number, _interrupt)


_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


def _interrupt(_signal: int, _frame: object) -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
