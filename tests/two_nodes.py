"""The image, and one cluster of two nodes, for tests/installation and tests/shared_daemons.

They are for the whole session, and yet end with the last test that uses them: the tests of
tests/node have the machine for themselves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.cluster.builds import alone
from tests.installation import image
from tests.installation.image import Docker
from tests.node import contents, logs, programs
from tests.node.cluster import bare_cluster
from tests.node.leftovers import run_directory
from tests.node.programs import Programs
from tests.terminal import teller

if TYPE_CHECKING:
    from tests.installation.deployed import Deployed

# So a kubelet brings a changed Secret within 3 s (it adds up to half); its default is a minute.
_KUBELET: Final = {"syncFrequency": "2s"}
_RUNNING: Final = pytest.StashKey[ExitStack]()
_IMAGE_LOCK: Final = Path(__file__).parents[1] / "build" / "assets" / ".dinp-image-lock"
_DIRECTORIES: Final = ("tests/installation/", "tests/shared_daemons/")


@pytest.fixture(scope="session")
def built(request: pytest.FixtureRequest) -> Programs:
    """The programs. A machine that cannot have them fails: it never skips."""
    return programs.find_or_build(teller(request))


@pytest.fixture(scope="session")
def docker(request: pytest.FixtureRequest, built: Programs) -> Iterator[Docker]:
    """A daemon that has built the image."""
    with request.config.stash[_RUNNING] as running:  # pytest -x ends without the hook below
        directory = running.enter_context(run_directory())
        made = running.enter_context(image.docker(built, directory))
        say = teller(request)
        with alone(_IMAGE_LOCK, say):
            began = time.monotonic()
            image.build(made, directory)
            image.keep(made)
        say(f"{time.monotonic() - began:5.1f} s: the image is built")
        yield made


@pytest.fixture(scope="session")
def image_file(request: pytest.FixtureRequest) -> Path:
    """The image of these sources: what another suite has built, or builds just now, is taken."""
    with alone(_IMAGE_LOCK, teller(request)):
        is_kept = image.kept().exists()
    if not is_kept:
        request.getfixturevalue("docker")
    return image.kept()


@pytest.fixture(scope="session")
def deployed(request: pytest.FixtureRequest, built: Programs, image_file: Path) -> Deployed:
    """Two nodes that have the image, and no dinp yet."""
    # Every pytest reads this module, and the Kubernetes client takes most of a second.
    from tests.installation.deployed import Deployed  # noqa: PLC0415

    running = request.config.stash[_RUNNING]
    images = [contents.pause(), contents.client(), contents.dind_29(built)]
    directory = running.enter_context(logs.run_with_logs(request.config, "installation-logs"))
    cluster = running.enter_context(
        bare_cluster(
            built,
            directory,
            teller(request),
            nodes=2,
            images=images,
            kubelet_settings=_KUBELET,
        )
    )
    cluster.import_images([image_file])
    return Deployed(cluster)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The tests of two nodes come first: those of an empty cluster before the others."""
    config.stash[_RUNNING] = ExitStack()
    items.sort(key=_turn)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last of them all ends."""
    if _is_here(item) and (nextitem is None or not _is_here(nextitem)):
        item.config.stash[_RUNNING].close()


def _turn(item: pytest.Item) -> int:
    for turn, directory in enumerate(_DIRECTORIES):
        if item.nodeid.startswith(directory):
            return turn
    return len(_DIRECTORIES)


def _is_here(item: pytest.Item) -> bool:
    return _turn(item) < len(_DIRECTORIES)
