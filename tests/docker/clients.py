"""Clients of a dockerd in a network of its own, and their files."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.node.namespace import Namespace
from tests.node.programs import environment

# Debian's docker builds without a plugin.
_PATH: Final = f"/usr/bin:{environment()['PATH']}"


def variables(own: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a client that has these."""
    return {**environment(), **own, "PATH": _PATH}


def run(node: Namespace, *arguments: str, own: Mapping[str, str]) -> tuple[str, str]:
    """Run a client with these variables that has to succeed; what it writes to its two outputs.

    Raises:
        AssertionError: it failed; has what it said.
    """
    done = subprocess.run(  # noqa: S603 - our own command
        node.command(*arguments), env=variables(own), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def write_files(directory: Path, files: Mapping[str, bytes]) -> Path:
    """Write files to a new folder."""
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory
