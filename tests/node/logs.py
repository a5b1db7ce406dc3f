"""The logs of a cluster's components: kept where one can look, and shown with a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.node.leftovers import run_directory

_BUILD: Final = Path(__file__).parents[2] / "build"
_LAST_LINES: Final = 15
SUITE: Final = "DINP_SUITE"  # a variable that tools/suites sets
_LOGS: Final = pytest.StashKey[tuple[Path, Path]]()
# Those of the control plane, of both nodes' components, and of dinp's own Pods.
_PATTERNS: Final = (
    "*.log",
    "logs/*.log",
    "node*/logs/*.log",
    "var-log/pods/dinp-*_*/*/*.log",
    "node*/var-log/pods/dinp-*_*/*/*.log",
)


@contextmanager
def run_with_logs(config: pytest.Config, name: str) -> Iterator[Path]:
    """A folder for the files of a run, whose logs are copied at its end to build/logs.

    There to <name>, or what the suite is called, and where suites or workers run side by side
    to a folder for each.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    kept = _BUILD / "logs" / os.environ.get(SUITE, name) / worker
    with run_directory() as directory:
        config.stash[_LOGS] = (directory, kept)
        try:
            yield directory
        finally:
            _keep(directory, kept)


def show(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add the end of each log to the report of a test that has failed."""
    directory, kept = item.config.stash.get(_LOGS, (None, None))
    if not report.failed or directory is None or kept is None:
        return
    # Where the cluster did not come up its folder is gone by now.
    for name, log in _log_files(directory if directory.exists() else kept).items():
        with suppress(FileNotFoundError):  # another run has just replaced them
            lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
            report.sections.append((f"{name}, all of it in {kept}", "\n".join(lines)))


def _log_files(directory: Path) -> dict[str, Path]:
    """The logs in a run's folder, each by a name of its own."""
    found = [file for pattern in _PATTERNS for file in sorted(directory.glob(pattern))]
    return {_name(file.relative_to(directory)): file for file in found}


def _name(path: Path) -> str:
    parts = [part for part in path.parts if part not in ("logs", "var-log", "pods")]
    return "-".join(parts)


def _keep(directory: Path, kept: Path) -> None:
    """Keep the logs of this run, and only of this one."""
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for name, log in _log_files(directory).items():
        with suppress(FileNotFoundError):  # the kubelet has just removed it
            shutil.copy(log, kept / name)
