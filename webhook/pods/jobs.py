"""Labels by which CI systems mark the Pods of their jobs: what builds, and is no node agent.

Only labels that the Pod of a job has, and what lives beside it has not: Tekton's affinity assistant
has the PipelineRun's labels, and the listener of a runner scale set has the runners'.
"""

from __future__ import annotations

from typing import Final

from webhook.pods import pod as pods
from webhook.pods.pod import Pod

# GitLab's runner; finding/gitlab.py has what it does in such a Pod.
GITLAB: Final = (
    *("job.runner.gitlab.com/", "project.runner.gitlab.com/"),
    *("manager.runner.gitlab.com/", "root.runner.gitlab.com/"),
)
_ARGO: Final = "workflows.argoproj.io/"
# A label whose name begins so.
_PREFIXES: Final = (
    "jenkins/",  # Jenkins' Kubernetes plugin: jenkins/label
    *GITLAB,
    "io.drone.",  # drone-runner-kube
    "woodpecker-ci.org/",
    _ARGO,
    "buildkite.com/",  # agent-stack-k8s
    "prow.k8s.io/",
    "actions-runner-controller/",  # summerwind's controller
    "openshift.io/build.",
    "teamcity-",  # its cloud plugin: teamcity-cloud-image
)
# Runners have these, and so has what listens for their jobs.
_OF_SCALE_SETS: Final = "actions.github.com/"
_NAMES: Final = frozenset(
    {
        "io.drone",
        *("tekton.dev/taskRun", "tekton.dev/taskRunUID", "tekton.dev/task"),
        *("tekton.dev/pipelineTask", "tekton.dev/clusterTask", "tekton.dev/memberOf"),
        *("actions-ephemeral-runner", "actions-runner", "created-by-prow"),
        *("kubernetes_pod_operator", "kubernetes_executor", "airflow-worker"),
        *("Elastic-Agent-Created-By", "dagster/run-id", "prefect.io/flow-run-id"),
    }
)
_VALUES: Final = frozenset(
    {
        *(("jenkins", "agent"), ("jenkins", "slave")),
        ("component", "binderhub-build"),
    }
)


def is_job(pod: Pod) -> bool:
    """Whether a label says that a CI system runs a job in this Pod."""
    return job_label(pod) is not None


def job_label(pod: Pod) -> str | None:
    """The first label that says so, or None."""
    labels = pods.labels_of(pod)
    is_runner = labels.get("app.kubernetes.io/component") == "runner"
    return next(
        (
            name
            for name, value in labels.items()
            if name.startswith(_PREFIXES)
            or (is_runner and name.startswith(_OF_SCALE_SETS))
            or name in _NAMES
            or (name, value) in _VALUES
        ),
        None,
    )


def is_drones(pod: Pod) -> bool:
    """Whether Drone's Kubernetes runner made the Pod, for a pipeline."""
    return any(name == "io.drone" or name.startswith("io.drone.") for name in pods.labels_of(pod))


def is_argos(pod: Pod) -> bool:
    """Whether Argo's workflow-controller made the Pod, for a step."""
    return any(name.startswith(_ARGO) for name in pods.labels_of(pod))


def is_jenkins(pod: Pod) -> bool:
    """Whether Jenkins' Kubernetes plugin made the Pod."""
    labels = pods.labels_of(pod)
    return labels.get("jenkins") in {"agent", "slave"} or any(
        name.startswith("jenkins/") for name in labels
    )


def inherits_annotations(pod: Pod) -> bool:
    """Whether annotations come from a parent: a name in them may be of another Pod's container.

    Tekton copies those of a run to each Pod of its pipeline; Jenkins merges those of podTemplates.
    """
    return is_jenkins(pod) or any(name.startswith("tekton.dev/") for name in pods.labels_of(pod))
