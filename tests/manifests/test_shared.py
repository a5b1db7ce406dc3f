"""manifests/shared: what shared daemons need beside either mode, and what of it only those with TLS."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from certs.cli import certs
from certs.shared.names import Names
from certs.shared.requests import SIGNER
from tests.manifests.test_base import SHARED_VALUES, VALUES, command_of, matches
from webhook.asking import config, rules

SHARED: Final = Path(__file__).parents[2] / "manifests" / "shared"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((SHARED / name).read_text(encoding="utf-8")))


def test_the_daemons_namespace_is_privileged() -> None:
    """Theirs admits what they need, and the webhook leaves it alone; with TLS their CAs are in it."""
    (namespace,), (config_map,) = (
        documents("namespace/namespace.yaml"),
        documents("authorities.yaml"),
    )
    labels = namespace["metadata"]["labels"]
    for level in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{level}"] == "privileged"
    name = namespace["metadata"]["name"]
    assert name == config.Config().service.namespace
    assert name in rules.EXCLUDED_NAMESPACES
    assert config_map == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "dinp-docker-ca", "namespace": name},
    }


def test_who_may_call_a_shared_daemon() -> None:
    """Whatever the labels: Pods of a namespace whose rule admits shared daemons, and no others."""
    (policy,) = documents("namespace/network-policy.yaml")
    (ingress,) = policy["spec"]["ingress"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert [port["port"] for port in ingress["ports"]] == ["docker"]
    selectors = [peer.pop("namespaceSelector") for peer in ingress["from"]]
    assert [{}] * 3 == ingress["from"]
    for inject, migrate, shared in itertools.product(VALUES, VALUES, SHARED_VALUES):
        keys = (rules.INJECT, rules.MIGRATE, rules.SHARED_DAEMON)
        given = zip(keys, (inject, migrate, shared), strict=True)
        labels = {key: value for key, value in given if value is not None}
        rule = rules.for_namespace("ci", labels)
        assert rule is not None
        picked = [matches(expressions(selector), labels) for selector in selectors]
        assert rule.allows_shared is any(picked), labels


def expressions(selector: Mapping[str, Any]) -> dict[str, Any]:
    """The same without matchLabels."""
    labels = [
        {"key": key, "operator": "In", "values": [value]}
        for key, value in selector.get("matchLabels", {}).items()
    ]
    return {"matchExpressions": [*labels, *selector.get("matchExpressions", [])]}


def test_a_shared_daemon_may_ask_for_its_certificate_alone() -> None:
    """By RBAC a request and its answer, by policy one signer: for all of its namespace, and nobody else."""
    (role,) = documents("daemons-permissions.yaml")
    (rule,) = role["rules"]
    assert ["create", "get"] == rule["verbs"]
    assert ["certificatesigningrequests"] == rule["resources"]
    policy, binding = documents("daemons-requests.yaml")
    (condition,) = policy["spec"]["matchConditions"]
    prefix = f"system:serviceaccount:{config.Config().service.namespace}:"
    assert condition["expression"] == f"request.userInfo.username.startsWith('{prefix}')"
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"]["validationActions"] == ["Deny"]


def test_certs_runs_with_its_defaults() -> None:
    """Namespaces, Secrets and policies are those of the manifests, and what it may write by RBAC."""
    context = command_of("dinp-certs-docker")
    assert context.command is certs.commands["run-shared"]
    options, names = context.params, Names()
    assert options["namespace"] == names.system
    assert options["docker_namespace"] == names.daemons == config.Config().service.namespace
    assert options["docker_service"] == config.Config().service.name
    assert options["client_secret"] == names.client_secret == config.Config().client_tls_secret
    here, _, there, _, everywhere, _ = documents("certs-permissions.yaml")
    assert [names.server_ca, names.client_ca] == here["rules"][0]["resourceNames"]
    assert [names.published] == there["rules"][1]["resourceNames"]
    named = [rule["resourceNames"] for rule in everywhere["rules"] if "resourceNames" in rule]
    assert [[names.client_secret], [SIGNER]] == named
    for name, file in (
        (names.secrets_policy, "certs-secrets.yaml"),
        (names.requests_policy, "certs-policy.yaml"),
    ):
        policy, _ = documents(file)
        assert name == policy["metadata"]["name"]


def test_the_base_has_none_of_it() -> None:
    """Where there are no shared daemons there is neither their namespace nor what it takes to serve them."""
    base = (file.read_text(encoding="utf-8") for file in (SHARED.parent / "base").glob("*.yaml"))
    metadata = [
        it["metadata"] for text in base for it in yaml.safe_load_all(text) if "metadata" in it
    ]
    assert metadata
    assert not [
        it for it in metadata if "docker" in it["name"] or "daemons" in it.get("namespace", "")
    ]
