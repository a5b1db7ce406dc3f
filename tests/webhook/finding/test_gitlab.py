"""gitlab: the Pods of its runner."""

from __future__ import annotations

import pytest

from tests.webhook import small_pods as build
from webhook.finding import gitlab
from webhook.pods import jobs


@pytest.mark.parametrize(
    ("expected", "labels", "containers"),
    [
        (True, {"job.runner.gitlab.com/pod": "x"}, ["a"]),
        (True, {"project.runner.gitlab.com/id": "1"}, ["a"]),
        (True, {"manager.runner.gitlab.com/id-short": "x"}, ["a"]),
        (True, {}, ["build", "helper"]),
        (True, {}, ["svc-0", "helper", "build"]),
        (False, {"runner.gitlab.com": "x"}, ["a"]),
        (False, {}, ["build"]),
        (False, {}, ["build", "svc-0"]),
    ],
)
def test_a_job(expected: bool, labels: dict[str, str], containers: list[str]) -> None:
    """By its labels, or by the two containers that every job has."""
    assert expected == gitlab.is_job(build.pod(*map(build.container, containers), labels=labels))


def test_a_service_runs_no_script() -> None:
    """So the runner exports nothing there."""
    found = [name for name in ("build", "helper", "svc-0") if gitlab.exports({"name": name})]
    assert ["build", "helper"] == found


@pytest.mark.parametrize("part", ["job", "project", "manager", "root"])
def test_a_label_of_its_jobs_is_one_in_all_rooms(part: str) -> None:
    """What counts as a CI system's job and what knows the runner's ways go by one list."""
    pod = build.pod(labels={f"{part}.runner.gitlab.com/id": "1"})
    assert gitlab.is_job(pod)
    assert jobs.is_job(pod)
