"""Every golden case once more, in a Deployment and in a CronJob, through `dinp inject`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from yaml import CSafeDumper, CSafeLoader

from tests import golden_cases
from tests.differences import assert_same
from tests.golden_cases import Case
from webhook import admission
from webhook.asking.rules import INJECT, MIGRATE, SHARED_DAEMON, Rule, Source
from webhook.offline.command import inject

# A Pod that says who owns it, or is no Pod, is not what a template makes.
CASES = [
    case
    for case in golden_cases.all_cases()
    if "ownerReferences" not in case.pod["metadata"] and not case.folder.name.startswith("invalid-")
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.folder.name)
def test_in_a_deployment_and_a_cron_job(case: Case, tmp_path: Path) -> None:
    """What stands in a template comes out as the Pod does at the webhook."""
    manifest, config = tmp_path / "in.yaml", tmp_path / "config.yaml"
    manifest.write_text(yaml.dump_all(wrapped(case.pod), Dumper=CSafeDumper), encoding="utf-8")
    about = yaml.load((case.folder / "case.yaml").read_text(encoding="utf-8"), CSafeLoader)
    config.write_text(yaml.safe_dump(about.get("config", {})), encoding="utf-8")
    arguments = ["-f", str(manifest), "--config", str(config), "--namespace-labels"]
    result = CliRunner().invoke(inject, [*arguments, labels(case.rule)])
    at_the_webhook = admission.inject(case.pod, case.rule, case.config)
    assert result.exit_code == (1 if at_the_webhook.outcome == "denied" else 0)
    deployment, cron_job = yaml.load_all(result.stdout, CSafeLoader)
    assert_same(made(case, "ReplicaSet"), deployment["spec"]["template"])
    assert_same(made(case, "Job"), cron_job["spec"]["jobTemplate"]["spec"]["template"])


def made(case: Case, kind: str) -> dict[str, Any]:
    """The template of what the webhook makes of the Pod, of an owner of this kind."""
    owners = [{"kind": kind, "name": "x"}]
    metadata = {**case.pod["metadata"], "ownerReferences": owners}
    return template(
        admission.inject({**case.pod, "metadata": metadata}, case.rule, case.config).pod
    )


def template(pod: Any) -> dict[str, Any]:
    """The Pod template that makes `pod`."""
    kept = {
        key: pod["metadata"][key] for key in ("labels", "annotations") if key in pod["metadata"]
    }
    return {"metadata": kept, "spec": pod["spec"]}


def wrapped(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """A Deployment and a CronJob whose Pods are `pod`."""
    metadata = {"name": "x", "namespace": "ci"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"selector": {}, "template": template(pod)},
    }
    cron_job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata,
        "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": template(pod)}}},
    }
    return [deployment, cron_job]


def labels(rule: Rule) -> str:
    """Namespace labels that make `rule`."""
    found = [f"{SHARED_DAEMON}=allowed"] if rule.allows_shared else []
    if rule.mode is not None:
        label = INJECT if rule.source is Source.INJECT else MIGRATE
        found.append(f"{label}={rule.mode.value}")
    return ",".join(found)
