"""Pods of the tests: made by the API, waited for, and read."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.cluster.api import Api, Cluster
from tests.cluster.processes import PATIENCE, running, wait_until
from tests.node.contents import CLIENT

_ENDED: Final = ("Succeeded", "Failed")
_DAEMON_LINES: Final = 40


def client_pod(
    name: str, *command: str, image: str = CLIENT, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A Pod of one container, which runs `command`: of the client image a shell script."""
    return {
        "metadata": {"name": name, "annotations": dict(annotations or {})},
        "spec": client_spec(*command, image=image),
    }


def client_spec(*command: str, image: str = CLIENT) -> dict[str, Any]:
    """The `spec` of such a Pod."""
    shell = ("sh", "-euxc") if image == CLIENT else ()
    container = {"name": "client", "image": image, "command": [*shell, *command]}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 10,
        "containers": [container],
    }


def run(cluster: Cluster, api: Api, namespace: str, pod: Mapping[str, Any]) -> str:
    """Create a Pod, wait until it has ended well, and return what its client wrote."""
    start(api, namespace, pod)
    return said_at_end(cluster, namespace, pod["metadata"]["name"], api=api)


def start(api: Api, namespace: str, pod: Mapping[str, Any]) -> None:
    """Create a Pod and do not wait: several that start at once take little longer than one."""
    answer = api.create_pod(namespace, pod, dry_run=False)
    assert answer.status == 201, answer.message


def run_in_turn(
    api: Api, namespace: str, several: Iterable[Mapping[str, Any]], *, at_once: int = 6
) -> None:
    """Run Pods to their ends, however they end, and not more than `at_once` at the same time."""
    running: list[str] = []
    for pod in several:
        if len(running) == at_once:
            wait_for_end(api, namespace, running.pop(0))
        start(api, namespace, pod)
        running.append(pod["metadata"]["name"])
    for name in running:
        wait_for_end(api, namespace, name)


def said_at_end(
    cluster: Cluster, namespace: str, name: str, *, api: Api, container: str = "client"
) -> str:
    """Wait until a Pod has ended well, and return what one of its containers wrote."""
    phase = wait_for_end(api, namespace, name)
    said = logs(cluster, namespace, name, container)
    assert phase == "Succeeded", f"{phase}\n{said}\n{describe(cluster, namespace, name)}"
    return said


def wait_for_end(api: Api, namespace: str, name: str) -> str:
    """Wait until a Pod has ended; return its last phase, whatever that is by then."""
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    deadline = time.monotonic() + PATIENCE
    while True:
        phase = str(api.must("GET", path)["status"].get("phase"))
        if phase in _ENDED or time.monotonic() > deadline:
            return phase
        time.sleep(0.1)


def logs(cluster: Cluster, namespace: str, name: str, container: str) -> str:
    """What a container wrote, and where kubectl could not say: why."""
    done = cluster.kubectl("logs", f"--namespace={namespace}", name, f"--container={container}")
    return done.out + done.err


@contextmanager
def followed(
    cluster: Cluster, namespace: str, name: str, *, container: str, file: Path
) -> Iterator[None]:
    """Have in `file` what a container writes until it ends, which the end of the `with` waits for.

    For Pods that are deleted: with their containers the kubelet removes the logs.
    """
    where = (f"--namespace={namespace}", name, f"--container={container}")
    with running(cluster.kubectl_command("logs", "--follow", *where), file) as kubectl:
        wait_until(lambda: file.stat().st_size > 0, "the log is followed")
        yield
        kubectl.wait(PATIENCE)


def describe(cluster: Cluster, namespace: str, name: str) -> str:
    """Why a Pod is as it is: its state, its events and the daemon's last words."""
    state = cluster.kubectl(
        "get", "pod", f"--namespace={namespace}", name, "--output=jsonpath={.status}"
    )
    of_it = f"--field-selector=involvedObject.name={name}"
    events = cluster.kubectl("get", "events", f"--namespace={namespace}", of_it)
    daemon = logs(cluster, namespace, name, "dinp-dind").splitlines()[-_DAEMON_LINES:]
    return "\n".join([state.out, events.out, *daemon])
