"""Both modes are beside one manifests/shared: who removes one takes nothing from the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node import pods
from tests.shared_daemons.daemons import DAEMONSET, SERVICE, Daemons, client

pytestmark = pytest.mark.node

NAMESPACE = "of-one-mode"


@pytest.fixture
def of_one_mode(daemons: Daemons) -> Iterator[Daemons]:
    """Without the daemon behind the Service, as long as the test takes."""
    daemons.remove(SERVICE)
    yield daemons
    daemons.install(SERVICE)


def test_one_mode_goes(of_one_mode: Daemons) -> None:
    """A namespace that is allowed later has its certificate, a daemon that starts has one, and both work."""
    daemons = of_one_mode
    node = daemons.nodes[0].name
    ends = daemons.daemon_on(node)["metadata"]["name"]
    daemons.api.must("DELETE", f"/api/v1/namespaces/dinp-daemons/pods/{ends}")
    assert ends != daemons.daemon_on(node)["metadata"]["name"]
    with daemons.namespace(NAMESPACE):
        for it in daemons.nodes:
            pod = client(f"asks-{it.name}", DAEMONSET, "docker version", node=it.name)
            said = pods.run(daemons.bare.cluster, daemons.api, NAMESPACE, pod)
            assert "Version:          29." in said.partition("Server:")[2]
    assert daemons.daemons(SERVICE) == []
