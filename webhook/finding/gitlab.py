"""Jobs of GitLab's runner, and what it does in their Pods (gitlab-runner 19, executors/kubernetes)."""

from __future__ import annotations

from typing import Final

from webhook.pods import jobs
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, VolumeMount

# In every job, also of a runner that is too old for its labels.
_CONTAINERS: Final = frozenset({"build", "helper"})
# They get each volume of the job, and write the log and the runner's own scripts.
_INIT_CONTAINERS: Final = frozenset({"init-permissions", "init-build-uid-gid-collector"})
_WRITTEN: Final = ("/logs-", "/scripts-")


def is_job(pod: Pod) -> bool:
    """Whether the runner has made the Pod, by its labels or its containers."""
    if any(name.startswith(jobs.GITLAB) for name in pods.labels_of(pod)):
        return True
    return {container["name"] for container in pod["spec"]["containers"]} >= _CONTAINERS


def leaves_alone(container: Container, mount: VolumeMount) -> bool:
    """Whether a job's container is known to write nothing in this mount."""
    return container["name"] in _INIT_CONTAINERS and not mount["mountPath"].startswith(_WRITTEN)


def is_runners(name: str) -> bool:
    """Whether a job's container of this name is the runner's own, which has no use for Docker."""
    return name == "helper" or name in _INIT_CONTAINERS


def exports(container: Container) -> bool:
    """Whether the runner exports the job's variables again in each script of this container.

    They are written into the scripts of both; a service has its image's own command.
    """
    return container["name"] in _CONTAINERS
