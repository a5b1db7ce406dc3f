"""A client image with buildx, compose and act, each built here from its published module."""

from __future__ import annotations

from typing import Final

from tests.cluster import assets
from tests.cluster.assets import Say
from tests.node import contents
from tests.node.images import Image

CLIENTS: Final = "localhost/clients:1"
_PLUGINS: Final = "usr/libexec/docker/cli-plugins"
# Where each program goes: plugins of the docker CLI, and what is called by its own name.
_PROGRAMS: Final = {
    "docker-buildx": (assets.COMPOSE, _PLUGINS),
    "docker-compose": (assets.COMPOSE, _PLUGINS),
    "act": (assets.ACT, "usr/bin"),
}


def clients(say: Say) -> Image:
    """The shell and the docker CLI of the other client, with the programs that work by it.

    Raises:
        AssetsError: one is not there and cannot be built.
    """
    image = contents.client()
    image.name = CLIENTS
    for name, (build, folder) in _PROGRAMS.items():
        image.files[f"{folder}/{name}"] = assets.program_folder(build, say) / name
    return image
