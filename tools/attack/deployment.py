"""What the webhook's Deployment says: how it is started, its memory, and how patient the kubelet is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from webhook.pods import quantity

BASE: Final = Path(__file__).parents[2] / "manifests" / "base"
_HOST_IP: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Deployment:
    """`memory` in bytes, the others in seconds."""

    arguments: tuple[str, ...]
    mounts: Mapping[str, str]  # mountPath of each volume by its name
    memory: int
    grace: float
    liveness: float
    readiness: float

    def command(self, tls: Path) -> list[str]:
        """The container's arguments, with the folders that are its volumes here."""
        folders = {"tls": tls, "config": BASE}
        found = []
        for argument in self.arguments:
            shown = argument.replace("$(HOST_IP)", _HOST_IP)
            for name, folder in folders.items():
                shown = shown.replace(f"={self.mounts[name]}/", f"={folder}/")
            found.append(shown)
        return found


def read(file: Path = BASE / "deployment.yaml") -> Deployment:
    """Read it.

    Raises:
        KeyError: it has no memory limit, or none of the volumes tls and config.
    """
    spec: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["template"][
        "spec"
    ]
    (container,) = spec["containers"]
    return Deployment(
        arguments=tuple(container["args"]),
        mounts={mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]},
        memory=int(quantity.parse(container["resources"]["limits"]["memory"])),
        grace=float(spec["terminationGracePeriodSeconds"]),
        liveness=_timeout(container["livenessProbe"]),
        readiness=_timeout(container["readinessProbe"]),
    )


def _timeout(probe: Mapping[str, Any]) -> float:
    return float(probe.get("timeoutSeconds", 1))  # the API server's default
