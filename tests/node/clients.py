"""A client image with buildx, compose and act, each built here from its published module.

And what the scripts for testcontainers begin with.
"""

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
# The begin of a script for Python: `web` serves a file on port 8000 as soon as it is started.
WEB_CONTAINER: Final = """
import docker, io, tarfile, urllib.request
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

packed = io.BytesIO()
with tarfile.open(fileobj=packed, mode="w") as archive:
    archive.add("/usr/bin/busybox", "bin/busybox")
    said = tarfile.TarInfo("said")
    said.size = len(b"from the image")
    archive.addfile(said, io.BytesIO(b"from the image"))
docker.from_env().api.import_image_from_data(packed.getvalue(), "localhost/web", "1")

testcontainers_config.ryuk_disabled = True
web = DockerContainer("localhost/web:1").with_exposed_ports(8000)
"""


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
