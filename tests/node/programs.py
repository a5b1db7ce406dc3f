"""All that a node is made of: what is built, what comes from Debian, and what of it is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster import assets
from tests.cluster.assets import Assets, AssetsError, Say
from tests.cluster.processes import GO_SETTINGS

# Commands by their Debian packages; some live in sbin, which a user's PATH may lack.
_COMMANDS: Final = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "iptables": "iptables",  # the kubelet, kube-proxy and the CNI plugins call it
    "dnsmasq": "dnsmasq-base",
    "ldd": "libc-bin",
}
# Files that become part of the images.
_FILES: Final = {
    "/usr/bin/busybox": "busybox-static",
    "/usr/bin/flock": "util-linux",
    "/usr/bin/docker": "docker.io",
    "/usr/bin/docker-init": "docker.io",
    "/usr/sbin/docker-proxy": "docker.io",
    "/usr/sbin/dockerd": "docker.io",
    "/usr/bin/containerd": "containerd",
    "/usr/bin/containerd-shim-runc-v2": "containerd",
    "/usr/sbin/runc": "runc",
    "/usr/bin/openssl": "openssl",
    "/usr/sbin/xtables-nft-multi": "iptables",
    "/usr/sbin/xtables-legacy-multi": "iptables",
    "/usr/bin/docker-registry": "docker-registry",
    "/usr/bin/tinyproxy": "tinyproxy-bin",
    "/usr/bin/rootlesskit": "rootlesskit",
    "/usr/bin/slirp4netns": "slirp4netns",
    "/usr/bin/newuidmap": "uidmap",
}
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Programs:
    """Folders of what was built, and the API server's programs."""

    api_server: Assets
    kubernetes: Path
    containerd: Path
    runc: Path
    cni: Path
    docker_29: Path


def find_or_build(say: Say) -> Programs:
    """Find the programs, or build them: half an hour on two cores when nothing is cached.

    Raises:
        AssetsError: something is missing; the message names all of it.
    """
    _check()
    return Programs(
        api_server=assets.find_or_build(say),
        kubernetes=assets.program_folder(assets.KUBERNETES_NODE, say),
        containerd=assets.program_folder(assets.CONTAINERD, say),
        runc=assets.program_folder(assets.RUNC, say),
        cni=assets.program_folder(assets.CNI, say),
        docker_29=assets.program_folder(assets.DOCKER_29, say),
    )


def command(name: str) -> str:
    """The path of one of the commands from Debian."""
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_PATH) or name


def environment() -> dict[str, str]:
    """For programs of the node: a PATH with sbin, and no proxy or Docker variable of the user's."""
    return {"PATH": _SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8", **GO_SETTINGS}


def missing_packages() -> list[str]:
    """The packages of Debian 12 that are not here, and without which there is no node."""
    packages = " ".join([*_missing(), *assets.RUNC.missing])
    return sorted(set(packages.split()))


def _check() -> None:
    if os.geteuid() != 0:
        raise AssetsError("a node of Kubernetes takes root: namespaces, mounts, cgroups")
    missing = missing_packages()
    if missing:
        raise AssetsError(
            "the tests with a real node take programs of Debian 12 that are not here: apt-get "
            f"install --no-install-recommends {' '.join(missing)}"
        )


def _missing() -> Iterator[str]:
    for name, package in _COMMANDS.items():
        if not Path(command(name)).is_absolute():
            yield package
    for path, package in _FILES.items():
        if not Path(path).exists():
            yield package
