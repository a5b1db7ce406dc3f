"""The command line: `dinp COMMAND`. Each command is a module, imported when it is called."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Final

import click

from webhook import __version__

# name -> where its click command is, what the help says of it
_COMMANDS: Final = {
    "certs": ("certs.cli:certs", "Issue and rotate certificates of webhook and daemons."),
    "daemon": ("keeper.cli:daemon", "Run beside dockerd in a shared daemon's Pod."),
    "inject": (
        "webhook.offline.command:inject",
        "Print manifests as the webhook would change their Pods.",
    ),
    "serve": ("webhook.serving.command:serve", "Serve the admission webhook."),
}

_CA_FILE: Final = "SSL_CERT_FILE"  # OpenSSL's, instead of its default file


class _Commands(click.Group):
    """Commands by name: `dinp --help` imports neither aiohttp nor yaml."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        with _without_authorities() if cmd_name == "serve" else nullcontext():
            command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in self.list_commands(ctx)])


@contextmanager
def _without_authorities() -> Iterator[None]:
    """Have OpenSSL find none of the machine's CAs.

    aiohttp makes a client's SSL context when it is imported, and reads all of them: 2 MiB, and some
    ten milliseconds, for a server that connects to nobody.
    """
    before = os.environ.get(_CA_FILE)
    os.environ[_CA_FILE] = os.devnull
    try:
        yield
    finally:
        del os.environ[_CA_FILE]
        if before is not None:
            os.environ[_CA_FILE] = before


@click.group(cls=_Commands, context_settings={"auto_envvar_prefix": "DINP", "show_default": True})
@click.version_option(__version__, prog_name="dinp")
def main() -> None:
    """Give Pods a Docker daemon when they are created."""


if __name__ == "__main__":
    main(prog_name="dinp")
