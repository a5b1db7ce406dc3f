"""Both kinds of shared daemon, for all tests here, on the cluster of tests/two_nodes.py."""

from __future__ import annotations

import time

import pytest

from tests.installation.deployed import Deployed
from tests.node import contents
from tests.shared_daemons.daemons import KINDS, Daemons
from tests.terminal import teller


@pytest.fixture(scope="package")
def daemons(request: pytest.FixtureRequest, deployed: Deployed) -> Daemons:
    """dinp, and a daemon of each kind that answers. They end with the cluster."""
    deployed.install()
    deployed.bare.add_images(contents.python_client())
    made = Daemons(deployed)
    began = time.monotonic()
    made.configure_certs()
    for kind in KINDS:
        made.install(kind, wait=False)
    for kind in KINDS:
        made.wait_for_rollout(kind)
    teller(request)(f"{time.monotonic() - began:5.1f} s: both kinds of daemon are Ready")
    return made
