"""A dinp-dind that an earlier pass has added: told by its structure, never by dinp.io/status."""

from __future__ import annotations

from webhook import names
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod


def in_place(pod: Pod) -> Container | None:
    """The dinp-dind that an earlier pass has added, or None."""
    for container in pod["spec"].get("initContainers") or ():
        if container["name"] == names.DIND and is_dinps(container):
            return container
    return None


def is_dinps(container: Container) -> bool:
    """Whether a container called dinp-dind was made here: it has the socket's directory."""
    return any(
        mount["name"] == names.RUN and mount["mountPath"] == names.DIRECTORY
        for mount in pods.mounts(container)
    )
