"""The programs that make the namespaces a node of Kubernetes, and the controllers that use it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.cluster.api import Api, Cluster
from tests.cluster.processes import running, wait_until
from tests.node.containerd import SOCKET
from tests.node.namespace import Namespace
from tests.node.programs import Programs, command

SERVICES: Final = "10.96.0.0/16"
API_SERVICE: Final = "10.96.0.1"  # the API server's own Service
CLUSTER_DOMAIN: Final = "cluster.local"


@contextmanager
def controllers(cluster: Cluster, programs: Programs, directory: Path) -> Iterator[None]:
    """Run kube-controller-manager and kube-scheduler beside the API server.

    `directory` is the control plane's: it has the key of the ServiceAccounts.
    """
    common = [f"--kubeconfig={cluster.kubeconfig}", "--leader-elect=false", "--secure-port=0"]
    manager = [str(programs.kubernetes / "kube-controller-manager"), *common]
    manager += [f"--service-account-private-key-file={directory / 'service-accounts.key'}"]
    manager += [f"--root-ca-file={cluster.ca_file}"]
    scheduler = [str(programs.kubernetes / "kube-scheduler"), *common]
    logs = directory / "logs"
    with (
        running(manager, logs / "kube-controller-manager.log"),
        running(scheduler, logs / "kube-scheduler.log"),
    ):
        yield


@contextmanager
def kubelet(
    node: Namespace, cluster: Cluster, programs: Programs, settings: Mapping[str, Any]
) -> Iterator[None]:
    """Run kubelet, kube-proxy and the cluster's DNS inside, until the node is Ready.

    `settings` of the kubelet are added to those below, or replace them.

    Raises:
        StartError: it is not.
    """
    with ExitStack() as stack:
        for name, arguments in _commands(node, cluster, programs, settings).items():
            stack.enter_context(node.running(name, arguments))
        with closing(Api(cluster)) as api:
            wait_until(lambda: is_ready(api, node.name), "the node is Ready")
        yield


def is_ready(api: Api, name: str) -> bool:
    """Whether a node takes Pods."""
    answer = api.get(f"/api/v1/nodes/{name}")
    if answer.status != 200:  # it has not registered yet
        return False
    conditions = answer.body["status"].get("conditions", [])
    return any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)


def _commands(
    node: Namespace, cluster: Cluster, programs: Programs, settings: Mapping[str, Any]
) -> dict[str, list[str]]:
    kubelet_file = _write(node.directory / "kubelet.json", {**_kubelet(node), **settings})
    proxy_file = _write(node.directory / "kube-proxy.json", _kube_proxy(cluster, node.name))
    return {
        "kubelet": [
            str(programs.kubernetes / "kubelet"),
            f"--config={kubelet_file}",
            f"--kubeconfig={cluster.kubeconfig}",
            f"--hostname-override={node.name}",
            f"--node-ip={node.inside}",
        ],
        "kube-proxy": [str(programs.kubernetes / "kube-proxy"), f"--config={proxy_file}"],
        "dnsmasq": [command("dnsmasq"), *_dnsmasq(node)],
    }


def _kubelet(node: Namespace) -> dict[str, Any]:
    resolv_conf = node.directory / "resolv.conf"
    resolv_conf.write_text(f"nameserver {node.inside}\n", encoding="utf-8")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.inside,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": node.cgroup,
        "clusterDNS": [node.inside],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": str(resolv_conf),
        "enforceNodeAllocatable": ["pods"],
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": False,
        # What follows is for machines with cgroup v1, and whose root lacks CAP_SYS_RESOURCE.
        "failCgroupV1": False,
        "maxOpenFiles": 20000,
        "oomScoreAdj": 0,
        "featureGates": {"KubeletInUserNamespace": True},
    }


def _kube_proxy(cluster: Cluster, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(cluster.kubeconfig)},
        "hostnameOverride": name,
        "conntrack": {"maxPerCore": 0, "min": 0},
        "oomScoreAdj": 0,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    }


def _dnsmasq(node: Namespace) -> list[str]:
    """DNS of the cluster: it reads a file of hosts/ as soon as a test has written one."""
    hosts = node.directory / "hosts"
    hosts.mkdir()
    own = f"{API_SERVICE} kubernetes.default.svc.{CLUSTER_DOMAIN}\n"
    (hosts / "kubernetes").write_text(own, encoding="ascii")
    return [
        "--keep-in-foreground",
        "--log-facility=-",
        "--no-resolv",
        "--no-hosts",
        f"--hostsdir={hosts}",
        "--bind-interfaces",
        f"--listen-address={node.inside}",
        "--pid-file=",
        "--user=root",
        f"--local=/{CLUSTER_DOMAIN}/",
    ]


def _write(file: Path, content: Mapping[str, Any]) -> Path:
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
