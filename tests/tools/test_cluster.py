"""`make cluster-down`: which clusters it ends. That their ends leave nothing: tests/node/test_leftovers.py."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.processes import wait_until
from tools import cluster

ROOT: Final = Path(__file__).parents[2]
# What a run does with its folder: it holds the lock, and removes the folder when it is told to end.
_RUN: Final = """
import fcntl, pathlib, shutil, signal, sys
folder = pathlib.Path(sys.argv[1])
lock = (folder / "lock").open("w")
fcntl.flock(lock, fcntl.LOCK_EX)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
(folder / "is-locked").touch()
signal.sigwait([signal.SIGTERM])
shutil.rmtree(folder)
"""


@contextmanager
def run_of(checkout: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run in `folder` that was started from `checkout`."""
    folder.mkdir()
    process = subprocess.Popen([sys.executable, "-c", _RUN, str(folder)])  # noqa: S603 - our own command
    try:
        wait_until((folder / "is-locked").exists, "the run holds its lock")
        (folder / "checkout").write_text(str(checkout), encoding="utf-8")
        (folder / "cluster.pid").write_text(str(process.pid), encoding="ascii")
        yield process
    finally:
        process.kill()
        process.wait()


def test_those_of_other_checkouts_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends every cluster of its own checkout, and none that somebody else has started."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ExitStack() as stack:
        own, other = (
            stack.enter_context(run_of(checkout, tmp_path / f"dinp-node-{number}"))
            for number, checkout in enumerate((ROOT, tmp_path / "elsewhere"))
        )
        assert 0 == cluster.down()
        assert 0 == own.wait(10)
        assert other.poll() is None
        assert (tmp_path / "dinp-node-1" / "cluster.pid").exists()
