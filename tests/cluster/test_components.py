"""manifests/components with manifests/base, as kubectl builds and the API server takes them."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.cluster.api import Api, Cluster, Object
from tests.cluster.installation import BASE
from tests.cluster.processes import wait_until
from webhook import rules

pytestmark = pytest.mark.cluster

COMPONENTS: Final = BASE.parent / "components"
_POLICIES: Final = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
# Of other projects, whose kinds a bare API server does not know.
_FOREIGN: Final = {"Issuer", "Certificate", "ServiceMonitor", "PrometheusRule"}


def build(cluster: Cluster, directory: Path, *names: str) -> list[Object]:
    """The objects of manifests/base with these components."""
    # kustomize takes paths that lead out of a folder, but no absolute ones.
    whole = {
        "resources": [os.path.relpath(BASE, directory.resolve())],
        "components": [os.path.relpath(COMPONENTS / name, directory.resolve()) for name in names],
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    done = cluster.kubectl("kustomize", str(directory))
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
    assert [line for line in errors if 'namespaces "dinp-system" not found' not in line] == []


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


def test_no_shared_daemons(cluster: Cluster, tmp_path: Path) -> None:
    """Not even a cluster admin may grant them; sidecars are as free as before."""
    objects = build(cluster, tmp_path, "no-shared-daemons")
    assert "ClusterRole dinp-shared-daemons" not in names_of(objects)
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
