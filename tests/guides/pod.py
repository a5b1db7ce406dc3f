"""What the Pods of all CI systems have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Pod = dict[str, Any]
NAMESPACE = "ci"


def made(
    name: str,
    spec: Pod,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Pod:
    """A Pod that runs once."""
    metadata: Pod = {"name": name, "namespace": NAMESPACE}
    metadata |= {"labels": dict(labels)} if labels else {}
    metadata |= {"annotations": dict(annotations)} if annotations else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"restartPolicy": "Never", **spec},
    }


def everywhere(containers: list[Pod], mount: Pod) -> None:
    """Mount a volume in each of them."""
    for container in containers:
        container.setdefault("volumeMounts", []).append(dict(mount))


def variables(values: Mapping[str, Any]) -> list[Pod]:
    """The `env` of a container."""
    return [{"name": name, "value": str(value)} for name, value in values.items()]
