"""When things happened to one Pod, by one clock: containerd's, to the nanosecond.

A Pod's status has whole seconds. containerd keeps what it says to the kubelet in a file for
each container, until the Pod is deleted. Clients end with their first docker command that
succeeds, so the end of the client is the moment at which Docker could be used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.servers import BenchError

_RECORDS: Final = Path("var-lib/containerd/io.containerd.grpc.v1.cri/containers")


@dataclass(frozen=True, slots=True)
class Stamps:
    """Seconds since its creation was asked for."""

    daemon_started: float
    client_started: float
    client_ended: float
    daemon_ended: float | None  # None: it runs on
    pod_ended: float  # where it does not end by itself: the API server knows of its client's end

    @property
    def usable(self) -> float:
        """From the start of the daemon's container."""
        return self.client_ended - self.daemon_started

    @property
    def waited(self) -> float:
        """From the client's start to the end of its first command that succeeds."""
        return self.client_ended - self.client_started


def stamps(
    directory: Path, pod: Mapping[str, Any], daemon: str, created: float, ended: float
) -> Stamps:
    """Read them of a Pod whose client has ended; `directory` is the node's.

    Raises:
        BenchError: containerd has no record of a container.
    """
    records = {name: _record(directory, uid) for name, uid in _containers(pod["status"])}
    of_daemon, of_client = records[daemon], records["client"]
    stopped = of_daemon["FinishedAt"]
    return Stamps(
        daemon_started=of_daemon["StartedAt"] / 1e9 - created,
        client_started=of_client["StartedAt"] / 1e9 - created,
        client_ended=of_client["FinishedAt"] / 1e9 - created,
        daemon_ended=stopped / 1e9 - created if stopped else None,
        pod_ended=ended - created,
    )


def _containers(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind, ()):
            yield container["name"], container["containerID"].removeprefix("containerd://")


def _record(directory: Path, uid: str) -> dict[str, int]:
    file = directory / _RECORDS / uid / "status"
    try:
        found: dict[str, int] = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BenchError(f"containerd has no record of a container: {error}") from error
    return found
