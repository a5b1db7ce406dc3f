"""One node for all tests here; its logs, where one fails."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.node import programs
from tests.node.cluster import NodeCluster, node_cluster
from tests.node.leftovers import run_directory
from tests.terminal import teller

_KEPT: Final = Path(__file__).parents[2] / "build" / "node-logs"
_LAST_LINES: Final = 15
_LOGS: Final = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest) -> Iterator[NodeCluster]:
    """The cluster. A machine that cannot have it fails: it never skips."""
    say = teller(request)
    found = programs.find_or_build(say)
    with run_directory() as directory:
        request.config.stash[_LOGS] = directory
        try:
            with node_cluster(found, directory, say) as started:
                yield started
        finally:
            _keep(directory)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of each component's log with a failure."""
    report = yield
    directory = item.config.stash.get(_LOGS, None)
    if report.failed and directory is not None:
        # Where the cluster did not come up its folder is gone by now.
        for log in _log_files(directory if directory.exists() else _KEPT):
            with suppress(FileNotFoundError):  # another run has just replaced them
                lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
                report.sections.append((f"{log.name}, all of it in {_KEPT}", "\n".join(lines)))
    return report


def _log_files(directory: Path) -> list[Path]:
    return sorted([*directory.glob("*.log"), *directory.glob("logs/*.log")])


def _keep(directory: Path) -> None:
    """Keep the logs of this run, and only of this one."""
    shutil.rmtree(_KEPT, ignore_errors=True)
    _KEPT.mkdir(parents=True)
    for log in _log_files(directory):
        shutil.copy(log, _KEPT)
