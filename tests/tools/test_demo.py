"""`make demo`: the examples through the real server, as a person would see them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ESCAPE = "\033["


def demo(**variables: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with a pipe as its output, and no colour variables but those given."""
    colours = {"NO_COLOR", "FORCE_COLOR"}
    env: Mapping[str, str] = {k: v for k, v in os.environ.items() if k not in colours} | variables
    command = [sys.executable, "-m", "tools.demo"]
    return subprocess.run(  # noqa: S603 - our own module
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def plain() -> subprocess.CompletedProcess[str]:
    """One run without colours, which all tests here read."""
    return demo()


def test_ends_well(plain: subprocess.CompletedProcess[str]) -> None:
    """It ends by itself with exit code 0, and every answer is what the example is there for."""
    assert not plain.returncode, plain.stderr
    assert not plain.stderr
    assert "every answer is as expected" in plain.stdout


@pytest.mark.parametrize(
    ("file", "path", "expected"),
    [
        (
            "jenkins-pod-template.yaml",
            "/pods/migrate/sidecar",
            ["+      subPath: docker.sock", "+      value: tcp://localhost:2375", "-    hostPath:"],
        ),
        (
            "job-sidecar.yaml",
            "/pods/annotated",
            ["+  - name: dinp-dind", "+    restartPolicy: Always", "+    dinp.io/mode: sidecar"],
        ),
        (
            "daemonset.yaml",
            "/pods/annotated/shared",
            ["+      value: tcp://$(DINP_HOST_IP):2376", "+      secretName: dinp-client-tls"],
        ),
        (
            "service.yaml",
            "/pods/annotated/shared",
            ["+      value: tcp://dinp-docker.dinp-daemons.svc:2376"],
        ),
        ("refused.yaml", "/pods/annotated", ["denied (403): ", "hostNetwork"]),
    ],
)
def test_shows_each_decision(
    plain: subprocess.CompletedProcess[str], file: str, path: str, expected: list[str]
) -> None:
    """Each example is sent to its namespace's path, and the difference shows what it got."""
    (section,) = [
        part for part in plain.stdout.split("\n\n") if part.startswith(f"{file}: a Pod of")
    ]
    assert section.splitlines()[0].endswith(f"sent to {path}")
    for line in expected:
        assert line in section


def test_abbreviates_the_script(plain: subprocess.CompletedProcess[str]) -> None:
    """dind.sh is its first line and a count, so the differences can be read."""
    assert "#!/bin/sh ..." in plain.stdout
    assert "more lines" in plain.stdout


def test_colours_only_where_wanted(plain: subprocess.CompletedProcess[str]) -> None:
    """A pipe gets no colours unless FORCE_COLOR asks; NO_COLOR wins over it."""
    assert ESCAPE not in plain.stdout
    assert f"{ESCAPE}32m+" in demo(FORCE_COLOR="1").stdout
    assert ESCAPE not in demo(FORCE_COLOR="1", NO_COLOR="1").stdout
