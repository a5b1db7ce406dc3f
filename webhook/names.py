"""The names and paths that dinp uses in a Pod. Nobody else may."""

from __future__ import annotations

from typing import Final

STATUS: Final = "dinp.io/status"
MODE_LABEL: Final = "dinp.io/mode"

_PREFIX: Final = "dinp-"  # of all containers and volumes

# Containers.
DIND: Final = "dinp-dind"
CLI_CONTAINER: Final = "dinp-cli"
SEED_PREFIX: Final = "dinp-seed-"

# Volumes.
RUN: Final = "dinp-run"  # the directory of the daemon's socket
SOCKET: Final = "dinp-socket"  # daemonset mode: the socket file on the node
STORAGE: Final = "dinp-storage"  # the daemon's data directory
CERTS: Final = "dinp-certs"  # client certificates
CLI: Final = "dinp-cli"  # shared modes: the docker CLI
DAEMON_CONFIG: Final = "dinp-config"  # daemon.json and *.crt
NO_TOKEN: Final = "dinp-no-token"  # noqa: S105 - a name: what is where a token would be
SHARE_PREFIX: Final = "dinp-share-"  # dinp.io/share
VOLUMES: Final = frozenset({RUN, SOCKET, STORAGE, CERTS, CLI, DAEMON_CONFIG, NO_TOKEN})

# Paths in containers. Not below /run: a user's mount there may be a read-only hostPath, in
# which the runtime would have to create our mount point.
DIRECTORY: Final = "/dinp"
SOCKET_PATH: Final = "/dinp/docker.sock"
CERTS_PATH: Final = "/dinp/certs"
SERVER_CERTS_PATH: Final = "/dinp/server"
DAEMON_CONFIG_PATH: Final = "/dinp-config"


def is_own_volume(name: str) -> bool:
    """Whether a volume of this name is dinp's."""
    return name.startswith(_PREFIX) and (name in VOLUMES or name.startswith(SHARE_PREFIX))


def is_own_container(name: str) -> bool:
    """Whether a container of this name is dinp's."""
    if not name.startswith(_PREFIX):
        return False
    number = name.removeprefix(SEED_PREFIX)
    return name in {DIND, CLI_CONTAINER} or (number != name and number.isdecimal())
