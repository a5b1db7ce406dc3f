"""`dinp daemon prepare` and `dinp daemon keep` as the manifests call them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from webhook.cli import main

DINP: Final = (sys.executable, "-m", "webhook.cli")
ROOT: Final = Path(__file__).parents[2]


def test_prepare_without_tls(tmp_path: Path) -> None:
    """It brings both scripts, as they are written, and nothing else."""
    arguments = ["daemon", "prepare", "--no-tls", f"--directory={tmp_path}"]
    done = CliRunner().invoke(main, arguments)
    assert 0 == done.exit_code, done.output
    assert {"start.sh", "dind.sh"} == {path.name for path in tmp_path.iterdir()}
    for name in ("start.sh", "dind.sh"):
        assert (ROOT / "scripts" / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        ("--names", ["prepare"]),
        ("--names", ["keep", "--names= , "]),
        ("10m", ["prepare", "--names=a.svc", "--lifetime=9m"]),
        ("duration", ["keep", "--no-tls", "--container-age=soon"]),
    ],
)
def test_usage(expected: str, arguments: list[str]) -> None:
    """What cannot work is said before anything is done."""
    done = CliRunner().invoke(main, ["daemon", *arguments])
    assert 2 == done.exit_code
    assert expected in done.output


def test_without_a_cluster(tmp_path: Path) -> None:
    """One line that says what is missing, and exit code 2."""
    arguments = ["daemon", "prepare", "--names=a.svc", f"--directory={tmp_path}", "--timeout=0s"]
    done = CliRunner().invoke(main, arguments)
    assert 2 == done.exit_code
    assert "no access to a cluster" in done.output.splitlines()[-1]


def test_keep_ends_at_sigterm(tmp_path: Path) -> None:
    """Also while there is no daemon to look after, which is said once."""
    command = [*DINP, "daemon", "keep", "--no-tls", f"--socket={tmp_path}/none"]
    flags = ["--check-interval=1s", "--prune-interval=1s"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as keeper:  # noqa: S603 - our own command
        assert keeper.stdout is not None
        said = [keeper.stdout.readline() for _ in range(2)]
        keeper.send_signal(signal.SIGTERM)
        rest = keeper.stdout.read()
        assert 0 == keeper.wait(30)
    assert "nothing removed" in said[1]
    assert "nothing removed" not in rest
