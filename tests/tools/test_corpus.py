"""The corpus run: over a small corpus of our own always, over the shared one where it is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools import corpus


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    """`make corpus`, over `folder`."""
    command = [sys.executable, "-m", "tools.corpus", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=corpus.ROOT)  # noqa: S603 - our own program


def a_corpus(folder: Path, *expected: str) -> Path:
    """A corpus of Jenkins agents with the socket mounted, each with the verdict given."""
    (folder / "pods").mkdir()
    lines = ["id\trepo\tcommit\tpath\tkind\ttags\tlicence\texpect"]
    for at, expect in enumerate(expected):
        lines.append(f"p{at}\t-\t-\t-\tPod\t-\t-\t{expect}")
        (folder / "pods" / f"p{at}.pod.json").write_text(json.dumps(agent(f"p{at}")))
    (folder / "index.tsv").write_text("\n".join(lines))
    return folder


def agent(name: str) -> dict[str, Any]:
    """A Pod that builds with the node's Docker."""
    mount = {"name": "socket", "mountPath": "/var/run/docker.sock"}
    container = {"name": "jnlp", "image": "jenkins/inbound-agent:1", "volumeMounts": [mount]}
    volume = {"name": "socket", "hostPath": {"path": "/var/run/docker.sock"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], "volumes": [volume]},
    }


def test_right_verdicts(tmp_path: Path) -> None:
    """A corpus whose verdicts are right, and whose Pods come out valid, ends with exit code 0."""
    result = run(a_corpus(tmp_path, "migrate", "migrate"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "triage right: 2 of 2 (100.0%), unsure: 0, wrong: 0" in result.stdout


def test_pods_changed_that_must_not_be(tmp_path: Path) -> None:
    """Each Pod that is to be left and is migrated is named, and the exit code is 1."""
    left = sorted(corpus.LEFT_UNDER_MIGRATE)
    result = run(a_corpus(tmp_path, *left))
    assert result.returncode == 1
    for at, expect in enumerate(left):
        assert f"WRONG migrate/sidecar: p{at}: changed, though {expect}" in result.stdout
        assert f"p{at}: expected {expect}, judged migrate" in result.stdout
