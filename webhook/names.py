"""The names and paths that dinp uses in a Pod. Nobody else may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from webhook.pods.pod import Volume, VolumeMount

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
NO_TOKEN: Final = "dinp-no-token"  # noqa: S105 - a name: see NO_TOKEN_VOLUME
SHARE_PREFIX: Final = "dinp-share-"  # dinp.io/share
VOLUMES: Final = frozenset({RUN, SOCKET, STORAGE, CERTS, CLI, DAEMON_CONFIG, NO_TOKEN})

# Paths in containers. Not below /run: a user's mount there may be a read-only hostPath, in
# which the runtime would have to create our mount point.
DIRECTORY: Final = "/dinp"
SOCKET_PATH: Final = "/dinp/docker.sock"
CERTS_PATH: Final = "/dinp/certs"
SERVER_CERTS_PATH: Final = "/dinp/server"
DAEMON_CONFIG_PATH: Final = "/dinp-config"

# Whom the daemon's programs trust, and how they check that.
_TRUST: Final = ("/etc/ssl", "/etc/pki")
# What the daemon's container needs as its image has it: a mount at, below or above these
# would hide it. The image has its programs in /usr/local/bin.
_SYSTEM_TREES: Final = (
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/proc", "/sys", "/dev", DIRECTORY),
    *("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/libexec"),
    *("/usr/local/bin", "/usr/local/sbin", "/usr/local/lib", "/usr/local/libexec"),
    *("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"),
    *("/etc/subuid", "/etc/subgid", "/var/lib/docker", "/var/lib/containerd", "/var/lib/dinp"),
    *("/run/docker", "/var/run/docker", DAEMON_CONFIG_PATH),
    *("/run/secrets", "/var/run/secrets"),
    # What chooses other programs, or the hooks of containers.
    *("/etc/alternatives", "/etc/containerd", "/etc/cdi", "/run/cdi", "/var/run/cdi"),
    *_TRUST,
    # Tekton's own: its entrypoint, and the credentials of each step (pkg/pod/pod.go).
    "/tekton",
)
# The home of the rootless daemon, with its data. Any other has none of its own in /home.
_ROOTLESS_HOME: Final = "/home/rootless"
ROOTLESS_DATA: Final = f"{_ROOTLESS_HOME}/.local/share/docker"
# Of the paths above: where people keep files of their own, too.
_OTHERS_TOO: Final = frozenset({"/etc", "/home", "/usr", "/usr/local", "/var", "/var/lib"})
# What the loader reads: /etc/ld-musl-x86_64.path, /etc/ld.so.preload.
_LOADERS: Final = ("/etc/ld-musl-", "/etc/ld.so.")
# Where dockerd looks for daemon.json and for what is set by registry (certs.d).
DOCKERS_CONFIG: Final = "/etc/docker"
_BELOW: Final = (*(f"{tree}/" for tree in _SYSTEM_TREES), *_LOADERS)
_BELOW_TRUST: Final = tuple(f"{tree}/" for tree in _TRUST)
_AT_OR_ABOVE: Final = frozenset(
    "/".join(parts[:length]) or "/"
    for parts in (tree.split("/") for tree in _SYSTEM_TREES)
    for length in range(1, len(parts) + 1)
)

# Keep the ServiceAccount's token out of the containers that dinp adds. The API server's
# ServiceAccount plugin mounts a token into every container that has nothing at its path. Ours have
# an empty volume there: a daemon that runs anybody's builds holds no credentials of the cluster.
# And the plugin, which runs once more after the webhooks, finds nothing to change, so that the API
# server has no reason to call every webhook a second time (reinvocation;
# plugin/pkg/admission/serviceaccount, Kubernetes 1.34).
NO_TOKEN_VOLUME: Final[Volume] = {"name": NO_TOKEN, "emptyDir": {}}
NO_TOKEN_MOUNT: Final[VolumeMount] = {
    "name": NO_TOKEN,
    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    "readOnly": True,
}


def has_been_here(labels: Mapping[str, str]) -> bool:
    """Whether dinp has given the Pod of these labels a daemon in an earlier pass."""
    return MODE_LABEL in labels


def is_dinps_volume(name: str) -> bool:
    """Whether a volume of this name is dinp's."""
    return name.startswith(_PREFIX) and (name in VOLUMES or name.startswith(SHARE_PREFIX))


def is_dinps_container(name: str) -> bool:
    """Whether a container of this name is dinp's."""
    if not name.startswith(_PREFIX):
        return False
    number = name.removeprefix(SEED_PREFIX)
    return name in {DIND, CLI_CONTAINER} or (number != name and number.isdecimal())


def is_system(path: str, *, rootless: bool) -> bool:
    """Whether the daemon's container needs this clean path as its image has it."""
    if rootless and (path == "/home" or _is_rootless_home(path)):
        return True
    return path in _AT_OR_ABOVE or path.startswith(_BELOW)


def has_others(path: str, *, rootless: bool) -> bool:
    """Whether at this path of the system's people keep files of their own: they miss them there."""
    return path in _OTHERS_TOO or (rootless and _is_rootless_home(path))


def _is_rootless_home(path: str) -> bool:
    return path == _ROOTLESS_HOME or path.startswith(f"{_ROOTLESS_HOME}/")


def is_trust(path: str) -> bool:
    """Whether this clean path is one of the system's with certificate authorities."""
    return path in _TRUST or path.startswith(_BELOW_TRUST)
