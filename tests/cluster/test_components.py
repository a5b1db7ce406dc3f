"""manifests/components and overlays, as kubectl builds and the API server takes them."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.cluster.api import Api, Cluster, Object
from tests.cluster.installation import MANIFESTS, kustomization
from tests.cluster.processes import wait_until
from webhook import rules

pytestmark = pytest.mark.cluster

COMPONENTS: Final = MANIFESTS / "components"
_POLICIES: Final = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
_NO_NAMESPACE: Final = re.compile(r'namespaces "dinp-(system|daemons)" not found')
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


def test_nothing_is_left_for_shared_daemons(cluster: Cluster, tmp_path: Path) -> None:
    """No namespace for them, nothing that they or certs may do for them, and certs knows of it."""
    base = build(cluster, tmp_path)
    objects = build(cluster, tmp_path, "no-shared-daemons")
    gone = {it["kind"] + " " + it["metadata"]["name"] for it in base if is_for_daemons(it)}
    assert gone == names_of(base) - names_of(objects)
    assert not [it for it in objects if is_for_daemons(it)]
    (certs,) = (it for it in objects if names_of([it]) == {"Deployment dinp-certs"})
    (container,) = certs["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["certs", "run", "--no-shared-daemons"]


def is_for_daemons(item: Object) -> bool:
    """Whether a cluster without shared daemons has no use for it."""
    metadata = item["metadata"]
    return (
        "dinp-daemons" in (metadata["name"], metadata.get("namespace"))
        or "docker" in metadata["name"]
        or (item["kind"], metadata["name"]) == ("ClusterRole", "dinp-shared-daemons")
    )


@pytest.mark.parametrize("first", ["cert-manager", "no-shared-daemons"])
def test_both_ways_to_do_without_go_together(cluster: Cluster, tmp_path: Path, first: str) -> None:
    """In either order, though each removes what the other has removed already."""
    (second,) = {"cert-manager", "no-shared-daemons"} - {first}
    objects = build(cluster, tmp_path, first, second)
    assert not [it for it in objects if is_for_daemons(it) or "dinp-certs" in str(it["metadata"])]


def test_no_shared_daemons(cluster: Cluster, tmp_path: Path) -> None:
    """Not even a cluster admin may grant them; sidecars are as free as before."""
    objects = build(cluster, tmp_path, "no-shared-daemons")
    (policy,) = (
        it
        for it in objects
        if it["kind"] == "ValidatingAdmissionPolicy"
        and it["metadata"]["name"] == "dinp-shared-daemon-grants"
    )
    policy["metadata"]["name"] = "no-shared-daemons"
    here = {"dinp.test/no-shared-daemons": "true"}
    binding = {
        "metadata": {"name": "no-shared-daemons"},
        "spec": {
            "policyName": "no-shared-daemons",
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": here}},
        },
    }
    with closing(Api(cluster)) as admin:

        def create(labels: dict[str, str]) -> tuple[int, str]:
            body = {"metadata": {"name": "no-shared-daemons", "labels": here | labels}}
            answer = admin.request("POST", "/api/v1/namespaces?dryRun=All", body)
            return answer.status, answer.message

        admin.must("POST", f"{_POLICIES}ies", policy)
        admin.must("POST", f"{_POLICIES}ybindings", binding)
        allowed = {rules.SHARED_DAEMON: "allowed"}
        wait_until(lambda: create(allowed)[0] != 201, "the policy is in force")
        for labels in (allowed, {rules.INJECT: "daemonset"}, {rules.MIGRATE: "service"}):
            status, message = create(labels)
            assert status == 403, message
            assert "which this cluster has switched off" in message
        assert create({rules.INJECT: "sidecar"})[0] == 201


def pod_of(cluster: Cluster, name: str) -> Object:
    """The spec of the Pods of manifests/<name>."""
    done = cluster.kubectl("kustomize", str(MANIFESTS / name))
    assert done.code == 0, done.err
    found: list[Object] = [
        it["spec"]["template"]["spec"]
        for it in yaml.safe_load_all(done.out)
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
    """What dockerd listens on is what the port, and the Service, say; and all else stays."""
    plain, spec = (pod_of(cluster, it) for it in (mode, f"overlays/{mode}-plain"))
    changed = ("args", "ports")
    for name in ("initContainers", "containers"):
        for before, after in zip(plain[name], spec[name], strict=True):
            assert before["args"] != after["args"]
            for key in changed:
                before.pop(key, None)
                after.pop(key, None)
    assert plain == spec
