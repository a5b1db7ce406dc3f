"""dinp as `kubectl apply -k` installs it, and what administrators do with it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import yaml

from certs.policy import Policy
from tests.cluster.api import Kubectl, Object
from tests.cluster.installation import BASE, CONFIGURATION, RULE_NAMESPACES, is_injected, small_pod
from tests.cluster.processes import wait_until
from tests.cluster.test_certs import Site
from tests.node.cluster import BareCluster
from webhook.asking import rules

SYSTEM: Final = "dinp-system"
WEBHOOK: Final = "dinp"
CERTS: Final = "dinp-certs"
SHARED_CERTS: Final = "dinp-certs-docker"
# Deployments, and the components that their Pods are labelled as.
COMPONENTS: Final = {WEBHOOK: "webhook", CERTS: "certs", SHARED_CERTS: "certs-docker"}
LABEL: Final = "app.kubernetes.io/part-of=dinp"


class Deployed:
    """A cluster, and dinp in it as soon as a test has installed it."""

    def __init__(self, bare: BareCluster) -> None:
        self.bare = bare
        self.cluster = bare.cluster
        self.api = bare.api
        # What dinp certs keeps, as its own tests look at it.
        policy = Policy(names=("dinp.dinp-system.svc",))
        kubeconfig = bare.cluster.kubeconfig
        self.certs = Site(bare.api, bare.cluster, SYSTEM, "zz-dinp", kubeconfig, policy)
        self._numbers = count()

    def install(self) -> None:
        """Apply the base, and wait until a Pod of each rule's namespace is injected."""
        self.make_namespaces()
        self.kubectl("apply", "-k", str(self.kustomization()))
        self.wait_for_rollouts()
        wait_until(self.is_called, "the API server calls dinp", interval=0.2)

    def make_namespaces(self) -> None:
        """Make a namespace for each of dinp's rules, unless they are there."""
        for name, labels in RULE_NAMESPACES.items():
            answer = self.api.create_namespace(name, labels)
            assert answer.status in (201, 409), answer.message

    def kustomization(
        self,
        *,
        base: Path = BASE,
        tag: str = "dev",
        arguments: Sequence[str] = (),
        config: str | None = None,
    ) -> Path:
        """Write what an administrator writes: the base (or shared), and the image that is meant.

        `arguments` are those of certs where the manifests' do not do, `config` a config file.
        """
        folder = self.bare.directory / f"kustomization-{next(self._numbers)}"
        folder.mkdir()
        whole: Object = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(base, folder)],
            "images": [{"name": "dinp", "newName": "docker.io/library/dinp", "newTag": tag}],
        }
        if arguments:
            path = "/spec/template/spec/containers/0/args"
            patch = [{"op": "replace", "path": path, "value": list(arguments)}]
            target = {"kind": "Deployment", "name": f"{CERTS}.*"}
            whole["patches"] = [{"target": target, "patch": yaml.safe_dump(patch)}]
        if config is not None:
            (folder / "config.yaml").write_text(config, encoding="utf-8")
            files = {"name": "dinp-config", "namespace": SYSTEM, "files": ["config.yaml"]}
            whole["configMapGenerator"] = [{**files, "behavior": "replace"}]
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
        return folder

    def kubectl(self, *arguments: str, given: Object | None = None) -> Kubectl:
        """Run kubectl, which has to succeed."""
        done = self.cluster.kubectl(*arguments, given=given)
        assert done.code == 0, f"kubectl {' '.join(arguments)}: {done.err}{done.out}"
        return done

    def wait_for_rollout(self, name: str, namespace: str = SYSTEM) -> None:
        """Wait until a Deployment has as many Pods as it wants, and all of them new and Ready."""
        self.kubectl("rollout", "status", f"deployment/{name}", f"--namespace={namespace}")

    def wait_for_ends(self, component: str) -> None:
        """Wait for the ends of the Pods before a rollout: it is over while they still work."""
        wait_until(
            lambda: not any("deletionTimestamp" in it["metadata"] for it in self.pods(component)),
            f"{component} has no Pod that is about to end",
            interval=0.2,
        )

    def wait_for_rollouts(self) -> None:
        """The same for both of dinp."""
        for name in (CERTS, WEBHOOK):
            self.wait_for_rollout(name)

    def restart(self, name: str) -> None:
        """Replace all Pods of a Deployment of dinp, one after the other."""
        self.kubectl("rollout", "restart", f"deployment/{name}", f"--namespace={SYSTEM}")
        self.wait_for_rollout(name)

    def scale(self, name: str, replicas: int, namespace: str = SYSTEM) -> None:
        """Say how many Pods a Deployment is to have."""
        number = f"--replicas={replicas}"
        self.kubectl("scale", f"deployment/{name}", number, f"--namespace={namespace}")

    def end_certs(self, name: str = CERTS) -> None:
        """Have no replica of certs."""
        self.scale(name, 0)
        wait_until(lambda: not self.pods(COMPONENTS[name]), f"{name} has ended", interval=0.2)

    def empty(self) -> str:
        """Have no certs and nothing that it has written; return the resourceVersion of that."""
        self.end_certs()
        for name in ("dinp-ca", "dinp-tls"):
            self.api.must("DELETE", self.certs.secret_path(name))
        self.certs.patch_bundles(None, range(len(rules.RULES)))
        version: str = self.api.must("GET", CONFIGURATION)["metadata"]["resourceVersion"]
        return version

    def pods(self, component: str, namespace: str = SYSTEM) -> list[Object]:
        """The Pods of one component of dinp, also those that are about to end."""
        path = f"/api/v1/namespaces/{namespace}/pods"
        found: list[Object] = self.api.must(
            "GET", f"{path}?labelSelector=app.kubernetes.io/component%3D{component}"
        )["items"]
        return found

    def is_called(self) -> bool:
        """Whether each of the entries is called and answers."""
        pod = small_pod("sidecar")
        return all(is_injected(self.api.create_pod(name, pod)) for name in RULE_NAMESPACES)

    def labelled(self) -> set[str]:
        """Everything in the cluster that says that it is dinp's, as kind.group/name."""
        kinds = self.kubectl("api-resources", "--verbs=list", "--output=name").out.split()
        found = self.kubectl(
            "get", ",".join(kinds), "--all-namespaces", f"--selector={LABEL}", "--output=name"
        )
        return set(found.out.split())


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a Pod is Ready, and not about to end."""
    conditions = pod["status"].get("conditions", [])
    is_ending = "deletionTimestamp" in pod["metadata"]
    ready = any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
    return ready and not is_ending
