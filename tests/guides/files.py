"""What a block of a guide is, by its first words, and the Pods that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.guides.agents import (
    gitlab_job,
    gitlab_runner,
    hook_job,
    jenkins_casc,
    jenkins_values,
    jenkins_yaml,
    runner_deployment,
    scale_set,
)
from tests.guides.pod import NAMESPACE, Pod
from tests.guides.steps import buildkite, drone, pipeline_run, prow, task_run, woodpecker, workflow
from webhook.offline import pod_templates


def manifest(block: Any) -> list[Pod]:
    """Of whole Kubernetes objects: Pods, and what has Pod templates."""
    pods = [
        pod_templates.pod_of(template, NAMESPACE)
        for found in pod_templates.objects(block)
        for template in pod_templates.templates(found)
    ]
    for pod in pods:
        pod |= {"apiVersion": "v1", "kind": "Pod"}
        for owner in pod["metadata"].get("ownerReferences", ()):
            owner["uid"] = "made-up"
    return pods


# What a block begins with, and who makes Pods of it. `None`: no Pod comes of it, only its keys
# are compared.
FILES: Mapping[str, Callable[[Any], list[Pod]] | None] = {
    "A Job": manifest,
    "A CronJob": manifest,
    "A Pod template": manifest,
    "A Deployment": manifest,
    "A ScaledJob": manifest,
    "yaml of a podTemplate": jenkins_yaml,
    "values.yaml of the chart jenkins": jenkins_values,
    "Configuration as code": jenkins_casc,
    "config.toml": gitlab_runner,
    ".gitlab-ci.yml": gitlab_job,
    "values.yaml of the chart gha-runner-scale-set": scale_set,
    "A RunnerDeployment": runner_deployment,
    "The hook's template": hook_job,
    "A TaskRun": task_run,
    "A PipelineRun": pipeline_run,
    "A Workflow": workflow,
    "Part of the Deployment workflow-controller": None,
    "pipeline.yml": buildkite,
    ".woodpecker.yaml": woodpecker,
    ".drone.yml": drone,
    "A presubmit": prow,
}
