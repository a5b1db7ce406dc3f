"""jobs: which Pods CI systems mark as their jobs'."""

from __future__ import annotations

import pytest

from tests.webhook import small_pods as build
from webhook.pods import jobs


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jenkins/label", "a"),
        ("jenkins", "slave"),
        ("jenkins", "agent"),
        ("job.runner.gitlab.com/pod", "p"),
        ("project.runner.gitlab.com/id", "7"),
        ("tekton.dev/taskRun", "r"),
        ("io.drone", "true"),
        ("io.drone.build.number", "3"),
        ("woodpecker-ci.org/step", "s"),
        ("workflows.argoproj.io/workflow", "w"),
        ("kubernetes_pod_operator", "True"),
        ("component", "binderhub-build"),
        ("prow.k8s.io/id", "1"),
        ("buildkite.com/job-uuid", "u"),
        ("actions-ephemeral-runner", "True"),
    ],
)
def test_a_job(name: str, value: str) -> None:
    """A label of a CI system's makes a Pod a job, whatever else it has."""
    assert jobs.is_job(build.pod(labels={"app": "x", name: value}))


def test_a_runner_of_a_scale_set() -> None:
    """Runners and their listener have the labels of one controller; the component tells them apart."""
    labels = {"actions.github.com/scale-set-name": "s"}
    component = "app.kubernetes.io/component"
    assert jobs.is_job(build.pod(labels={**labels, component: "runner"}))
    assert not jobs.is_job(build.pod(labels={**labels, component: "runner-scale-set-listener"}))
    assert not jobs.is_job(build.pod(labels={component: "runner"}))


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"app": "jenkins"},
        {"jenkins": "master"},
        {"app.kubernetes.io/component": "jenkins-controller"},
        {"tekton.dev/pipelineRun": "r", "app.kubernetes.io/component": "affinity-assistant"},
        {"actions.github.com/scale-set-name": "s"},
        {"tier": "airflow", "component": "scheduler"},
        {"io.dronex": "true"},
    ],
)
def test_no_job(labels: dict[str, str]) -> None:
    """What lives beside jobs has labels of the same systems, and is none."""
    pod = build.pod(labels=labels)
    assert not jobs.is_job(pod)
    assert not jobs.is_drones(pod)


@pytest.mark.parametrize(
    ("expected", "labels"),
    [
        (True, {"jenkins": "slave"}),
        (True, {"jenkins/label": "a"}),
        (True, {"tekton.dev/pipelineRun": "r"}),
        (False, {"workflows.argoproj.io/workflow": "w"}),
        (False, {"jenkins": "master"}),
    ],
)
def test_inherited_annotations(expected: bool, labels: dict[str, str]) -> None:
    """On Jenkins and Tekton annotations come from a parent."""
    assert expected == jobs.inherits_annotations(build.pod(labels=labels))
