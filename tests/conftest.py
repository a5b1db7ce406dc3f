"""What tests of several rooms share."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.workermanage import NodeManager

from certs import authority
from certs.authority import KeyPair, Usage
from tests.node import logs
from tests.two_nodes import (  # noqa: F401 - fixtures and hooks, for pytest to find them here
    built,
    deployed,
    docker,
    image_file,
    pytest_collection_modifyitems,
    pytest_runtest_teardown,
)
from webhook.asking.config import Config
from webhook.serving.server import Server, Settings
from webhook.serving.tls import Files, ServingCertificate

DAY = timedelta(days=1)

# A worker that is interrupted ends its cluster; xdist would kill it after 10 s.
NodeManager.EXIT_TIMEOUT = 60
# The same examples everywhere, and no deadlines: on a busy machine any example may take long.
# `make unit` takes a quarter of those that `make test` takes.
settings.register_profile("quick", settings.get_profile("ci"), max_examples=25)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest --update-golden` rewrites the written files of the golden cases."""
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of each component's log with a failure, where it ran on a cluster."""
    report = yield
    logs.show(item, report)
    return report


class Authority:
    """A CA and what it issues into a directory."""

    def __init__(self, name: str = "test") -> None:
        self.now = datetime.now(UTC)
        self.pair = authority.issue_ca(name, now=self.now, lifetime=10 * DAY)

    def issue(
        self, usage: Usage = Usage.SERVER, *, now: datetime | None = None, lifetime: timedelta = DAY
    ) -> KeyPair:
        """Issue a certificate for localhost and 127.0.0.1."""
        return authority.issue_leaf(
            self.pair,
            "localhost",
            names=("localhost", "127.0.0.1"),
            usage=usage,
            now=now or self.now,
            lifetime=lifetime,
        )

    def trusting(
        self, client: KeyPair | None = None, directory: Path | None = None
    ) -> ssl.SSLContext:
        """A client's context that trusts this CA, and shows the certificate `client`."""
        context = ssl.create_default_context(cadata=self.pair.certificate.decode())
        if client is not None and directory is not None:
            files = write(directory, client, "client")
            context.load_cert_chain(files.certificate, files.key)
        return context


def write(directory: Path, pair: KeyPair, name: str = "tls") -> Files:
    """Write `pair` as <name>.crt and <name>.key."""
    files = Files(directory / f"{name}.crt", directory / f"{name}.key")
    files.certificate.write_bytes(pair.certificate)
    files.key.write_bytes(pair.key)
    return files


@pytest.fixture(scope="session")
def ca() -> Authority:
    """The CA that clients of the tests trust."""
    return Authority()


@pytest.fixture
def files(ca: Authority, tmp_path: Path) -> Files:
    """A serving certificate in files."""
    return write(tmp_path, ca.issue())


StartServer = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start_server(files: Files) -> AsyncIterator[StartServer]:
    """Start a Server in this process on free ports; all are closed at the end of the test.

    Keywords are those of Settings, and `now`, `config`, `files`.
    """
    async with AsyncExitStack() as running:

        async def start(
            *,
            files: Files = files,
            config: Config | None = None,
            now: Callable[[], datetime] = lambda: datetime.now(UTC),
            **settings: Any,
        ) -> Server:
            certificate = ServingCertificate(files, now=datetime.now(UTC))
            settled = Settings("127.0.0.1", secure_port=0, health_port=0, **settings)
            server = Server(config or Config(), certificate, settled, now)
            running.push_async_callback(server.close)
            await server.start()
            return server

        yield start
