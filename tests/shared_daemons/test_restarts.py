"""What clients see of a daemon that ends and comes back: restarted, killed, rolled, renewed.

On each node a client runs one container after the other, and says how each went. A container that
somebody else has started is there all the time.
"""

from __future__ import annotations

import re
import ssl
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import pytest

from tests.cluster.processes import wait_until
from tests.installation.deployed import SHARED_CERTS, SYSTEM
from tests.shared_daemons.daemons import DAEMONSET, IMAGE, Daemons, client
from tests.shared_daemons.loops import BUILDS_LOOP, NAMESPACE, RUNS_LOOP, Loop, Watched, watched
from tests.terminal import teller

pytestmark = pytest.mark.node

PORT: Final = 2376

# What a client may be told while its daemon is down or goes down.
_DOWN: Final = re.compile(
    r"connection refused|connection reset by peer|broken pipe|\bEOF\b|Cannot connect to the Docker daemon"
    r"|no route to host|i/o timeout|daemon is shutting down|server closed idle connection"
    r"|[Ee]rror waiting for container|unable to upgrade"
    r"|context canceled"
)
# What one is told that has come while it was down: no connection of its own was cut.
_REFUSED: Final = re.compile(
    r"^failed: ((docker: )?Cannot connect to the Docker daemon|.*connect: connection refused)"
)
# However it is down, this is never why.
_CERTIFICATES: Final = re.compile(r"x509|tls:|certificate")
STAYS: Final = (
    IMAGE
    + """
docker rm --force stays || :
docker run -d --pull=never --name stays localhost/shell:1 busybox sleep 100000
"""
)

# A CA of clients is published 70 s before it signs, and daemons wait for a quiet moment for 45 s of
# that; for their own certificate they do so for 30 s, or 17 s where its CA's end has cut it short.
SHORT: Final = (
    *("--ca-lifetime=240s", "--server-lifetime=120s", "--client-lifetime=60s"),
    *("--delivery=12s", "--daemon-restart-within=70s", "--propagation=3s"),
)
KEEPER: Final = ("--check-interval=1s", "--restart-within=45s")
ROTATIONS: Final = 1


@pytest.fixture(scope="module", autouse=True)
def namespace(daemons: Daemons) -> Iterator[None]:
    """That of the clients."""
    with daemons.namespace(NAMESPACE):
        yield


@pytest.fixture(scope="module")
def loops(daemons: Daemons) -> list[Loop]:
    """A client on each node, at work."""
    made = [Loop(daemons, f"runs-{node.name}", RUNS_LOOP, node.name) for node in daemons.nodes]
    for loop in made:
        loop.wait_until_calm()
    return made


@pytest.fixture
def stays(daemons: Daemons) -> Iterator[str]:
    """A container that somebody else runs on the first node, by its node's name."""
    node = daemons.nodes[0].name
    daemons.start(NAMESPACE, client("stays", DAEMONSET, STAYS, node=node))
    daemons.said(NAMESPACE, "stays")
    yield node
    daemons.api.must("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/stays")
    ask(daemons, node, "rm --force stays")


def unexpected(found: Watched, expected: re.Pattern[str] = _DOWN) -> list[str]:
    """What clients were told that they should not have been."""
    return [
        line for line in found.failures if _CERTIFICATES.search(line) or not expected.search(line)
    ]


def daemon(daemons: Daemons, node: str) -> str:
    """The name of the daemon's Pod on a node."""
    name: str = daemons.daemon_on(node)["metadata"]["name"]
    return name


def state(daemons: Daemons, node: str) -> str:
    """Whether that container runs, since when, and how it ended."""
    wanted = "{{.State.Status}} {{.State.StartedAt}} {{.State.ExitCode}}"
    return ask(daemons, node, f"inspect --format='{wanted}' stays").strip()


def ask(daemons: Daemons, node: str, command: str) -> str:
    """Run docker in the Pod of a node's daemon, again while dockerd is down."""
    script = f"until docker --host=unix:///dinp/docker.sock {command}; do sleep 1; done"
    return daemons.execute(daemon(daemons, node), "timeout", "60", "sh", "-c", script)


def dockerd(daemons: Daemons, node: str) -> str:
    """The process id of a node's dockerd in its Pod; nothing while there is none."""
    where = ("sh", "-c", "cat /var/run/docker.pid 2>/dev/null || :")
    return daemons.execute(daemon(daemons, node), *where).strip()


@pytest.mark.parametrize(
    ("what", "command"),
    [
        ("restarted in place", "echo now >/daemon/restart"),
        ("killed", "kill -KILL $(cat /var/run/docker.pid)"),
    ],
    ids=["in place", "killed"],
)
def test_restarted(
    daemons: Daemons,
    loops: list[Loop],
    stays: str,
    what: str,
    command: str,
    request: pytest.FixtureRequest,
) -> None:
    """Clients are told that it is down until it is back, and containers that run go on."""
    before, running = state(daemons, stays), dockerd(daemons, stays)
    with watched(loops) as found:
        daemons.execute(daemon(daemons, stays), "sh", "-c", command)
        wait_until(lambda: dockerd(daemons, stays) not in ("", running), what, interval=0.5)
    teller(request)(f"dockerd of one node {what}: {found}")
    assert before.startswith("running ")
    assert before == state(daemons, stays)
    assert [] == unexpected(found)


def test_rolled(
    daemons: Daemons, loops: list[Loop], stays: str, request: pytest.FixtureRequest
) -> None:
    """The same while the Pods are replaced, but their end is the end of the containers in them."""
    with watched(loops) as found:
        daemons.restart(DAEMONSET)
    after = state(daemons, stays)
    teller(request)(f"DaemonSet rolled: a container that ran is {after}; {found}")
    assert after.startswith("exited ")
    assert [] == unexpected(found)


# ---- certificates ------------------------------------------------------------------------


@pytest.fixture
def short_lived(daemons: Daemons, loops: list[Loop]) -> Iterator[None]:
    """Certificates of a minute or two, as long as the test takes."""
    revoke(daemons, SHORT)
    daemons.install(DAEMONSET, options={"keeper": KEEPER})
    for loop in loops:
        loop.wait_until_calm()
    yield
    revoke(daemons, ())
    daemons.install(DAEMONSET)
    for loop in loops:
        loop.wait_until_calm()


def revoke(daemons: Daemons, options: Sequence[str]) -> None:
    """Begin again with CAs of other lifetimes: they do not follow each other's."""
    daemons.deployed.end_certs(SHARED_CERTS)
    for name in AUTHORITIES:
        path = f"/api/v1/namespaces/{SYSTEM}/secrets/{name}"
        assert daemons.api.request("DELETE", path).status in (200, 404)
    daemons.configure_certs(*options)


AUTHORITIES: Final = ("dinp-docker-server-ca", "dinp-docker-client-ca")


class Certificates:
    """All that is renewed, and how often it has been."""

    def __init__(self, daemons: Daemons) -> None:
        self._daemons = daemons
        self.seen: dict[str, list[object]] = {}
        self.look()

    def look(self) -> None:
        """Look again."""
        daemons = self._daemons
        found: dict[str, object] = {
            name: daemons.deployed.certs.secret(name)["ca.crt"] for name in AUTHORITIES
        }
        found["client"] = daemons.client_files(NAMESPACE).get("cert.pem")
        for node in daemons.nodes:
            found[node.name] = served(node.inside)
        for name, value in found.items():
            values = self.seen.setdefault(name, [])
            if value is not None and value not in values:
                values.append(value)

    def renewals(self) -> dict[str, int]:
        """How often each was renewed."""
        return {name: len(values) - 1 for name, values in self.seen.items()}

    def are_renewed(self) -> bool:
        """Look again, and say whether each was renewed often enough."""
        self.look()
        return min(self.renewals().values()) >= ROTATIONS


def served(address: str) -> str | None:
    """The certificate that a daemon serves with; None while it is down."""
    try:
        return ssl.get_server_certificate((address, PORT), timeout=5)
    except OSError:
        return None


@pytest.mark.tail
@pytest.mark.usefixtures("short_lived")  # first: it rolls the daemons
def test_certificates_rotated(
    daemons: Daemons,
    loops: list[Loop],
    stays: str,
    request: pytest.FixtureRequest,
) -> None:
    """With both CAs new and all certificates, nothing is cut where dockerd has a quiet moment.

    On the first node a container runs, so there is none: it is restarted when it may wait no
    longer. The container goes on.
    """
    before, (busy, quiet) = state(daemons, stays), loops
    builds = Loop(daemons, "builds", BUILDS_LOOP, quiet.node)
    builds.wait_until_calm()
    certificates = Certificates(daemons)
    with watched([busy]) as of_busy, watched([quiet]) as of_quiet, watched([builds]) as of_builds:
        wait_until(certificates.are_renewed, "all is renewed", seconds=600, interval=2)
    wanted = urgency(daemons)
    teller(request)(
        f"certificates renewed, {certificates.renewals()}\n"
        f"  {busy.node}, where a container runs, {wanted[busy.node]}: {of_busy}\n"
        f"  {quiet.node}, {wanted[quiet.node]}: {of_quiet}\n  builds: {of_builds}"
    )
    assert before.startswith("running ")
    assert before == state(daemons, stays)
    assert [] == unexpected(of_busy)
    assert [] == unexpected(of_quiet, _REFUSED)
    assert [] == unexpected(of_builds, _REFUSED)


def urgency(daemons: Daemons) -> dict[str, Counter[str]]:
    """For what each daemon's keeper wanted a restart, and whether it would wait for a quiet moment."""
    said = re.compile(r'"why": "([^"]+)", "when": "(\w+)"')
    return {
        node.name: Counter(
            f"{when}: {why}"
            for why, when in said.findall(daemons.log(daemon(daemons, node.name), "keeper"))
        )
        for node in daemons.nodes
    }
