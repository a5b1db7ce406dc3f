"""What the commands of certs and of a shared daemon's keeper have in common."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import click

option = partial(click.option, show_envvar=True)
FILE: Final = click.Path(path_type=Path)
LOG_FORMAT: Final = option(
    "--log-format",
    type=click.Choice(["json", "console"]),
    default="json",
    help="Format of the log.",
)
KUBECONFIG: Final = option(
    "--kubeconfig", type=FILE, help="Kubeconfig file; without it the Pod's ServiceAccount is used."
)

_F = TypeVar("_F", bound=Callable[..., Any])


class CommandError(click.ClickException):
    """What a command cannot go on with: one line, exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"dinp: {self.format_message()}", file=file, err=file is None)


def together(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Several options as one decorator; --help shows the last first."""

    def decorate(command: _F) -> _F:
        for one in options:
            command = one(command)
        return command

    return decorate


def when_terminated(act: Callable[[], object]) -> None:
    """Do this at SIGTERM and SIGINT, in the event loop that runs."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, act)
