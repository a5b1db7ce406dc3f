"""Controllers that live beside their jobs: no default of a namespace gives them a daemon.

They create Pods, and a privileged daemon beside them is one more way into the cluster. Rows of
`neverInject` in the config file come on top; a row with the name of one here takes its place.
Where one of them mounts the node's socket it does use Docker (GitLab's Docker executor, Airflow's
LocalExecutor): so under `migrate` only rows with `migrate` hold.
"""

from __future__ import annotations

from typing import Final

from webhook.pods.selectors import LabelSelectorRequirement, PodSelector

_COMPONENT: Final = "app.kubernetes.io/component"
_CREATES: Final = "creates Pods for jobs and uses no Docker itself"
_SERVES: Final = "serves a CI system, and its jobs run in other Pods"


def _row(
    name: str, because: str, *images: str, labels: dict[str, str | tuple[str, ...]] | None = None
) -> PodSelector:
    """`labels` have to be there all, with one of the values."""
    expressions = tuple(
        LabelSelectorRequirement(
            key=key, operator="In", values=(values,) if isinstance(values, str) else values
        )
        for key, values in (labels or {}).items()
    )
    return PodSelector(
        name=name, because=because, images=images, match_expressions=expressions, migrate=False
    )


def _always(row: PodSelector) -> PodSelector:
    """Also where the Pod mounts the node's socket."""
    return PodSelector(name=row.name, because=row.because, match_expressions=row.match_expressions)


_AIRFLOW: Final = (
    *("scheduler", "webserver", "web", "api-server", "triggerer", "dag-processor"),
    *("flower", "statsd", "redis", "pgbouncer"),
)

CONTROLLERS: Final = (
    _always(
        _row(
            "jenkins-controller",
            _SERVES,
            labels={_COMPONENT: ("jenkins-controller", "jenkins-master")},
        )
    ),
    _row("jenkins", _SERVES, "jenkins/jenkins", "bitnami/jenkins", "bitnamilegacy/jenkins"),
    _always(
        _row(
            "runner-scale-set-listener",
            "waits for jobs of GitHub and runs none",
            labels={_COMPONENT: "runner-scale-set-listener"},
        )
    ),
    _row(
        "actions-runner-controller",
        _CREATES,
        *("gha-runner-scale-set-controller", "summerwind/actions-runner-controller"),
        labels={
            "app.kubernetes.io/name": (
                "gha-runner-scale-set-controller",
                "gha-rs-controller",
                "actions-runner-controller",
            )
        },
    ),
    _always(
        _row(
            "affinity-assistant",
            "holds a place on a node for Tekton's task runs and runs nothing",
            labels={_COMPONENT: "affinity-assistant"},
        )
    ),
    _row(
        "tekton-event-listener",
        "waits for events, for which Tekton creates Pods",
        *("eventlistenersink", "eventlistenersink-*"),
        labels={"app.kubernetes.io/managed-by": "EventListener"},
    ),
    _row(
        "tekton",
        _CREATES,
        labels={
            "app.kubernetes.io/part-of": (
                *("tekton-pipelines", "tekton-triggers", "tekton-chains"),
                *("tekton-dashboard", "tekton-results"),
            )
        },
    ),
    _row(
        "gitlab-runner",
        _CREATES,
        *("gitlab-runner", "gitlab-runner-ocp"),
        labels={"app": "gitlab-runner"},
    ),
    _row(
        "argo-workflows",
        _CREATES,
        *("argoproj/workflow-controller", "workflow-controller", "argoproj/argocli"),
        labels={"app.kubernetes.io/part-of": "argo-workflows"},
    ),
    _row(
        "argo-workflow-controller", _CREATES, labels={"app": ("workflow-controller", "argo-server")}
    ),
    _row(
        "argo-events",
        "waits for events, for which Argo creates Pods",
        "argoproj/argo-events",
        labels={
            "controller": ("sensor-controller", "eventsource-controller", "eventbus-controller")
        },
    ),
    _row(
        "drone-runner-kube",
        _CREATES,
        "drone-runner-kube",
        labels={"app.kubernetes.io/name": "drone-runner-kube"},
    ),
    _row("drone", _SERVES, "drone/drone", labels={"app.kubernetes.io/name": "drone"}),
    _row(
        "woodpecker-agent",
        _CREATES,
        "woodpecker-agent",
        labels={"app.kubernetes.io/name": "woodpecker-agent"},
    ),
    _row("woodpecker-server", _SERVES, "woodpecker-server"),
    _row(
        "agent-stack-k8s",
        _CREATES,
        *("agent-stack-k8s/controller", "agent-stack-k8s"),
        labels={"app": "agent-stack-k8s"},
    ),
    _row(
        "jupyterhub",
        "starts Pods of its users and uses no Docker itself",
        *("k8s-hub", "jupyterhub/jupyterhub", "configurable-http-proxy", "k8s-binderhub"),
        labels={
            "app": ("jupyterhub", "binderhub", "binder"),
            "component": ("hub", "proxy", "user-scheduler", "binder", "image-puller", "autohttps"),
        },
    ),
    PodSelector(
        name="airflow",
        because="starts Airflow's tasks, which run in other Pods",
        match_expressions=(
            LabelSelectorRequirement(key="component", operator="In", values=_AIRFLOW),
            LabelSelectorRequirement(key="tier", operator="In", values=("airflow",)),
            # The scheduler runs the tasks itself.
            LabelSelectorRequirement(
                key="executor", operator="NotIn", values=("LocalExecutor", "SequentialExecutor")
            ),
        ),
        migrate=False,
    ),
    _row(
        "airflow-of-other-charts",
        "starts Airflow's tasks, which run in other Pods",
        labels={"app.kubernetes.io/name": "airflow", _COMPONENT: _AIRFLOW},
    ),
    _row(
        "airflow-of-the-community-chart",
        "starts Airflow's tasks, which run in other Pods",
        labels={"app": "airflow", "component": _AIRFLOW},
    ),
    # Its registry before 2024, mirrors, and the one of today. What it puts into Pods of jobs is of the
    # same registry: those have a job's label.
    _row("prow", _CREATES, "k8s-prow/*", "prow/*", "k8s-infra-prow/images/*"),
    _row("gitea", _SERVES, "gitea/gitea", "gitea", "forgejo/forgejo", "forgejo"),
    _row("gocd-server", _SERVES, "gocd-server"),
    _row("teamcity-server", _SERVES, "teamcity-server"),
    _row("bamboo-server", _SERVES, "bamboo-server", "atlassian/bamboo"),
    _row("gitlab-runner-operator", "starts GitLab's runners", "gitlab-runner-operator"),
    _row("argocd", "deploys what is in Git and uses no Docker itself", "argoproj/argocd"),
    _row("concourse", "has no use for Docker: its workers bring containers", "concourse/concourse"),
    _row("coder", "starts Pods of its users and uses no Docker itself", "coder/coder"),
    _row(
        "dagster",
        "starts Dagster's runs, which are in other Pods",
        labels={"component": ("dagster-daemon", "dagster-webserver", "dagit", "dagster-dagit")},
    ),
)
