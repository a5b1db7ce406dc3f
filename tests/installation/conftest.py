"""The cluster of tests/two_nodes.py with dinp."""

from __future__ import annotations

import pytest

from tests.installation.deployed import Deployed


@pytest.fixture(scope="module")
def installed(deployed: Deployed) -> Deployed:
    """The same with dinp, which answers."""
    deployed.install()
    return deployed
