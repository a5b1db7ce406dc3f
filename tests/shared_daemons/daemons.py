"""The shared daemons as `kubectl apply -k` installs them, and Pods that use them."""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster.api import Api, Object
from tests.cluster.installation import MANIFESTS, SHARED
from tests.cluster.processes import output, wait_for_one, wait_until
from tests.installation.deployed import COMPONENTS, SHARED_CERTS, Deployed, is_ready
from tests.node import pods
from tests.node.cluster import BareCluster
from tests.node.kubelet import CLUSTER_DOMAIN
from tests.node.namespace import Namespace
from webhook.asking import rules

NAMESPACE: Final = "dinp-daemons"
NAME: Final = "dinp-docker"  # of DaemonSet, StatefulSet and Service
CLIENT_SECRET: Final = "dinp-client-tls"  # the name of a Secret, not one
DAEMONSET: Final = "daemonset"
SERVICE: Final = "service"
KINDS: Final = {DAEMONSET: "daemonset/dinp-docker", SERVICE: "statefulset/dinp-docker"}
ALLOWED: Final = {rules.SHARED_DAEMON: "allowed"}
SOCKET: Final = "/var/run/docker.sock"
_CLAIM: Final = "data-dinp-docker-0"

# For `docker run` without a registry: busybox of the client image. It is made anew each time, so
# that no test needs another's, and whatever is pruned meanwhile.
IMAGE: Final = "tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - localhost/shell:1\n"


class Daemons:
    """A cluster with dinp and both kinds of shared daemon."""

    def __init__(self, deployed: Deployed) -> None:
        self.deployed = deployed
        self._numbers = count()

    @property
    def bare(self) -> BareCluster:
        """The cluster."""
        return self.deployed.bare

    @property
    def api(self) -> Api:
        """The administrator's connection."""
        return self.deployed.api

    @property
    def nodes(self) -> Sequence[Namespace]:
        """Both nodes."""
        return self.bare.nodes

    # ---- installing ----------------------------------------------------------------------

    def configure_certs(self, *options: str) -> None:
        """Apply manifests/shared: its certs has these options, of none its own, and nobody has others."""
        arguments = ["certs", "run-shared", *options] if options else []
        folder = self.deployed.kustomization(base=SHARED, arguments=arguments)
        self.deployed.kubectl("apply", "-k", str(folder))
        self.deployed.wait_for_rollout(SHARED_CERTS)
        # It may write a last certificate.
        self.deployed.wait_for_ends(COMPONENTS[SHARED_CERTS])

    def install(self, kind: str, *, wait: bool = True, **how: Any) -> None:
        """Apply the manifests of one kind, as kustomization() writes them."""
        if kind == SERVICE:
            self._provide_volume()
        self.deployed.kubectl("apply", "-k", str(self.kustomization(kind, **how)))
        if wait:
            self.wait_for_rollout(kind)

    def kustomization(
        self,
        kind: str,
        *,
        base: Path | None = None,
        tag: str = "dev",
        options: Mapping[str, Sequence[str]] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write what an administrator writes on top of manifests/<kind>, or of another `base`.

        `options` are appended to the arguments of containers, by their names; `settings` are
        added to daemon.json.
        """
        folder = self.bare.directory / f"{kind}-{next(self._numbers)}"
        folder.mkdir()
        whole: Object = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(base or MANIFESTS / kind, folder)],
            "images": [{"name": "dinp", "newName": "docker.io/library/dinp", "newTag": tag}],
        }
        if options:
            whole["patches"] = [{"patch": yaml.safe_dump(self._patch(kind, options))}]
        if settings:
            file = folder / "daemon.json"
            text = (MANIFESTS / kind / "daemon.json").read_text(encoding="utf-8")
            file.write_text(yaml.safe_dump({**yaml.safe_load(text), **settings}), encoding="utf-8")
            made = {"name": f"dinp-docker-{kind}", "namespace": NAMESPACE, "behavior": "replace"}
            whole["configMapGenerator"] = [{**made, "files": ["daemon.json"]}]
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
        return folder

    def _patch(self, kind: str, options: Mapping[str, Sequence[str]]) -> Object:
        """A strategic merge: the whole list of a container's arguments has to be said again."""
        said = self.deployed.kubectl("kustomize", str(MANIFESTS / kind)).out
        wanted = {DAEMONSET: "DaemonSet", SERVICE: "StatefulSet"}[kind]
        (found,) = (it for it in yaml.safe_load_all(said) if it["kind"] == wanted)
        spec = found["spec"]["template"]["spec"]
        patched = {
            field: [
                {"name": it["name"], "args": [*it["args"], *options[it["name"]]]}
                for it in spec[field]
                if it["name"] in options
            ]
            for field in ("initContainers", "containers")
        }
        metadata = {"name": NAME, "namespace": NAMESPACE}
        top = {key: found[key] for key in ("apiVersion", "kind")}
        return {**top, "metadata": metadata, "spec": {"template": {"spec": patched}}}

    def remove(self, kind: str) -> None:
        """Delete what manifests/<kind> has made, and wait for the end of its Pods."""
        self.deployed.kubectl("delete", "-k", str(self.kustomization(kind)))
        wait_until(lambda: not self.daemons(kind), f"{kind} is gone")
        if kind == SERVICE:
            self._take_volume_back()

    def restart(self, kind: str) -> None:
        """Replace the Pods of one kind, and wait for the new ones."""
        self.deployed.kubectl("rollout", "restart", KINDS[kind], f"--namespace={NAMESPACE}")
        self.wait_for_rollout(kind)

    def wait_for_rollout(self, kind: str) -> None:
        """Wait until all Pods of one kind are new and Ready, and the Service leads to them."""
        self.deployed.kubectl("rollout", "status", KINDS[kind], f"--namespace={NAMESPACE}")
        if kind == SERVICE:
            self._publish_names()

    def _provide_volume(self) -> None:
        """The PersistentVolume that a provisioner would make for the StatefulSet's claim."""
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Ti"},
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": NAMESPACE, "name": _CLAIM},
            "hostPath": {"path": "/var/lib/dinp-service", "type": "DirectoryOrCreate"},
            # As a local volume has it: data is on one node only.
            "nodeAffinity": {"required": {"nodeSelectorTerms": [self._on_last_node()]}},
        }
        whole = {"metadata": {"name": _CLAIM}, "spec": spec}
        assert self.api.request("POST", "/api/v1/persistentvolumes", whole).status in (201, 409)

    def _take_volume_back(self) -> None:
        """What the provisioner does when the claim is gone, which goes with the StatefulSet."""
        claim = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims/{_CLAIM}"
        volume = f"/api/v1/persistentvolumes/{_CLAIM}"
        wait_until(lambda: self.api.get(claim).status == 404, "the claim is gone")
        self.api.must("DELETE", volume)
        wait_until(lambda: self.api.get(volume).status == 404, "the volume is gone")

    def _on_last_node(self) -> Object:
        key = "kubernetes.io/hostname"
        return {
            "matchExpressions": [{"key": key, "operator": "In", "values": [self.nodes[-1].name]}]
        }

    def _publish_names(self) -> None:
        """What the cluster's DNS would say: dnsmasq reads the files of hosts/ at once."""
        service = self.api.must("GET", f"/api/v1/namespaces/{NAMESPACE}/services/{NAME}")
        names = {f"{NAME}.{NAMESPACE}.svc.{CLUSTER_DOMAIN}": service["spec"]["clusterIP"]}
        for pod in self.daemons(SERVICE):
            name = f"{pod['metadata']['name']}.{pod['spec']['subdomain']}.{NAMESPACE}.svc"
            names[f"{name}.{CLUSTER_DOMAIN}"] = pod["status"]["podIP"]
        lines = "".join(f"{address} {name}\n" for name, address in names.items())
        for node in self.nodes:
            (node.directory / "hosts" / NAME).write_text(lines, encoding="ascii")

    # ---- looking -------------------------------------------------------------------------

    def daemons(self, kind: str) -> list[Object]:
        """The Pods of one kind, also those that are about to end."""
        return self.deployed.pods(kind, NAMESPACE)

    def daemon_on(self, node: str, kind: str = DAEMONSET) -> Object:
        """The Ready Pod of one kind on a node; waits until there is one."""

        def ready() -> list[Object]:
            there = (pod for pod in self.daemons(kind) if pod["spec"].get("nodeName") == node)
            return [pod for pod in there if is_ready(pod)]

        return wait_for_one(ready, f"{node} has one daemon that is Ready", interval=0.5)

    def execute(self, pod: str, *command: str, container: str = "docker") -> str:
        """Run a command in a container of a daemon's Pod; it has to succeed."""
        where = (f"--namespace={NAMESPACE}", pod, f"--container={container}")
        return self.deployed.kubectl("exec", *where, "--", *command).out

    def docker(self, pod: str, *command: str) -> str:
        """Run docker in a daemon's Pod, against that daemon."""
        return self.execute(pod, "docker", "--host=unix:///dinp/docker.sock", *command)

    def log(self, pod: str, container: str) -> str:
        """What a container of a daemon's Pod has written."""
        return pods.logs(self.bare.cluster, NAMESPACE, pod, container)

    def client_files(self, namespace: str) -> dict[str, bytes]:
        """What is in the client Secret of a namespace; empty where there is none."""
        path = f"/api/v1/namespaces/{namespace}/secrets/{CLIENT_SECRET}"
        found = self.api.get(path).body.get("data") or {}
        return {key: b64decode(value) for key, value in found.items()}

    # ---- clients -------------------------------------------------------------------------

    def allow(self, name: str, labels: Mapping[str, str] = ALLOWED) -> None:
        """Make a namespace that may use shared daemons, and wait for its certificate."""
        answer = self.api.create_namespace(name, labels)
        assert answer.status == 201, answer.message
        wait_until(lambda: bool(self.client_files(name)), f"{name} has a certificate")

    @contextmanager
    def namespace(self, name: str, labels: Mapping[str, str] = ALLOWED) -> Iterator[str]:
        """The same, until the end of the `with`."""
        self.allow(name, labels)
        try:
            yield name
        finally:
            self.api.must("DELETE", f"/api/v1/namespaces/{name}")

    def start(self, namespace: str, pod: Object) -> None:
        """Create a Pod and do not wait."""
        pods.start(self.api, namespace, pod)

    def said(self, namespace: str, name: str) -> str:
        """Wait until a Pod has ended well; return what its client wrote."""
        return pods.said_at_end(self.bare.cluster, namespace, name, api=self.api)

    def pod_of_job(self, namespace: str, name: str) -> Object:
        """The Pod that a Job has made, as soon as it has and a node has it."""
        path = f"/api/v1/namespaces/{namespace}/pods?labelSelector=job-name%3D{name}"

        def scheduled() -> list[Object]:
            items: list[Object] = self.api.must("GET", path)["items"]
            return [pod for pod in items if "nodeName" in pod["spec"]]

        return wait_for_one(scheduled, f"{name} has a Pod on a node")

    def on_node(self, node: Namespace, *command: str) -> str:
        """Run a command in a node's namespaces; it has to succeed."""
        return output(node.command(*command))


def client(name: str, kind: str | None, *command: str, node: str = "", **more: Any) -> Object:
    """A Pod that asks for a daemon, on this node if one is named.

    `more` is given to pods.client_pod(): the image.
    """
    annotations = {} if kind is None else {rules.INJECT: kind}
    pod = pods.client_pod(name, *command, annotations=annotations, **more)
    if node:
        pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    return pod


def mount_socket(pod: Object) -> None:
    """Let a Pod of one container have the node's Docker socket, at its own path."""
    (container,) = pod["spec"]["containers"]
    pod["spec"]["volumes"] = [{"name": "docker", "hostPath": {"path": SOCKET}}]
    container["volumeMounts"] = [{"name": "docker", "mountPath": SOCKET}]
