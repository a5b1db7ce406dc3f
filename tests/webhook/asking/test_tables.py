"""controllers and watchers: the built-in rows, each with a name and a reason."""

from __future__ import annotations

import pytest

from tests.webhook import small_pods as build
from webhook.asking.controllers import CONTROLLERS
from webhook.asking.watchers import WATCHERS
from webhook.pods import selectors
from webhook.pods.selectors import PodSelector

ROWS = [*CONTROLLERS, *WATCHERS]


@pytest.mark.parametrize("table", [CONTROLLERS, WATCHERS], ids=["controllers", "watchers"])
def test_each_row_has_a_name(table: tuple[PodSelector, ...]) -> None:
    """A name of its own, by which the config file switches the row off."""
    assert len(table) == len({row.name for row in table})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row(row: PodSelector) -> None:
    """It says why, and whom it is about: never every Pod."""
    assert row.because
    assert row.images or row.match_expressions
    plain = build.pod(labels={"app": "shop", "component": "web"})
    assert selectors.row_of([row], plain, plain["spec"]["containers"]) is None
    for name in row.images:
        pod = build.pod(build.container(image=f"r.example.com:5000/hub/{name.replace('*', 'x')}:1"))
        assert row == selectors.row_of([row], pod, pod["spec"]["containers"])


@pytest.mark.parametrize(
    ("expected", "image", "labels"),
    [
        ("gitlab-runner", "registry.example.com/gitlab-runner:alpine", {}),
        ("gitlab-runner", "own/runner", {"app": "gitlab-runner"}),
        ("argo-workflows", "quay.io/argoproj/workflow-controller:v3", {}),
        ("drone-runner-kube", "drone/drone-runner-kube", {}),
        ("woodpecker-agent", "woodpeckerci/woodpecker-agent:v3", {}),
        ("agent-stack-k8s", "ghcr.io/buildkite/agent-stack-k8s/controller:0.20", {}),
        ("jupyterhub", "own/hub", {"app": "jupyterhub", "component": "hub"}),
        ("airflow", "own/airflow", {"tier": "airflow", "component": "scheduler"}),
        ("tekton-event-listener", "own/l", {"app.kubernetes.io/managed-by": "EventListener"}),
        ("affinity-assistant", "own/n", {"app.kubernetes.io/component": "affinity-assistant"}),
        ("gitea", "gitea/gitea:1.22-rootless", {}),
        ("prow", "us-docker.pkg.dev/k8s-infra-prow/images/deck:v1", {}),
        ("concourse", "concourse/concourse:7.12", {}),
        ("coder", "ghcr.io/coder/coder:v2.17", {}),
        ("argocd", "quay.io/argoproj/argocd:v2.13", {}),
        ("gitlab-runner-operator", "registry.gitlab.com/g/gitlab-runner-operator:1", {}),
        ("dagster", "own/dagster", {"component": "dagster-daemon"}),
        ("bamboo-server", "atlassian/bamboo:10", {}),
        (None, "atlassian/bamboo-agent-base:10", {}),
        (None, "codercom/enterprise-base:ubuntu", {}),
        (None, "gitlab/gitlab-runner-helper:x86_64-v17", {}),
        (None, "apache/airflow:2", {"tier": "airflow", "component": "worker"}),
        (None, "own/notebook", {"app": "jupyterhub", "component": "singleuser-server"}),
        (None, "gitea/act_runner:0.2", {}),
        (None, "jenkins/inbound-agent:1", {}),
    ],
)
def test_controllers(expected: str | None, image: str, labels: dict[str, str]) -> None:
    """What only creates Pods is known by its image or its chart's labels; what works is not."""
    pod = build.pod(build.container(image=image), labels=labels)
    row = selectors.row_of(CONTROLLERS, pod, pod["spec"]["containers"])
    assert expected == (row and row.name)
