"""The shell scripts that start dockerd: dind.sh in a sidecar, start.sh for a shared daemon."""

from __future__ import annotations

from importlib import resources


def source(name: str) -> str:
    """A script as it is written."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
