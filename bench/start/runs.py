"""Runs Pods on the node, one or some at a time, and sees how each ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from bench.servers import BenchError
from bench.start.stamps import Stamps, stamps
from bench.start.variants import Variant
from tests.cluster.processes import StartError, wait_until
from tests.node import pods
from tests.node.cluster import NodeCluster

_SECONDS: Final = 120.0  # for one Pod
_POLL_SECONDS: Final = 0.1
_AT_ONCE: Final = 5


def timed(node: NodeCluster, variant: Variant, name: str, *, delay: float = 0) -> Stamps:
    """Run one Pod with no other beside it, created `delay` seconds from now.

    Raises:
        BenchError: it did not end well.
    """
    time.sleep(delay)
    created = time.time()
    pods.start(node.api, variant.namespace, variant.pod(name))
    pod = _ended(node, variant, name)
    ended = time.time()
    if not _at_first_start(pod):
        raise BenchError(_failure(node, variant, name))
    found = stamps(node.directory, pod, variant.daemon, created, ended)
    _delete(node, variant, name)
    wait_until(lambda: _read(node, variant, name) is None, f"{name} is gone")
    return found


def failures_of(node: NodeCluster, variants: Sequence[Variant], count: int) -> Iterator[str]:
    """Run `count` Pods, some at once; of each whose client did not end well, say why."""
    waiting = [(f"first-try-{number}", variants[number % len(variants)]) for number in range(count)]
    running: list[tuple[str, Variant, float]] = []
    while waiting or running:
        while waiting and len(running) < _AT_ONCE:
            name, variant = waiting.pop(0)
            pods.start(node.api, variant.namespace, variant.pod(name))
            running.append((name, variant, time.monotonic() + _SECONDS))
        time.sleep(_POLL_SECONDS)
        for one in list(running):
            name, variant, deadline = one
            pod = _read(node, variant, name) or {"status": {}}
            if _exit_code(pod) is None and time.monotonic() < deadline:
                continue
            if not _at_first_start(pod):
                yield _failure(node, variant, name)
            running.remove(one)
            _delete(node, variant, name)


def _ended(node: NodeCluster, variant: Variant, name: str) -> dict[str, Any]:
    """Wait for the Pod's end, or for its client's where the Pod does not end by itself."""
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        found.update(_read(node, variant, name) or {})
        over = found["status"]["phase"] in ("Succeeded", "Failed")
        return over or (not variant.ends and _exit_code(found) is not None)

    try:
        wait_until(has_ended, name, seconds=_SECONDS, interval=_POLL_SECONDS)
    except StartError as error:
        raise BenchError(f"{error}\n{_failure(node, variant, name)}") from error
    return found


def _at_first_start(pod: Mapping[str, Any]) -> bool:
    """Whether the client's one and only process has ended well."""
    return _exit_code(pod) == 0 and _client(pod)["restartCount"] == 0


def _exit_code(pod: Mapping[str, Any]) -> int | None:
    ended = _client(pod).get("state", {}).get("terminated", {})
    code: int | None = ended.get("exitCode")
    return code


def _client(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    statuses = pod["status"].get("containerStatuses", ())
    return next((status for status in statuses if status["name"] == "client"), {})


def _failure(node: NodeCluster, variant: Variant, name: str) -> str:
    said = pods.logs(node.cluster, variant.namespace, name, "client")
    state = pods.describe(node.cluster, variant.namespace, name)
    return f"{name}, {variant.label}, did not end well:\n{said}\n{state}"


def _read(node: NodeCluster, variant: Variant, name: str) -> dict[str, Any] | None:
    """The Pod, while it is there."""
    answer = node.api.get(_path(variant, name))
    return answer.body if answer.status == 200 else None


def _delete(node: NodeCluster, variant: Variant, name: str) -> None:
    node.api.must("DELETE", f"{_path(variant, name)}?gracePeriodSeconds=5")


def _path(variant: Variant, name: str) -> str:
    return f"/api/v1/namespaces/{variant.namespace}/pods/{name}"
