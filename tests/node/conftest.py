"""One node for all tests here; its logs, where one fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node import logs, programs
from tests.node.cluster import NodeCluster, node_cluster
from tests.terminal import teller


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest) -> Iterator[NodeCluster]:
    """The cluster. A machine that cannot have it fails: it never skips."""
    say = teller(request)
    found = programs.find_or_build(say)
    with (
        logs.run_with_logs(request.config, "node-logs") as directory,
        node_cluster(found, directory, say) as started,
    ):
        yield started
