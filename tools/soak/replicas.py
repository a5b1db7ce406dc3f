"""Replicas of `dinp serve`, each at an address of its own, and the Service's EndpointSlice.

No controller runs here: this does what the endpoint controller does for the Service.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Final

from tests.cluster.api import APPLY_PATCH, Api
from tests.cluster.installation import SLICES, endpoint_slice
from tests.cluster.processes import StartError, running, wait_until
from tools.soak import certificates, network
from tools.soak.certificates import Issued, Volume

PORT: Final = 8443  # the defaults of `dinp serve`
_HEALTH_PORT: Final = 8081
_END_SECONDS: Final = 90.0
_READY: Final = {"ready": True, "serving": True, "terminating": False}
_TERMINATING: Final = {"ready": False, "serving": True, "terminating": True}
_NOT_READY: Final = {"ready": False, "serving": False, "terminating": False}


@dataclass(frozen=True, slots=True)
class Replica:
    """One `dinp serve`."""

    address: str
    process: Popen[bytes]
    volume: Volume
    log: Path

    def is_ready(self) -> bool:
        """As the kubelet's probe sees it."""
        try:
            url = f"http://{self.address}:{_HEALTH_PORT}/readyz"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def serves(self, issued: Issued) -> bool:
        """Whether a new connection gets this leaf, and trusts it by its CA alone."""
        try:
            serial = certificates.seen(self.address, PORT, issued.ca.certificate)
        except OSError:
            return False
        return serial == issued.serial


class Replicas:
    """All of them, also those that have ended; everything ends with `stack`."""

    def __init__(self, api: Api, directory: Path, stack: ExitStack, flags: tuple[str, ...]) -> None:
        self._api = api
        self._directory = directory
        self._stack = stack
        self._flags = flags
        self._all: list[Replica] = []
        self._endpoints: dict[str, dict[str, bool]] = {}

    def start(self, issued: Issued) -> Replica:
        """Start one, wait until it is ready, and let the Service have it.

        To be called in the main thread: processes end with the thread that has started them.

        Raises:
            StartError: it did not get ready.
        """
        number = len(self._all)
        address = network.address(number)
        volume = Volume(self._directory / f"volume-{number}", issued.leaf)
        log = self._directory / f"dinp-{number}.log"
        command = [sys.executable, "-m", "webhook.cli", "serve", "--bind-address", address]
        command += ["--tls-cert-file", str(volume.certificate)]
        command += ["--tls-private-key-file", str(volume.key), *self._flags]
        process = self._stack.enter_context(running(command, log))
        replica = Replica(address, process, volume, log)
        self._all.append(replica)
        wait_until(lambda: process.poll() is not None or replica.is_ready(), "dinp is ready")
        if process.poll() is not None:
            raise StartError(f"dinp serve ended: {log.read_text(errors='replace')}")
        self._set(replica, _READY)
        return replica

    def withdraw(self, replica: Replica) -> None:
        """Say that a terminating one takes no new connection."""
        self._set(replica, _TERMINATING)

    def not_ready(self, replica: Replica) -> None:
        """Say that one which has crashed takes none."""
        self._set(replica, _NOT_READY)

    def forget(self, replica: Replica) -> None:
        """Take away the endpoint of one that is gone."""
        self._endpoints.pop(replica.address, None)
        self._publish()

    def running(self) -> list[Replica]:
        """Those that have not ended."""
        return [replica for replica in self._all if replica.process.poll() is None]

    def wait_for_end(self, replica: Replica) -> bool:
        """Wait until one that was told to end has, and say whether it did so well.

        Raises:
            StartError: it goes on.
        """
        ended = replica.process.poll
        wait_until(lambda: ended() is not None, "dinp serve ends", seconds=_END_SECONDS)
        self.forget(replica)
        return replica.process.returncode == 0

    def complaints(self) -> Counter[str]:
        """What they have logged as a warning or worse."""
        counted: Counter[str] = Counter()
        for replica in self._all:
            for line in replica.log.read_text(errors="replace").splitlines():
                counted.update(_complaint(line))
        return counted

    def _set(self, replica: Replica, conditions: dict[str, bool]) -> None:
        self._endpoints[replica.address] = conditions
        self._publish()

    def _publish(self) -> None:
        endpoints = [
            {"addresses": [address], "conditions": conditions}
            for address, conditions in self._endpoints.items()
        ]
        path = f"{SLICES}/dinp-tests?fieldManager=soak&force=true"
        self._api.must("PATCH", path, endpoint_slice(endpoints, PORT), media_type=APPLY_PATCH)


def _complaint(line: str) -> list[str]:
    try:
        record = json.loads(line)
    except ValueError:
        return [line[:200]]
    return [] if record.get("level") in ("info", "debug") else [str(record.get("event"))]
