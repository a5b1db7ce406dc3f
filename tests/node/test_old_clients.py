"""Clients that speak an older API than Docker 29 serves unless it is asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Final

import pytest

from tests.node import pods
from tests.node.cluster import NodeCluster
from tests.node.python_client import PYTHON_CLIENT
from webhook.asking import rules

pytestmark = pytest.mark.node

NAMESPACE: Final = "annotated"
VERSIONS: Final = tuple(f"1.{minor}" for minor in range(24, 42))
# The oldest, the first that builds, and the newest; what lies between them is the tail.
EDGES: Final = ("1.24", "1.30", "1.41")
TOO_OLD: Final = "1.23"
# Docker 29 ends a build for older clients by a panic: buildProgressWriter() gives the builder a nil
# *AuxFormatter as an interface that is not nil. Its HTTP server recovers, and the answer breaks off.
BROKEN_OFF: Final = ("1.24", "1.25", "1.26", "1.27", "1.28", "1.29")
# BuildKit's sessions came with 1.39; the CLI asks for them from then on.
BUILDKIT_VERSIONS: Final = ("1.39", "1.40", "1.41")

_CLI: Final = f"""
mkdir /context
tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - localhost/shell:1
for version in $VERSIONS; do
    export DOCKER_API_VERSION=$version
    docker version --format "$version: {{{{.Client.APIVersion}}}} to {{{{.Server.Version}}}}"
    docker run --rm --pull=never localhost/shell:1 sh -c "echo $version: it runs"
    printf 'FROM localhost/shell:1\\nRUN echo %s >/version\\n' "$version" >/context/Dockerfile
    DOCKER_BUILDKIT=0 docker build --tag "localhost/built:$version" /context ||
        {{ echo "$version: broken off"; continue; }}
    docker run --rm --pull=never "localhost/built:$version" sh -c 'echo built by $(cat /version)'
done
for version in $BUILDKIT_VERSIONS; do
    export DOCKER_API_VERSION=$version
    printf 'FROM localhost/shell:1\\nRUN echo %s kit >/version\\n' "$version" >/context/Dockerfile
    DOCKER_BUILDKIT=1 docker build --tag "localhost/kit:$version" /context
    docker run --rm --pull=never "localhost/kit:$version" sh -c 'echo built by $(cat /version)'
done
if DOCKER_API_VERSION={TOO_OLD} docker version; then exit 1; fi
"""

_PYTHON: Final = """
import io, os, tarfile
import docker, requests, urllib3

files = io.BytesIO()
with tarfile.open(fileobj=files, mode="w") as archive:
    archive.add("/usr/bin/busybox")
    archive.add("/usr/bin/busybox", "/bin/sh")
docker.from_env().api.import_image_from_data(files.getvalue(), "localhost/shell", "1")
for version in os.environ["VERSIONS"].split():
    client = docker.from_env(version=version)
    print(version + ":", client.api.api_version, "to", client.version()["Version"])
    said = client.containers.run("localhost/shell:1", ["sh", "-c", "echo it runs"], remove=True)
    print(version + ":", said.decode())
    dockerfile = io.BytesIO(f"FROM localhost/shell:1\\nRUN echo {version} >/version\\n".encode())
    try:
        built, _ = client.images.build(fileobj=dockerfile, rm=True)
    except (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.ProtocolError):
        print(version + ":", "broken off")
        continue
    said = client.containers.run(built.id, ["sh", "-c", "echo built by $(cat /version)"], remove=True)
    print(said.decode())
"""


Said = Callable[[str, str], list[str]]
_CLIENTS: Final = ("old-cli", "old-docker-py")


@pytest.fixture(scope="module")
def said(node: NodeCluster) -> Said:
    """What a client wrote that was run for this version: lines, by client and version."""

    @cache
    def of_group(versions: tuple[str, ...]) -> dict[str, list[str]]:
        return _run(node, versions)

    return lambda client, version: of_group(_group(version))[client]


def _group(version: str) -> tuple[str, ...]:
    """The versions that one Pod of each client goes through, this one among them."""
    between = tuple(each for each in VERSIONS if each not in EDGES)
    return between if version in between else EDGES


def _run(node: NodeCluster, versions: tuple[str, ...]) -> dict[str, list[str]]:
    """What the two clients wrote, by their names: each goes through these versions."""
    annotations = {rules.INJECT: "sidecar"}
    shell = pods.client_pod("old-cli", _CLI, annotations=annotations)
    python = pods.client_pod(
        "old-docker-py", "python3", "-uc", _PYTHON, image=PYTHON_CLIENT, annotations=annotations
    )
    kit = [version for version in versions if version in BUILDKIT_VERSIONS]
    variables = {"VERSIONS": " ".join(versions), "BUILDKIT_VERSIONS": " ".join(kit)}
    for pod in (shell, python):
        pod["metadata"]["name"] += f"-{len(versions)}"
        [container] = pod["spec"]["containers"]
        container["env"] = [{"name": name, "value": value} for name, value in variables.items()]
        pods.start(node.api, NAMESPACE, pod)
    return {
        client: pods.said_at_end(
            node.cluster, NAMESPACE, f"{client}-{len(versions)}", api=node.api
        ).splitlines()
        for client in _CLIENTS
    }


def _each(versions: Iterable[str]) -> pytest.MarkDecorator:
    """For each version a test, those between the edges in the tail."""
    return pytest.mark.parametrize(
        "version",
        [
            pytest.param(version, marks=() if version in EDGES else pytest.mark.tail)
            for version in versions
        ],
    )


@_each(VERSIONS)
@pytest.mark.parametrize("client", _CLIENTS)
def test_an_old_client_is_served(said: Said, client: str, version: str) -> None:
    """The daemon answers a client of this API, and runs its containers."""
    lines = said(client, version)
    assert any(line.startswith(f"{version}: {version} to 29.") for line in lines)
    assert f"{version}: it runs" in lines


@_each(VERSIONS)
@pytest.mark.parametrize("client", _CLIENTS)
def test_an_old_client_builds(said: Said, client: str, version: str) -> None:
    """The classic builder serves it, but for those whose answer Docker 29 itself breaks off."""
    expected = f"{version}: broken off" if version in BROKEN_OFF else f"built by {version}"
    assert expected in said(client, version)


@_each(BUILDKIT_VERSIONS)
def test_an_old_client_builds_with_buildkit(said: Said, version: str) -> None:
    """BuildKit, too, serves the clients that know it."""
    assert f"built by {version} kit" in said("old-cli", version)


def test_a_client_that_is_too_old_is_told(said: Said) -> None:
    """Below what Docker 29 can serve at all, the client hears which version it takes."""
    message = f"client version {TOO_OLD} is too old. Minimum supported API version is 1.24"
    assert message in "\n".join(said("old-cli", EDGES[0]))
