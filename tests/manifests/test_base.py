"""manifests/base: the entries that namespaces' labels pick, and how they are registered."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from webhook import config, rules

BASE = Path(__file__).parents[2] / "manifests" / "base"
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


def test_every_file_is_applied() -> None:
    """A manifest that the kustomization does not name would never reach a cluster."""
    (kustomization,) = documents("kustomization.yaml")
    files = {file.name for file in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    generated = {name for it in kustomization["configMapGenerator"] for name in it["files"]}
    assert files == {*kustomization["resources"], *generated}


def test_config_file_is_one() -> None:
    """The config file that the ConfigMap is made of is read by the server without an error."""
    text = (BASE / "config.yaml").read_bytes()
    assert config.parse(text) == config.Config()
