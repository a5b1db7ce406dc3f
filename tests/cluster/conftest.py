"""One API server and one dinp for all tests here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.cluster import assets
from tests.cluster.api import Api, Cluster
from tests.cluster.control_plane import control_plane
from tests.cluster.installation import OLDER_NAMESPACES, Installation, installed
from tests.terminal import teller


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """etcd and kube-apiserver. A machine that cannot have them fails: it never skips."""
    with _started(request) as started:
        yield started


@pytest.fixture(scope="module")
def own_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Another one, for a module whose tests install, remove or attack dinp."""
    with _started(request) as started:
        yield started


@contextmanager
def _started(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    programs = assets.find_or_build(teller(request))
    # Not tmp_path_factory: pytest keeps the folders of three runs, and these hold keys.
    with (
        tempfile.TemporaryDirectory(prefix="dinp-cluster-") as name,
        control_plane(programs, Path(name)) as started,
    ):
        yield started


@pytest.fixture(scope="session")
def dinp(
    cluster: Cluster, older_namespaces: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """dinp, installed and answering."""
    del older_namespaces
    with installed(cluster, tmp_path_factory.mktemp("dinp")) as installation:
        yield installation


@pytest.fixture(scope="session")
def older_namespaces(cluster: Cluster) -> None:
    """Namespaces with typos in their labels, older than the policy that refuses them now."""
    with closing(Api(cluster)) as api:
        for name, labels in OLDER_NAMESPACES.items():
            assert api.create_namespace(name, labels).status == 201


@pytest.fixture
def served(dinp: Installation) -> Installation:
    """dinp with the default config, whatever test was before."""
    dinp.serve()
    return dinp


@pytest.fixture
def api(served: Installation) -> Api:
    """The administrator's connection to a cluster with dinp."""
    return served.api
