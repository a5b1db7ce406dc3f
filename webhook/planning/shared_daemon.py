"""Daemonset and service mode: client certificates, the node's socket, the docker CLI."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from webhook import names
from webhook.asking.settings import Settings
from webhook.pods.pod import Container, Volume


def volumes(used: Iterable[str], settings: Settings) -> Iterator[Volume]:
    """Those of dinp's volumes of the shared modes that are in `used`, by name."""
    directory = settings.daemonset.socket_directory
    known: dict[str, Volume] = {
        # Readable for clients that are not root: the kubelet's own default is 0644.
        names.CERTS: {
            "name": names.CERTS,
            "secret": {"secretName": settings.client_tls_secret, "defaultMode": 0o444},
        },
        # The directory outlives a restart of the daemon; a mount of the file alone would
        # keep the dead socket.
        names.RUN: {"name": names.RUN, "hostPath": {"path": directory, "type": "Directory"}},
        names.SOCKET: {
            "name": names.SOCKET,
            "hostPath": {"path": f"{directory}/docker.sock", "type": "Socket"},
        },
        names.CLI: {"name": names.CLI, "emptyDir": {}},
        names.NO_TOKEN: names.NO_TOKEN_VOLUME,
    }
    wanted = set(used)
    yield from (volume for name, volume in known.items() if name in wanted)


def cli_container(settings: Settings, client: Container) -> Container:
    """An init container that copies the static docker CLI out of the dind image.

    With the resources of `client`, so that the Pod's QoS class stays and nothing is added.
    """
    container: Container = {
        "name": names.CLI_CONTAINER,
        "image": settings.default_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["cp", "/usr/local/bin/docker", f"{names.DIRECTORY}/docker"],
        "volumeMounts": [
            {"name": names.CLI, "mountPath": names.DIRECTORY},
            names.NO_TOKEN_MOUNT,
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsUser": 65532,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    resources = client.get("resources")
    return {**container, "resources": resources} if resources else container
