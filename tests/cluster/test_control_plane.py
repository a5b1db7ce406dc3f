"""The machinery of these tests: what it says when a program is missing, and that nothing is left."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.cluster import assets
from tests.cluster.assets import Assets, AssetsError
from tests.cluster.control_plane import control_plane
from tests.cluster.processes import StartError, running, wait_until

pytestmark = pytest.mark.cluster


def program(file: Path, script: str) -> Path:
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(stat.S_IRWXU)
    return file


def test_kubebuilder_assets_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of envtest's programs saves the build."""
    for name in ("etcd", "kube-apiserver", "kubectl"):
        program(tmp_path / name, "exit 0")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    expected = Assets(tmp_path / "etcd", tmp_path / "kube-apiserver", tmp_path / "kubectl")
    assert expected == assets.find_or_build(print)


def test_incomplete_kubebuilder_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sets the variable meant that folder: nothing else is taken instead."""
    program(tmp_path / "etcd", "exit 0")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(AssetsError, match=r"there is no program .*/kube-apiserver"):
        assets.find_or_build(print)


def test_failed_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that fails says what go said, and leaves no half of a folder to be taken for whole."""
    program(tmp_path / "etcd", "exit 0")
    program(tmp_path / "go", "echo no space left >&2; exit 1")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(assets, "_BUILT", tmp_path / "assets")
    with pytest.raises(AssetsError, match="go build failed:\nno space left"):
        assets.find_or_build(print)
    assert [".lock"] == [file.name for file in (tmp_path / "assets").iterdir()]


def test_an_api_server_that_ends_is_reported(tmp_path: Path) -> None:
    """What it said last is in the error, and the etcd that was started is gone."""
    pid = tmp_path / "pid"
    etcd = program(tmp_path / "etcd", f"echo $$ > {pid}; exec sleep 600")
    after = f"while [ ! -s {pid} ]; do sleep 0.01; done"
    broken = program(tmp_path / "kube-apiserver", f"{after}; echo no such flag; exit 1")
    with (
        pytest.raises(StartError, match="kube-apiserver ended:\nno such flag"),
        control_plane(Assets(etcd, broken, broken), tmp_path),
    ):
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_process_ends_with_its_block(tmp_path: Path) -> None:
    """Also where the block fails, and where the process would not end by SIGTERM."""
    ready = tmp_path / "ready"
    stubborn = program(tmp_path / "stubborn", f"trap '' TERM; touch {ready}; exec sleep 600")

    def fail() -> None:
        with running([str(stubborn)], tmp_path / "log") as process:
            pids.append(process.pid)
            wait_until(ready.exists, "it runs")
            raise KeyError

    pids: list[int] = []
    with pytest.raises(KeyError):
        fail()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_waiting_has_an_end() -> None:
    """What never comes is named."""
    with pytest.raises(StartError, match=r"not within 0.05 s: spring"):
        wait_until(lambda: False, "spring", seconds=0.05, interval=0.01)
