"""manifests/daemonset and manifests/service: what runs beside what, and sees what of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from webhook import names
from webhook.asking import config

MANIFESTS: Final = Path(__file__).parents[2] / "manifests"
MODES: Final = ("daemonset", "service")
SET_FILES: Final = {"daemonset": "daemonset.yaml", "service": "statefulset.yaml"}
CONFIG: Final = config.Config()
SHARED_LABELS: Final = {"app.kubernetes.io/name": "dinp-docker"}
TOKEN: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
TLS_PORT: Final = 2376

every_mode = pytest.mark.parametrize("mode", MODES)


def documents(path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((MANIFESTS / path).read_text(encoding="utf-8")))


def set_of(mode: str) -> dict[str, Any]:
    """The DaemonSet or StatefulSet."""
    (found,) = documents(f"{mode}/{SET_FILES[mode]}")
    return found


def spec_of(mode: str) -> dict[str, Any]:
    """The spec of its Pods."""
    found: dict[str, Any] = set_of(mode)["spec"]["template"]["spec"]
    return found


def containers(mode: str) -> dict[str, dict[str, Any]]:
    spec = spec_of(mode)
    return {it["name"]: it for it in (*spec["initContainers"], *spec["containers"])}


def mounts(container: dict[str, Any]) -> dict[str, str]:
    """Where each volume is."""
    return {it["name"]: it["mountPath"] for it in container["volumeMounts"]}


def daemon_json(mode: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MANIFESTS / mode / "daemon.json").read_text("utf-8"))
    return found


def flags(mode: str) -> Iterator[tuple[str, str]]:
    """Of dockerd: name and value."""
    first, *arguments = containers(mode)["docker"]["args"]
    assert first == "dockerd"
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        assert value, f"dind.sh would take {argument} for its own"
        yield name, value


@every_mode
def test_three_containers(mode: str) -> None:
    """One brings the certificate, one is the daemon, one looks after it; the image is the webhook's."""
    assert ["prepare", "docker", "keeper"] == list(containers(mode))
    images = [it["image"] for it in containers(mode).values()]
    assert images == ["dinp", CONFIG.sidecar.image, "dinp"]


@every_mode
def test_only_the_daemon_has_privileges(mode: str) -> None:
    """The two others are as restricted as Pods of dinp-system, and have no more than its socket's group."""
    spec, found = spec_of(mode), containers(mode)
    assert found["docker"]["securityContext"]["privileged"] is True
    for name in ("prepare", "keeper"):
        assert found[name]["securityContext"] == {
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "seccompProfile": {"type": "RuntimeDefault"},
            "capabilities": {"drop": ["ALL"]},
        }
    group = CONFIG.sidecar.socket_group
    assert spec["securityContext"] == {"supplementalGroups": [group]}
    assert ("group", str(group)) in flags(mode)
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & spec.keys()


@every_mode
def test_the_token_is_not_the_daemons(mode: str) -> None:
    """It and the CAs are mounted where they are used, and the kubelet mounts nothing by itself."""
    found = containers(mode)
    assert spec_of(mode)["automountServiceAccountToken"] is False
    account, binding = documents(f"{mode}/service-account.yaml")
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"]["name"] == spec_of(mode)["serviceAccountName"]
    assert account["metadata"]["name"] == f"dinp-docker-{mode}"
    assert [account["metadata"]["name"]] == [it["name"] for it in binding["subjects"]]
    (role,) = documents("shared/daemons-permissions.yaml")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    for name in ("prepare", "keeper"):
        assert mounts(found[name])["api-access"] == TOKEN
        assert mounts(found[name])["ca"] == "/ca"
    assert not {"api-access", "ca"} & mounts(found["docker"]).keys()


@every_mode
def test_keys_lie_in_memory_and_apart_from_the_socket(mode: str) -> None:
    """What clients mount has the socket in it; the key is in a volume of memory, of the Pod's own."""
    volumes = {it["name"]: it for it in spec_of(mode)["volumes"]}
    assert volumes["daemon"]["emptyDir"]["medium"] == "Memory"
    for name, container in containers(mode).items():
        assert mounts(container)["daemon"] == "/daemon", name
    assert {"run": names.DIRECTORY} == {
        name: path for name, path in mounts(containers(mode)["keeper"]).items() if name == "run"
    }
    assert not {
        path
        for name, path in flags(mode)
        if name.startswith("tls") and name != "tlsverify"
        if not path.startswith("/daemon/tls/")
    }


def test_the_nodes_directories() -> None:
    """The socket is where the webhook looks for it, the data are not those of the node's own Docker."""
    paths = {
        it["name"]: it["hostPath"] for it in spec_of("daemonset")["volumes"] if "hostPath" in it
    }
    assert paths == {
        "run": {"path": CONFIG.daemonset.socket_directory, "type": "DirectoryOrCreate"},
        "data": {"path": "/var/lib/dinp/docker", "type": "DirectoryOrCreate"},
    }
    assert not [it for it in spec_of("service")["volumes"] if "hostPath" in it]


@every_mode
def test_volumes_are_mounted_and_mounts_are_volumes(mode: str) -> None:
    """None is missing, and none is there for nobody."""
    spec = set_of(mode)["spec"]
    claims = {it["metadata"]["name"] for it in spec.get("volumeClaimTemplates", [])}
    there = {it["name"] for it in spec["template"]["spec"]["volumes"]} | claims
    used = {name for it in containers(mode).values() for name in mounts(it)}
    assert there == used
    assert claims == (set() if mode == "daemonset" else {"data"})


@every_mode
def test_where_the_daemon_listens(mode: str) -> None:
    """On its sockets, and on one port, which asks for a client certificate."""
    found = containers(mode)["docker"]
    assert [value for name, value in flags(mode) if name == "host"] == [
        f"unix://{names.SOCKET_PATH}",
        "unix:///var/run/docker.sock",
        f"tcp://0.0.0.0:{TLS_PORT}",
    ]
    assert dict(flags(mode))["tlsverify"] == "true"
    (port,) = found["ports"]
    assert (port["name"], port["containerPort"]) == ("docker", TLS_PORT)
    assert port.get("hostPort") == (TLS_PORT if mode == "daemonset" else None)


@every_mode
def test_daemon_json_and_flags_do_not_meet(mode: str) -> None:
    """dockerd refuses what both say, and dind.sh leaves the flag out: none of ours may be lost so."""
    keys = daemon_json(mode).keys()
    for name, _ in flags(mode):
        assert not {name, f"{name}s", f"{name.removesuffix('y')}ies"} & keys, name
    assert "hosts" not in keys


@every_mode
def test_daemon_json(mode: str) -> None:
    """Addresses are the sidecar's, containers outlive dockerd, logs and build cache are bounded."""
    found = daemon_json(mode)
    assert found["bip"] == CONFIG.sidecar.bip
    assert found["default-address-pools"] == [
        {"base": pool.base, "size": pool.size} for pool in CONFIG.sidecar.default_address_pools
    ]
    assert found["live-restore"] is True
    assert {"max-size", "max-file"} == found["log-opts"].keys()
    assert found["builder"]["gc"]["defaultMaxUsedSpace"]
    environment = {it["name"]: it["value"] for it in containers(mode)["docker"]["env"]}
    assert environment == {"DOCKER_MIN_API_VERSION": "1.24"}


@every_mode
def test_daemon_json_is_where_dind_sh_looks(mode: str) -> None:
    """The volume is of the ConfigMap that the kustomization makes of the file, a change is a rollout."""
    (kustomization,) = documents(f"{mode}/kustomization.yaml")
    (generator,) = kustomization["configMapGenerator"]
    assert generator["files"] == ["daemon.json"]
    (volume,) = (it for it in spec_of(mode)["volumes"] if it["name"] == "config")
    assert volume["configMap"] == {"name": generator["name"]}
    assert mounts(containers(mode)["docker"])["config"] == names.DAEMON_CONFIG_PATH


@every_mode
def test_probes_ask_the_daemon(mode: str) -> None:
    """By its socket, whatever its certificate; minutes pass before one that is slow is killed."""
    found = containers(mode)["docker"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        command = ["docker", f"--host=unix://{names.SOCKET_PATH}", "version"]
        assert found[probe]["exec"]["command"] == command
    liveness = found["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 600


def test_never_two_daemons_on_one_directory() -> None:
    """A node's old daemon ends before its new one starts, and a claim is one replica's."""
    assert set_of("daemonset")["spec"]["updateStrategy"]["rollingUpdate"] == {
        "maxUnavailable": 1,
        "maxSurge": 0,
    }
    service = set_of("service")["spec"]
    assert service["replicas"] == 1
    (claim,) = service["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_the_services() -> None:
    """One is what the webhook tells clients, the other names each replica; both names are asked for."""
    service, headless = documents("service/service.yaml")
    assert service["metadata"]["name"] == CONFIG.service.name
    assert service["metadata"]["namespace"] == CONFIG.service.namespace
    assert service["spec"]["sessionAffinity"] == "ClientIP"
    assert headless["spec"]["clusterIP"] == "None"
    assert headless["metadata"]["name"] == set_of("service")["spec"]["serviceName"]
    for it in (service, headless):
        assert [(port["port"], port["targetPort"]) for port in it["spec"]["ports"]] == [
            (TLS_PORT, "docker")
        ]
        assert it["spec"]["selector"] == set_of("service")["spec"]["selector"]["matchLabels"]
    namespace = CONFIG.service.namespace
    asked = f"{CONFIG.service.name}.{namespace}.svc,$(POD_NAME).{headless['metadata']['name']}.{namespace}.svc"
    for name in ("prepare", "keeper"):
        assert f"--names={asked}" in containers("service")[name]["args"]


def test_a_nodes_daemon_asks_for_the_addresses_of_its_node() -> None:
    """All of them, as its clients dial one of either family."""
    for name in ("prepare", "keeper"):
        container = containers("daemonset")[name]
        assert "--names=$(HOST_IPS)" in container["args"]
        fields = {it["name"]: it["valueFrom"]["fieldRef"]["fieldPath"] for it in container["env"]}
        assert fields["HOST_IPS"] == "status.hostIPs"


def test_what_the_keeper_removes() -> None:
    """Leftovers on nodes; nothing behind the Service."""
    assert "--no-prune" not in containers("daemonset")["keeper"]["args"]
    assert "--no-prune" in containers("service")["keeper"]["args"]


@every_mode
def test_labels_tell_them_apart(mode: str) -> None:
    """Each set picks its own Pods; the NetworkPolicy and certs' anti-affinity mean both."""
    labels = set_of(mode)["spec"]["template"]["metadata"]["labels"]
    assert labels == {**SHARED_LABELS, "app.kubernetes.io/component": mode}
    assert set_of(mode)["spec"]["selector"]["matchLabels"] == labels
    (policy,) = documents("shared/namespace/network-policy.yaml")
    assert policy["spec"]["podSelector"]["matchLabels"] == SHARED_LABELS
    assert policy["metadata"]["namespace"] == set_of(mode)["metadata"]["namespace"]
    (kustomization,) = documents(f"{mode}/kustomization.yaml")
    (pairs,) = kustomization["labels"]
    for folder in ("base", "shared"):
        (certs,) = documents(f"{folder}/certs-deployment.yaml")
        (term,) = certs["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
            "preferredDuringSchedulingIgnoredDuringExecution"
        ]
        assert term["podAffinityTerm"]["namespaces"] == [policy["metadata"]["namespace"]]
        assert term["podAffinityTerm"]["labelSelector"]["matchLabels"] == pairs["pairs"]


@every_mode
def test_every_file_is_applied(mode: str) -> None:
    """A manifest that the kustomization does not name would never reach a cluster."""
    (kustomization,) = documents(f"{mode}/kustomization.yaml")
    files = {file.name for file in (MANIFESTS / mode).iterdir()} - {"kustomization.yaml"}
    assert files == {*kustomization["resources"], "daemon.json"}
    (base,) = documents("base/kustomization.yaml")
    assert kustomization["images"] == base["images"]
    assert kustomization["labels"] == base["labels"]


@every_mode
def test_without_tls_all_else_is_the_same(mode: str) -> None:
    """The overlay takes the certificates away and changes the port; keeper and prepare know of it."""
    (patch,) = documents(f"overlays/{mode}-plain/without-tls.yaml")
    assert patch["metadata"] == {"name": "dinp-docker", "namespace": "dinp-daemons"}
    spec = patch["spec"]["template"]["spec"]
    patched = {it["name"]: it for it in (*spec["initContainers"], *spec["containers"])}
    tcp = f"--host=tcp://0.0.0.0:{TLS_PORT}"
    kept = [
        it for it in containers(mode)["docker"]["args"] if it != tcp and not it.startswith("--tls")
    ]
    changed = [it for it in patched["docker"]["args"] if it not in kept]
    assert changed == ["--host=tcp://0.0.0.0:2375", "--tls=false"]
    assert set(kept) < set(patched["docker"]["args"])
    port = {**containers(mode)["docker"]["ports"][0], "containerPort": 2375}
    port |= {"hostPort": 2375} if mode == "daemonset" else {}
    assert patched["docker"]["ports"] == [{"$patch": "replace"}, port]
    for name in ("prepare", "keeper"):
        whole = containers(mode)[name]["args"]
        rest = [it for it in whole if not it.startswith("--names=")]
        assert [it for it in patched[name]["args"] if it in rest] == rest
        assert "--no-tls" in patched[name]["args"]


@every_mode
def test_without_tls_nothing_is_asked_for(mode: str) -> None:
    """Neither the CAs nor the token are mounted: so manifests/shared/namespace is enough."""
    (patch,) = documents(f"overlays/{mode}-plain/without-tls.yaml")
    spec = patch["spec"]["template"]["spec"]
    assert [("ca", "delete"), ("api-access", "delete")] == [
        (it["name"], it["$patch"]) for it in spec["volumes"]
    ]
    patched = {it["name"]: it for it in (*spec["initContainers"], *spec["containers"])}
    for name in ("prepare", "keeper"):
        gone = {it["mountPath"] for it in patched[name]["volumeMounts"]}
        assert gone == {mounts(containers(mode)[name])[it] for it in ("ca", "api-access")}
