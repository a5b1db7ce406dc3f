"""manifests/components/monitoring asks for metrics that dinp has."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, get_args

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from certs.errors import Reason
from certs.metrics import Metrics as CertsMetrics
from certs.passes import Kind, Passed
from tests.webhook.serving.test_metrics import OUTCOME
from webhook.admission import OutcomeName
from webhook.serving.metrics import Metrics

_FOLDER: Final = Path(__file__).parents[2] / "manifests" / "components" / "monitoring"
_NAME: Final = re.compile(r"\b((?:dinp|process)_[a-z_]+)\b")
_LABEL: Final = re.compile(r"(\w+)!?=~?\"([^\"]*)\"")
_GROUPED: Final = re.compile(r"\bby \(([^)]*)\)")
# What Prometheus adds to each, and PromQL's own.
_TARGET_LABELS: Final = {"job", "pod", "le"}


def _expressions() -> dict[str, str]:
    rules = yaml.safe_load((_FOLDER / "rules.yaml").read_text(encoding="utf-8"))
    alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    dashboard = json.loads((_FOLDER / "dinp.json").read_text(encoding="utf-8"))
    found = {alert["alert"]: alert["expr"] for alert in alerts}
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    return found


def _samples() -> dict[str, set[str]]:
    """The names of all time series that dinp can have, each with its labels' names."""
    metrics, certs = Metrics(), CertsMetrics()
    metrics.bad_request(500)
    metrics.review(OUTCOME, rule="annotated", seconds=0.001, received=1)
    ends = {kind: [datetime(2026, 1, 1, tzinfo=UTC)] for kind in Kind}
    certs.of("webhook").passed(Passed(0, timedelta(), ends, list(Reason)))
    found: dict[str, set[str]] = {}
    text = (metrics.exposition() + certs.exposition()).decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize(("what", "expression"), _expressions().items(), ids=lambda it: it[:40])
def test_expression_asks_for_what_there_is(what: str, expression: str) -> None:
    """Names of metrics, of labels, and the outcomes that are asked for."""
    samples = _samples()
    names = set(_NAME.findall(expression)) - _TARGET_LABELS
    assert names or "up{" in expression, what
    assert names <= samples.keys()
    labels = {label for name in names for label in samples[name]} | _TARGET_LABELS
    asked = dict(_LABEL.findall(expression))
    assert asked.keys() <= labels
    assert {asked.get("outcome", "mutated")} <= {*get_args(OutcomeName), "done", "failed"}
    kinds = re.compile(asked.get("kind", "client"))
    assert any(kinds.fullmatch(kind.value) for kind in Kind)
    for group in _GROUPED.findall(expression):
        assert set(re.split(r",\s*", group)) <= labels


def test_every_alert_says_what_to_do() -> None:
    """An alert at night without a first step is noise."""
    rules: Any = yaml.safe_load((_FOLDER / "rules.yaml").read_text(encoding="utf-8"))
    for rule in (rule for group in rules["spec"]["groups"] for rule in group["rules"]):
        assert {"summary", "runbook"} == rule["annotations"].keys()
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_every_port_is_scraped_once() -> None:
    """A Service for the Pods of each Deployment by the name of its port, and a job for each Service."""
    services = list(yaml.safe_load_all((_FOLDER / "service.yaml").read_text(encoding="utf-8")))
    monitors = list(
        yaml.safe_load_all((_FOLDER / "service-monitor.yaml").read_text(encoding="utf-8"))
    )
    deployments = [
        yaml.safe_load((_FOLDER.parents[1] / name).read_text(encoding="utf-8"))
        for name in (
            "base/deployment.yaml",
            "base/certs-deployment.yaml",
            "shared/certs-deployment.yaml",
        )
    ]
    jobs = []
    for service, deployment in zip(services, deployments, strict=True):
        labels = service["metadata"]["labels"]
        (monitor,) = (
            it for it in monitors if _matches(it["spec"]["selector"], service["metadata"])
        )
        selected = deployment["spec"]["selector"]["matchLabels"]
        assert service["spec"]["selector"] == selected
        (port,) = service["spec"]["ports"]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        numbers = {it["name"]: it["containerPort"] for it in container["ports"]}
        assert (port["targetPort"], port["port"]) == ("health", numbers["health"])
        assert [port["name"]] == [it["port"] for it in monitor["spec"]["endpoints"]]
        jobs.append(labels[monitor["spec"]["jobLabel"]])
    assert ["dinp", "dinp-certs", "dinp-certs"] == jobs
    asked = set(re.findall(r'job="([^"]*)"', " ".join(_expressions().values())))
    assert asked == set(jobs)


def _matches(selector: Any, metadata: Any) -> bool:
    wanted: dict[str, str] = selector["matchLabels"]
    labels: dict[str, str] = metadata["labels"]
    return wanted.items() <= labels.items()
