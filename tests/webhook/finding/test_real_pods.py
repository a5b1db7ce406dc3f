"""triage on Pods of real kinds: what each is to the node's Docker."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from webhook.asking.watchers import WATCHERS
from webhook.finding.found import judge
from webhook.pods.pod import Pod

ROWS: list[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("real_pods.yaml").read_text(encoding="utf-8")
)
OF_ROW = {"about", "verdict", "labels", "owner", "socket", "read-only", "host", "containers"}


def a_pod(row: dict[str, Any]) -> Pod:
    """The Pod of a row."""
    at = {"name": "docker-sock", "mountPath": "/var/run/docker.sock"}
    mounts: dict[str, list[dict[str, Any]]] = {}
    for name in row.get("socket", ()):
        mounts.setdefault(name, []).append(at)
    for name in row.get("read-only", ()):
        mounts.setdefault(name, []).append({**at, "readOnly": True})
    volumes = [{"name": "docker-sock", "hostPath": {"path": "/var/run/docker.sock"}}]
    for number, path in enumerate(row.get("host", ())):
        volumes.append({"name": f"host-{number}", "hostPath": {"path": path}})
        more = {"name": f"host-{number}", "mountPath": path}
        mounts.setdefault(row["containers"][0]["name"], []).append(more)
    containers = [{**one, "volumeMounts": mounts.get(one["name"], [])} for one in row["containers"]]
    owners = [{"kind": row["owner"], "name": "owner"}] if "owner" in row else []
    metadata = {"name": "pod", "labels": row.get("labels", {}), "ownerReferences": owners}
    spec = {field: value for field, value in row.items() if field not in OF_ROW}
    found = {"metadata": metadata, "spec": {**spec, "containers": containers, "volumes": volumes}}
    return cast("Pod", found)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["about"]))
def test_real_pods(row: dict[str, Any]) -> None:
    """A builder is migrated, a node agent is left, and what nothing tells apart is unsure."""
    assert row["verdict"] == judge(a_pod(row), WATCHERS).verdict
