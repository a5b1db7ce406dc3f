"""manifests/components and overlays, as kubectl builds and the API server takes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.cluster.api import Cluster, Object
from tests.cluster.installation import MANIFESTS, kustomization

pytestmark = pytest.mark.cluster

COMPONENTS: Final = MANIFESTS / "components"
_NO_NAMESPACE: Final = re.compile(r'namespaces "dinp-system" not found')
# Of other projects, whose kinds a bare API server does not know.
_FOREIGN: Final = {"Issuer", "Certificate", "ServiceMonitor", "PrometheusRule"}


def build(cluster: Cluster, directory: Path, *names: str) -> list[Object]:
    """The objects of manifests/base with these components."""
    done = cluster.kubectl("kustomize", str(kustomization(directory, "base", components=names)))
    assert done.code == 0, done.err
    return list(yaml.safe_load_all(done.out))


def names_of(objects: list[Object]) -> set[str]:
    return {f"{it['kind']} {it['metadata']['name']}" for it in objects}


@pytest.mark.parametrize("name", sorted(path.name for path in COMPONENTS.iterdir()))
def test_api_server_takes_them(cluster: Cluster, tmp_path: Path, name: str) -> None:
    """Whatever is Kubernetes' own of it has no field that the API server does not know."""
    ours = [it for it in build(cluster, tmp_path, name) if it["kind"] not in _FOREIGN]
    text = yaml.safe_dump_all(ours)
    flags = ("--dry-run=server", "--validate=strict", "--filename=-")
    done = cluster.kubectl("apply", *flags, given=text)
    # Nothing is made, its namespace included, so what is in that is not found.
    errors = [line for line in done.err.splitlines() if "NotFound" not in line]
    assert [line for line in errors if not _NO_NAMESPACE.search(line)] == []


def test_cert_manager_takes_the_place_of_certs(cluster: Cluster, tmp_path: Path) -> None:
    """Nothing of `dinp certs run` is left, and the same Secret and Service are certified."""
    base = build(cluster, tmp_path)
    objects = build(cluster, tmp_path, "cert-manager")
    gone = names_of(base) - names_of(objects)
    assert gone == {name for name in names_of(base) if "dinp-certs" in name}
    (certificate,) = (
        it for it in objects if it["metadata"]["name"] == "dinp" and it["kind"] == "Certificate"
    )
    assert certificate["spec"]["secretName"] == "dinp-tls"
    assert certificate["spec"]["dnsNames"] == ["dinp.dinp-system.svc"]
    (registration,) = (it for it in objects if it["kind"] == "MutatingWebhookConfiguration")
    injected = registration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
    assert injected == "dinp-system/dinp"


def test_cert_manager_leaves_shared_daemons_their_certs(cluster: Cluster, tmp_path: Path) -> None:
    """Nothing of manifests/shared is touched by it, so their certificates go on."""
    whole = kustomization(tmp_path, "base", "shared", components=["cert-manager"])
    done = cluster.kubectl("kustomize", str(whole))
    assert done.code == 0, done.err
    found = list(yaml.safe_load_all(done.out))
    assert all(it in found for it in objects_of(cluster, "shared"))


def objects_of(cluster: Cluster, name: str) -> list[Object]:
    """The objects of manifests/<name>."""
    done = cluster.kubectl("kustomize", str(MANIFESTS / name))
    assert done.code == 0, done.err
    return list(yaml.safe_load_all(done.out))


def pod_of(cluster: Cluster, name: str) -> Object:
    """The spec of the Pods of manifests/<name>."""
    found: list[Object] = [
        it["spec"]["template"]["spec"]
        for it in objects_of(cluster, name)
        if it["kind"] in ("DaemonSet", "StatefulSet")
    ]
    (spec,) = found
    return spec


def test_host_network(cluster: Cluster) -> None:
    """The node's network, the cluster's names, one flag more for the daemon, and nothing else."""
    plain, spec = (
        pod_of(cluster, f"{it}") for it in ("daemonset", "overlays/daemonset-host-network")
    )
    assert (spec.pop("hostNetwork"), spec.pop("dnsPolicy")) == (True, "ClusterFirstWithHostNet")
    docker = spec["containers"][0]
    assert (docker["name"], docker["args"].pop()) == ("docker", "--ip-forward-no-drop")
    assert plain == spec


def test_chosen_nodes(cluster: Cluster) -> None:
    """Tolerations and an affinity, and nothing else."""
    plain, spec = (pod_of(cluster, it) for it in ("daemonset", "overlays/daemonset-tolerations"))
    assert spec.pop("tolerations")
    assert spec.pop("affinity")
    assert plain == spec


@pytest.mark.parametrize("mode", ["daemonset", "service"])
def test_without_tls(cluster: Cluster, mode: str) -> None:
    """What dockerd listens on is what the port, and the Service, say; no CA and no token; all else stays."""
    plain, spec = (pod_of(cluster, it) for it in (mode, f"overlays/{mode}-plain"))
    for name in ("initContainers", "containers"):
        for before, after in zip(plain[name], spec[name], strict=True):
            assert before["args"] != after["args"]
            for key in ("args", "ports"):
                before.pop(key, None)
                after.pop(key, None)
            before["volumeMounts"] = without_certificate(before["volumeMounts"])
    plain["volumes"] = without_certificate(plain["volumes"])
    assert plain == spec
    kinds = [it["kind"] for it in objects_of(cluster, f"overlays/{mode}-plain")]
    assert "ClusterRoleBinding" not in kinds


def without_certificate(named: list[Object]) -> list[Object]:
    return [it for it in named if it["name"] not in ("ca", "api-access")]
