"""`dinp.io/cli`: the docker CLI of the daemon's image, with buildx and compose, in the clients."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from webhook import names
from webhook.finding import node_docker
from webhook.pods import image
from webhook.pods import pod as pods
from webhook.pods.pod import Container, VolumeMount
from webhook.reasons import Finding, Reason

# As dind.sh copies them. The image has them in /usr/local/libexec/docker/cli-plugins; the CLI looks
# in the other folder, too (docker/cli, cli-plugins/manager), which no image of Docker's fills.
PLUGINS: Final = ("docker-buildx", "docker-compose")
_FOLDER: Final = "/usr/local/lib/docker/cli-plugins"
_DIRECTORY: Final = "bin"  # of volume dinp-run


def _mount(path: str, file: str) -> VolumeMount:
    sub_path = f"{_DIRECTORY}/{file}"
    return {"name": names.RUN, "mountPath": path, "subPath": sub_path, "readOnly": True}


# One file each, so that what else the client's image has in these folders stays.
MOUNTS: Final = (
    _mount("/usr/local/bin/docker", "docker"),
    *(_mount(f"{_FOLDER}/{plugin}", plugin) for plugin in PLUGINS),
)
_PLUGIN_FILES: Final = frozenset(mount["subPath"] for mount in MOUNTS[1:])
_AT_OR_ABOVE: Final = frozenset(
    "/".join(parts[:length]) or "/"
    for parts in (mount["mountPath"].split("/") for mount in MOUNTS)
    for length in range(1, len(parts) + 1)
)


def mounts(
    container: Container, replaced: Collection[str]
) -> tuple[tuple[VolumeMount, ...], Finding | None]:
    """The mounts for a client, or why it gets none; `replaced` are the mountPaths of the node's CLI.

    Docker's own images have a CLI that goes with them.
    """
    if is_dockers(container.get("image") or ""):
        return (), None
    for mount in pods.mounts(container):
        path = pods.clean_path(mount["mountPath"])
        # A socket that was mounted there, of all places, is in the way in every pass.
        is_ours = mount["name"] == names.RUN and not node_docker.is_sidecars_socket(mount)
        if path in _AT_OR_ABOVE and not (is_ours or mount["mountPath"] in replaced):
            return (), Reason.CLI_PATH_TAKEN.say(container=container["name"], path=path)
    return MOUNTS, None


def is_dockers(text: str) -> bool:
    """Whether an image is Docker's own `docker`, or a copy of it in another registry."""
    return image.split(text).path.rpartition("/")[2] == "docker"


def left_over(container: Container) -> Iterator[tuple[int, VolumeMount]]:
    """Mounts that a pass with `dinp.io/cli` has made: without it there are no plugins in the volume."""
    for at, mount in enumerate(pods.mounts(container)):
        if mount["name"] == names.RUN and mount.get("subPath") in _PLUGIN_FILES:
            yield at, mount
