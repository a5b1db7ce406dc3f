"""manifests/base: the entries that namespaces' labels pick, how they are registered, what is held to what."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from certs.cli import certs
from certs.store import Names
from webhook import cli
from webhook.asking import config, rules

BASE = Path(__file__).parents[2] / "manifests" / "base"
SHARED = "../shared"
VALUES = (None, *rules.MODES, "", "false", "Sidecar", "sidcar")
SHARED_VALUES = (None, "allowed", "", "true", "Allowed")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((BASE / name).read_text(encoding="utf-8")))


def entries() -> list[dict[str, Any]]:
    (configuration,) = documents("webhook.yaml")
    found: list[dict[str, Any]] = configuration["webhooks"]
    return found


ENTRIES = entries()


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Judge as meta/v1's LabelSelector: all must hold, and NotIn holds for an absent label."""
    assert {"matchExpressions"} == selector.keys()
    return all(holds(expression, labels) for expression in selector["matchExpressions"])


def holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    present = labels.get(expression["key"]) in expression["values"]
    return present if expression["operator"] == "In" else not present


def called(name: str, labels: Mapping[str, str]) -> list[str]:
    """The paths of the entries that the API server calls for this namespace's Pods."""
    labels = {**labels, "kubernetes.io/metadata.name": name}  # the API server sets it
    return [
        entry["clientConfig"]["service"]["path"]
        for entry in ENTRIES
        if matches(entry["namespaceSelector"], labels)
    ]


@pytest.mark.parametrize("name", ["ci", "default", *sorted(rules.EXCLUDED_NAMESPACES)])
def test_labels_pick_the_entry_of_the_rule(name: str) -> None:
    """Whatever the labels: one entry, that of the rule, and none where the namespace is excluded."""
    for inject, migrate, shared in itertools.product(VALUES, VALUES, SHARED_VALUES):
        keys = (rules.INJECT, rules.MIGRATE, rules.SHARED_DAEMON)
        given = zip(keys, (inject, migrate, shared), strict=True)
        labels = {key: value for key, value in given if value is not None}
        rule = rules.for_namespace(name, labels)
        assert ([] if rule is None else [rules.path(rule)]) == called(name, labels), labels


def test_selectors_use_operators_that_take_a_typo_as_absent() -> None:
    """In and NotIn alone: with Exists or DoesNotExist a typo would silence annotations."""
    operators = {
        expression["operator"]
        for entry in ENTRIES
        for expression in entry["namespaceSelector"]["matchExpressions"]
    }
    assert {"In", "NotIn"} == operators


def test_ten_entries_one_a_rule_and_named_after_it() -> None:
    """The name that people read in a refusal says which rule was at work."""
    paths = [entry["clientConfig"]["service"]["path"] for entry in ENTRIES]
    assert list(rules.RULES) == paths
    names = [path.removeprefix("/pods/").replace("/", "-") + ".dinp.io" for path in paths]
    assert names == [entry["name"] for entry in ENTRIES]


def test_the_configuration_is_called_last() -> None:
    """Configurations are called in the order of their names; ours sees what the others add."""
    (configuration,) = documents("webhook.yaml")
    assert configuration["metadata"]["name"] == "zz-dinp"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["name"]))
def test_settings_of_an_entry(entry: dict[str, Any]) -> None:
    """Only the creation of Pods is sent, and what is sent must be answered, soon."""
    (rule,) = entry["rules"]
    assert rule == {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
        "scope": "Namespaced",
    }
    settings = ("failurePolicy", "matchPolicy", "reinvocationPolicy", "sideEffects")
    assert [entry[name] for name in settings] == ["Fail", "Equivalent", "IfNeeded", "None"]
    assert entry["timeoutSeconds"] == 5
    assert entry["admissionReviewVersions"] == ["v1"]
    assert "objectSelector" not in entry
    assert "caBundle" not in entry["clientConfig"]


def conditions(entry: Mapping[str, Any]) -> list[str]:
    return [condition["name"] for condition in entry["matchConditions"]]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["name"]))
def test_conditions_of_an_entry(entry: dict[str, Any]) -> None:
    """What a namespace's rule cannot concern is not sent at all."""
    by_source = {
        "annotated": ["not-a-mirror-pod", "asks-for-itself"],
        "inject": ["not-a-mirror-pod", "not-of-a-daemonset-by-default"],
        "migrate": [
            "not-a-mirror-pod",
            "not-of-a-daemonset-by-default",
            "may-mount-the-socket-or-asks-for-itself",
        ],
    }
    source = entry["clientConfig"]["service"]["path"].split("/")[2]
    assert by_source[source] == conditions(entry)


def test_entries_dial_the_service() -> None:
    """Service, namespace and port are those of the manifests beside it."""
    (service,) = documents("service.yaml")
    (namespace,) = documents("namespace.yaml")
    (port,) = service["spec"]["ports"]
    expected = {
        "name": service["metadata"]["name"],
        "namespace": namespace["metadata"]["name"],
        "port": port["port"],
    }
    for entry in ENTRIES:
        dialled = dict(entry["clientConfig"]["service"])
        del dialled["path"]
        assert expected == dialled
    assert service["metadata"]["namespace"] == namespace["metadata"]["name"]
    assert namespace["metadata"]["name"] in rules.EXCLUDED_NAMESPACES


def test_the_namespace_is_restricted() -> None:
    """Nothing of dinp's own needs a privilege."""
    (namespace,) = documents("namespace.yaml")
    labels = namespace["metadata"]["labels"]
    for level in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{level}"] == "restricted"


@pytest.mark.parametrize("name", ["namespace-labels.yaml", "shared-daemon-grants.yaml"])
def test_policies_see_every_way_to_label_a_namespace(name: str) -> None:
    """Labels change by the subresources, too; a policy without a binding would do nothing."""
    policy, binding, *_ = documents(name)
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert ["namespaces", "namespaces/status", "namespaces/finalize"] == rule["resources"]
    assert ["CREATE", "UPDATE"] == rule["operations"]
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"] == {
        "policyName": policy["metadata"]["name"],
        "validationActions": ["Deny"],
    }


def test_the_policy_knows_the_modes() -> None:
    """The values that a namespace's label may have are those of the code."""
    policy, *_ = documents("namespace-labels.yaml")
    modes = ", ".join(f"'{mode}'" for mode in rules.MODES)
    inject, migrate, shared = (item["expression"] for item in policy["spec"]["validations"])
    assert f"in [{modes}]" in inject
    assert f"in [{modes}]" in migrate
    assert "== 'allowed'" in shared


@pytest.mark.parametrize("folder", [".", SHARED, f"{SHARED}/namespace"])
def test_every_file_is_applied(folder: str) -> None:
    """A manifest that the kustomization does not name would never reach a cluster."""
    (kustomization,) = documents(f"{folder}/kustomization.yaml")
    files = {file.name for file in (BASE / folder).iterdir()} - {"kustomization.yaml"}
    generated = {name for it in kustomization.get("configMapGenerator", ()) for name in it["files"]}
    assert files == {*kustomization["resources"], *generated}


def test_config_file_is_one() -> None:
    """The config file that the ConfigMap is made of is read by the server without an error."""
    text = (BASE / "config.yaml").read_bytes()
    assert config.parse(text) == config.Config()


DEPLOYMENTS = {
    deployment["metadata"]["name"]: deployment
    for file in ("deployment.yaml", "certs-deployment.yaml", f"{SHARED}/certs-deployment.yaml")
    for deployment in documents(file)
}


CERTS = DEPLOYMENTS.keys() - {"dinp"}


def accounts() -> dict[str, dict[str, Any]]:
    """The ServiceAccounts of their Pods."""
    files = ("service-accounts.yaml", f"{SHARED}/service-account.yaml")
    return {it["metadata"]["name"]: it for file in files for it in documents(file)}


def spec_of(name: str) -> dict[str, Any]:
    """The spec of a Deployment's Pods."""
    found: dict[str, Any] = DEPLOYMENTS[name]["spec"]["template"]["spec"]
    return found


def container_of(name: str) -> dict[str, Any]:
    (container,) = spec_of(name)["containers"]
    found: dict[str, Any] = container
    return found


def command_of(name: str) -> click.Context:
    """The command of its container, with its arguments as click understands them."""
    arguments = list(container_of(name)["args"])
    command: click.Command = cli.main
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), arguments.pop(0))
        assert found is not None
        command = found
    return command.make_context(command.name, arguments)


def network_policies() -> list[dict[str, Any]]:
    """Those of the Deployments' Pods."""
    files = ("network-policies.yaml", f"{SHARED}/certs-network-policy.yaml")
    return [policy for file in files for policy in documents(file)]


def selectors() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Each that is meant for Pods of dinp's: what has it, whose Pods it is for, its labels."""
    for name, deployment in DEPLOYMENTS.items():
        yield f"Deployment {name}", name, deployment["spec"]["selector"]["matchLabels"]
        for it in spec_of(name).get("topologySpreadConstraints", []):
            yield f"{it['topologyKey']} of {name}", name, it["labelSelector"]["matchLabels"]
    (service,) = documents("service.yaml")
    yield "Service", "dinp", service["spec"]["selector"]
    (budget,) = documents("disruption-budget.yaml")
    yield "PodDisruptionBudget", "dinp", budget["spec"]["selector"]["matchLabels"]
    for policy in network_policies():
        name = policy["metadata"]["name"]
        yield f"NetworkPolicy {name}", name, policy["spec"]["podSelector"]["matchLabels"]


@pytest.mark.parametrize(
    ("name", "labels"),
    [pytest.param(name, labels, id=what) for what, name, labels in selectors()],
)
def test_selectors_pick_the_pods_they_are_for(name: str, labels: dict[str, str]) -> None:
    """Those of one Deployment, and of no other."""
    picked = [
        other
        for other, deployment in DEPLOYMENTS.items()
        if labels.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert [name] == picked


def test_every_deployment_is_shut_in() -> None:
    """Each has its NetworkPolicy; of certs the health port alone is called, and the webhook calls nobody."""
    policies = {it["metadata"]["name"]: it["spec"] for it in network_policies()}
    assert DEPLOYMENTS.keys() == policies.keys()
    assert policies["dinp"]["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policies["dinp"]
    for name in CERTS:
        assert policies[name]["policyTypes"] == ["Ingress"]
        (ingress,) = policies[name]["ingress"]
        assert [{"port": "health", "protocol": "TCP"}] == ingress["ports"]
        assert {"ports"} == ingress.keys()


def test_ports_are_those_of_the_server() -> None:
    """Names and numbers: of the container, its probes, the Service and the NetworkPolicy."""
    container, options = container_of("dinp"), command_of("dinp").params
    ports = {it["name"]: it["containerPort"] for it in container["ports"]}
    assert ports == {"https": options["secure_port"], "health": options["health_port"]}
    (service,) = documents("service.yaml")
    assert [it["targetPort"] for it in service["spec"]["ports"]] == ["https"]
    policy, *_ = documents("network-policies.yaml")
    (ingress,) = policy["spec"]["ingress"]
    assert ingress.keys() == {"ports"}
    assert [it["port"] for it in ingress["ports"]] == list(ports)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_probes(name: str) -> None:
    """The kubelet asks the health port, which the command opens where the manifest says."""
    container = container_of(name)
    ports = {it["name"]: it["containerPort"] for it in container["ports"]}
    assert ports["health"] == command_of(name).params["health_port"]
    paths = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for probe, path in paths.items():
        assert container[probe]["httpGet"] == {"path": path, "port": "health"}


def test_files_are_those_of_the_server() -> None:
    """What its flags name is mounted: the Secret that certs writes, and the config file."""
    container, options = container_of("dinp"), command_of("dinp").params
    mounts = {it["mountPath"]: it["name"] for it in container["volumeMounts"]}
    assert all(it["readOnly"] for it in container["volumeMounts"])
    volumes = {it["name"]: it for it in spec_of("dinp")["volumes"]}
    for file in ("tls_cert_file", "tls_private_key_file"):
        assert volumes[mounts[str(options[file].parent)]]["secret"] == {"secretName": Names().leaf}
    (kustomization,) = documents("kustomization.yaml")
    (generator,) = kustomization["configMapGenerator"]
    volume = volumes[mounts[str(options["config"].parent)]]
    assert volume["configMap"] == {"name": generator["name"]}
    assert [options["config"].name] == generator["files"]
    assert volumes.keys() == set(mounts.values())


def test_the_end_has_its_time() -> None:
    """The kubelet kills no server that still serves while others learn that it ends."""
    options = command_of("dinp").params
    needed = options["shutdown_delay"] + options["shutdown_timeout"]
    assert spec_of("dinp")["terminationGracePeriodSeconds"] > needed
    strategy = DEPLOYMENTS["dinp"]["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxUnavailable": 0, "maxSurge": 1}


def test_certs_runs_with_its_defaults() -> None:
    """Namespace, Secrets and registration are those of the manifests, and what it may write."""
    context = command_of("dinp-certs")
    assert context.command is certs.commands["run"]
    options = context.params
    (namespace,), (registration,) = documents("namespace.yaml"), documents("webhook.yaml")
    (service,) = documents("service.yaml")
    assert options["namespace"] == namespace["metadata"]["name"]
    assert options["service"] == service["metadata"]["name"]
    assert options["configuration"] == registration["metadata"]["name"]
    role, _, cluster_role, _ = documents("certs-permissions.yaml")
    assert [options["ca_secret"], options["tls_secret"]] == role["rules"][0]["resourceNames"]
    assert [options["configuration"]] == cluster_role["rules"][0]["resourceNames"]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_are_modest(name: str) -> None:
    """Memory is limited, the processor is not; no token that is not used; ours in priority."""
    spec, resources = spec_of(name), container_of(name)["resources"]
    assert {"cpu", "memory"} == resources["requests"].keys()
    assert {"memory"} == resources["limits"].keys()
    assert spec["automountServiceAccountToken"] is (name in CERTS)
    assert accounts()[spec["serviceAccountName"]]["automountServiceAccountToken"] is False
    (priority,) = documents("priority-class.yaml")
    assert spec["priorityClassName"] == priority["metadata"]["name"]
    assert "globalDefault" not in priority
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()


def test_the_image_has_a_version() -> None:
    """One name for both, which the kustomization replaces; a moving tag would be no version."""
    (kustomization,) = documents("kustomization.yaml")
    (image,) = kustomization["images"]
    (shared,) = documents(f"{SHARED}/kustomization.yaml")
    assert shared["images"] == kustomization["images"]
    assert {image["name"]} == {container_of(name)["image"] for name in DEPLOYMENTS}
    assert image["newTag"] not in ("", "latest")


@pytest.mark.parametrize(
    ("deployment", "name"),
    [
        ("dinp-certs", "certs-secrets.yaml"),
        ("dinp-certs", "certs-registration.yaml"),
        ("dinp-certs-docker", f"{SHARED}/certs-secrets.yaml"),
        ("dinp-certs-docker", f"{SHARED}/certs-policy.yaml"),
    ],
)
def test_policies_hold_certs_and_nobody_else(deployment: str, name: str) -> None:
    """They are for its ServiceAccount alone, and refuse where they cannot judge."""
    policy, binding = documents(name)
    account = accounts()[spec_of(deployment)["serviceAccountName"]]["metadata"]
    username = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    (condition,) = policy["spec"]["matchConditions"]
    assert condition["expression"] == f"request.userInfo.username == '{username}'"
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"] == {
        "policyName": policy["metadata"]["name"],
        "validationActions": ["Deny"],
    }
