"""rules: the table of namespace labels and URL paths."""

from __future__ import annotations

import pytest

from webhook.asking import rules
from webhook.asking.rules import RULES, Mode, Rule, Source

NOT_A_MODE = (None, "", "Sidecar", "false", "true", "typo")


def labels(inject: str | None, migrate: str | None, shared: str | None) -> dict[str, str]:
    given = {"dinp.io/inject": inject, "dinp.io/migrate": migrate, "dinp.io/shared-daemon": shared}
    return {name: value for name, value in given.items() if value is not None}


TABLE = [
    *(("/pods/annotated", value, value, None) for value in NOT_A_MODE),
    *(("/pods/annotated/shared", value, value, "allowed") for value in NOT_A_MODE),
    ("/pods/annotated", None, None, "yes"),
    *(("/pods/inject/sidecar", "sidecar", any_, None) for any_ in (None, "service", "typo")),
    *(("/pods/inject/sidecar/shared", "sidecar", any_, "allowed") for any_ in (None, "service")),
    *(("/pods/inject/daemonset", "daemonset", "sidecar", any_) for any_ in (None, "allowed", "x")),
    *(("/pods/inject/service", "service", None, any_) for any_ in (None, "allowed", "x")),
    *(("/pods/migrate/sidecar", value, "sidecar", None) for value in NOT_A_MODE),
    *(("/pods/migrate/sidecar/shared", value, "sidecar", "allowed") for value in NOT_A_MODE),
    *(("/pods/migrate/daemonset", "typo", "daemonset", any_) for any_ in (None, "allowed")),
    *(("/pods/migrate/service", None, "service", any_) for any_ in (None, "allowed")),
]


@pytest.mark.parametrize(("path", "inject", "migrate", "shared"), TABLE)
def test_labels_make_the_path(
    path: str, inject: str | None, migrate: str | None, shared: str | None
) -> None:
    """A namespace's labels pick exactly the entry of the table."""
    rule = rules.for_namespace("ci", labels(inject, migrate, shared))
    assert rule is not None
    assert path == rules.path(rule)
    assert RULES[path] == rule


def test_there_are_ten_rules() -> None:
    """One a webhook entry, each found under its own path."""
    assert len(RULES) == 10
    assert {path: rules.path(rule) for path, rule in RULES.items()} == {
        path: path for path in RULES
    }
    assert RULES["/pods/annotated"] == Rule(Source.ANNOTATED, None, allows_shared=False)


@pytest.mark.parametrize("path", sorted(RULES))
def test_a_shared_rule_allows_shared_daemons(path: str) -> None:
    """Shared daemons by annotation: where the namespace says so, or its own rule is shared."""
    shared = path.endswith(("/shared", "/daemonset", "/service"))
    assert shared == RULES[path].allows_shared
    assert (RULES[path].mode is None) == (RULES[path].source is Source.ANNOTATED)


@pytest.mark.parametrize("name", ["kube-system", "kube-node-lease", "dinp-system", "dinp-daemons"])
def test_excluded_namespaces_have_no_rule(name: str) -> None:
    """The cluster can start without the webhook, whatever these namespaces are labelled."""
    assert rules.for_namespace(name, labels("sidecar", "sidecar", "allowed")) is None


def test_only_sidecar_is_not_shared() -> None:
    """The other modes point at a root daemon that Pods share."""
    assert {"sidecar": False, "daemonset": True, "service": True} == {
        mode.value: mode.is_shared for mode in Mode
    }
