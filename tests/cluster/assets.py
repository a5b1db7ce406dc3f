"""The programs of a cluster: those of KUBEBUILDER_ASSETS or PATH, else built from Go modules.

The first build of kube-apiserver takes 5 to 10 minutes on two cores.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.builds import AssetsError, BuildSet, Say, built

__all__ = ["Assets", "AssetsError", "Say", "find_or_build"]

_BUILT: Final = Path(__file__).parents[2] / "build" / "assets"
_KUBERNETES: Final = "k8s.io/kubernetes"
_STAMP: Final = "-X k8s.io/component-base/version.git"
_KUBERNETES_LDFLAGS: Final = f"{_STAMP}Version={{version}} {_STAMP}Major=1 {_STAMP}Minor={{minor}}"
_CONTAINERD: Final = "github.com/containerd/containerd/v2"
_CNI: Final = "github.com/containernetworking/plugins"
_MOBY: Final = "github.com/moby/moby/v2"
_BUILDX: Final = "github.com/docker/buildx"
_COMPOSE: Final = "github.com/docker/compose/v2"
_ACT: Final = "github.com/nektos/act"
_CRANE: Final = "github.com/google/go-containerregistry"

ETCD: Final = BuildSet(
    module="etcd",
    required="go.etcd.io/etcd/server/v3",
    programs={"etcd": "go.etcd.io/etcd/server/v3"},
    minutes="1 to 2",
    cgo=False,
)
API_SERVER: Final = BuildSet(
    module="kubernetes",
    required=_KUBERNETES,
    programs={
        "kube-apiserver": f"{_KUBERNETES}/cmd/kube-apiserver",
        "kubectl": f"{_KUBERNETES}/cmd/kubectl",
    },
    minutes="5 to 10",
    ldflags=_KUBERNETES_LDFLAGS,
)
# A set of its own: who wants an API server alone need not wait for it.
KUBERNETES_NODE: Final = BuildSet(
    module="kubernetes",
    required=_KUBERNETES,
    programs={
        name: f"{_KUBERNETES}/cmd/{name}"
        for name in ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
    },
    minutes="5 to 8",
    ldflags=_KUBERNETES_LDFLAGS,
)
CONTAINERD: Final = BuildSet(
    module="containerd",
    required=_CONTAINERD,
    programs={
        name: f"{_CONTAINERD}/cmd/{name}"
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    },
    minutes="4",
    cgo=False,
    tags=("no_btrfs", "no_devmapper", "no_zfs"),
)
# Without libseccomp, containers of dockerd 29 fail: seccomp not supported.
RUNC: Final = BuildSet(
    module="runc",
    required="github.com/opencontainers/runc",
    programs={"runc": "github.com/opencontainers/runc"},
    minutes="1",
    tags=("seccomp",),
    cgo=True,
    needs={"gcc": "gcc libc6-dev", "pkg-config": "pkg-config"},
    libraries={"libseccomp": "libseccomp-dev"},
)
CNI: Final = BuildSet(
    module="cni",
    required=_CNI,
    programs={
        "bridge": f"{_CNI}/plugins/main/bridge",
        "host-local": f"{_CNI}/plugins/ipam/host-local",
        "loopback": f"{_CNI}/plugins/main/loopback",
        "portmap": f"{_CNI}/plugins/meta/portmap",
    },
    minutes="1",
    cgo=False,
)
# The module calls itself v2.0.0-beta; what it builds is Docker Engine 29.
DOCKER_29: Final = BuildSet(
    module="moby",
    required=_MOBY,
    programs={name: f"{_MOBY}/cmd/{name}" for name in ("dockerd", "docker-proxy")},
    minutes="8",
    cgo=False,
    ldflags=f"-X {_MOBY}/dockerversion.Version=29.0.0-dinp",
)
# Clients, which a node does not need. Stripped: they become part of an image.
# This buildx is what this compose requires: together they take little longer than one.
COMPOSE: Final = BuildSet(
    module="compose",
    required=_COMPOSE,
    programs={"docker-buildx": f"{_BUILDX}/cmd/buildx", "docker-compose": f"{_COMPOSE}/cmd"},
    minutes="4 to 6",
    cgo=False,
    # compose refuses a buildx that does not say its version.
    ldflags=f"-s -w -X {_COMPOSE}/internal.Version={{version}} -X {_BUILDX}/version.Version=v0.29.1",
)
ACT: Final = BuildSet(
    module="act",
    required=_ACT,
    programs={"act": _ACT},
    minutes="1 to 2",
    cgo=False,
    ldflags="-s -w",
)
# Asks registries for digests and reads images, for a release (tools/pin.py, tools/sbom.py).
CRANE: Final = BuildSet(
    module="crane",
    required=_CRANE,
    programs={"crane": f"{_CRANE}/cmd/crane"},
    minutes="1",
    cgo=False,
)


@dataclass(frozen=True, slots=True)
class Assets:
    """Paths of the programs that make an API server."""

    etcd: Path
    kube_apiserver: Path
    kubectl: Path


def find_or_build(say: Say) -> Assets:
    """Find the programs, or build them, which takes minutes and says so.

    Raises:
        AssetsError: one is missing and cannot be built.
    """
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if folder:
        return _of_folder(Path(folder))
    etcd = _etcd(say)
    folder_built = program_folder(API_SERVER, say)
    return Assets(etcd, folder_built / "kube-apiserver", folder_built / "kubectl")


def program_folder(build: BuildSet, say: Say) -> Path:
    """The folder with the programs of one row of the table, built where it is not there.

    Raises:
        AssetsError: they cannot be built.
    """
    return built(build, _BUILT, say)


def _of_folder(folder: Path) -> Assets:
    assets = Assets(folder / "etcd", folder / "kube-apiserver", folder / "kubectl")
    for program in (assets.etcd, assets.kube_apiserver, assets.kubectl):
        if not os.access(program, os.X_OK):
            raise AssetsError(f"KUBEBUILDER_ASSETS is set, and there is no program {program}")
    return assets


def _etcd(say: Say) -> Path:
    found = shutil.which("etcd")
    return Path(found) if found else program_folder(ETCD, say) / "etcd"
