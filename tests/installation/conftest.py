"""The image, and one cluster of two nodes for all tests here; its logs, where one fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.installation import image
from tests.installation.deployed import Deployed
from tests.installation.image import Docker
from tests.node import contents, logs, programs
from tests.node.cluster import bare_cluster
from tests.node.leftovers import run_directory
from tests.node.programs import Programs
from tests.terminal import teller

# So a kubelet brings a changed Secret within 3 s (it adds up to half); its default is a minute.
_KUBELET: Final = {"syncFrequency": "2s"}


@pytest.fixture(scope="package")
def built(request: pytest.FixtureRequest) -> Programs:
    """The programs. A machine that cannot have them fails: it never skips."""
    return programs.find_or_build(teller(request))


@pytest.fixture(scope="package")
def docker(request: pytest.FixtureRequest, built: Programs) -> Iterator[Docker]:
    """A daemon that has built the image."""
    with run_directory() as directory, image.docker(built, directory) as made:
        began = time.monotonic()
        image.build(made, directory)
        teller(request)(f"{time.monotonic() - began:5.1f} s: the image is built")
        yield made


@pytest.fixture(scope="package")
def deployed(request: pytest.FixtureRequest, built: Programs, docker: Docker) -> Iterator[Deployed]:
    """Two nodes that have the image, and no dinp yet."""
    say = teller(request)
    images = [contents.pause(), contents.client(), contents.dind_29(built)]
    with logs.run_with_logs(request.config, "installation-logs") as directory:
        whole = bare_cluster(
            built, directory, say, nodes=2, images=images, kubelet_settings=_KUBELET
        )
        with whole as cluster:
            file = directory / "dinp.tar"
            image.save(docker, file)
            cluster.import_images([file])
            file.unlink()
            yield Deployed(cluster)


@pytest.fixture(scope="module")
def installed(deployed: Deployed) -> Deployed:
    """The same with dinp, which answers."""
    deployed.install()
    return deployed
