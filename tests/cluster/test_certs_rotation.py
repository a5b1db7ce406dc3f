"""Rotations under load: the real certs, the real server, a real API server that calls it."""

from __future__ import annotations

import http.client
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.api import Answer, Api, Cluster, Object
from tests.cluster.installation import REGISTRATION, is_injected, small_pod
from tests.cluster.processes import running, wait_until
from tests.cluster.test_certs import Site, make_site, webhook_configuration
from tests.terminal import teller
from tools.certificates import write_mounted
from tools.serving import serving

pytestmark = pytest.mark.cluster

CREATES_PER_SECOND: Final = 20
# The kubelet of this test takes up to half a second, dinp serve looks every 5 s.
LIFETIMES: Final = {
    "CA_LIFETIME": "1m",
    "LEAF_LIFETIME": "45s",
    "PROPAGATION": "2s",
    "DELIVERY": "9s",
}


@dataclass
class Load:
    """What has happened so far."""

    creates: int = 0
    handshakes: int = 0
    failures: list[str] = field(default_factory=list)
    authorities: list[bytes] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)


@pytest.mark.parametrize(
    ("rotations", "restarts"),
    [
        (1, (25.0,)),
        pytest.param(3, (25.0, 40.0, 55.0, 85.0, 100.0), marks=pytest.mark.tail),
    ],
    ids=["one CA after the first", "three"],
)
def test_rotations_drop_nothing(
    cluster: Cluster,
    tmp_path: Path,
    rotations: int,
    restarts: tuple[float, ...],
    request: pytest.FixtureRequest,
) -> None:
    """CAs of a minute, certs restarted so many seconds on, 20 creates a second: none fails."""
    load = Load()
    with closing(Api(cluster)) as api, ExitStack() as stack:
        site = make_site(api, cluster, f"certs-load-{rotations}", tmp_path)
        address = _expose(site)
        replicas = [Certs(site, tmp_path / f"certs-{number}.log") for number in range(2)]
        for replica in replicas:
            stack.callback(replica.stop)
            replica.start()
        mounted = tmp_path / "mounted"
        wait_until(lambda: _deliver(site, mounted, load), "the first certificate")
        stack.enter_context(_every(0.5, lambda: _deliver(site, mounted, load), load))
        stack.enter_context(_served(address, mounted))
        wait_until(lambda: is_injected(_create(api, site)), "the webhook is called")
        began = time.monotonic()
        stack.enter_context(_creating(site, load))
        stack.enter_context(_every(0.2, lambda: _shake_hands(site, address, load), load))
        _watch_rotations(site, replicas, load, rotations, [*restarts])
        took = time.monotonic() - began
    teller(request)(
        f"{len(load.authorities) - 1} CA rotations, {len(set(load.leaves))} leaves, "
        f"{load.creates} creates and {load.handshakes} fresh handshakes in {took:.0f} s, "
        f"failures: {len(load.failures)}"
    )
    assert [] == load.failures
    assert load.creates > took * CREATES_PER_SECOND / 2


class Certs:
    """One `dinp certs run` as a process."""

    def __init__(self, site: Site, log: Path) -> None:
        self._site = site
        self._log = log
        self._running = ExitStack()

    def start(self) -> None:
        arguments = {
            "namespace": self._site.namespace,
            "configuration": self._site.configuration,
            "kubeconfig": str(self._site.kubeconfig),
            "health-port": "0",
        }
        arguments |= {name.lower().replace("_", "-"): value for name, value in LIFETIMES.items()}
        command = [sys.executable, "-c", "from certs.cli import certs; certs()", "run"]
        command += [f"--{name}={value}" for name, value in arguments.items()]
        self._running.enter_context(running(command, self._log))

    def stop(self) -> None:
        """SIGKILL: wherever it stands."""
        self._running.close()


def _expose(site: Site) -> str:
    """Make the Service, have the configuration call it for this namespace; return its address."""
    ports = [{"name": "https", "port": 443}]
    service: Object = {"metadata": {"name": "dinp"}, "spec": {"ports": ports}}
    made = site.api.must("POST", f"/api/v1/namespaces/{site.namespace}/services", service)
    whole = webhook_configuration(site.namespace)
    for webhook in whole["webhooks"]:
        webhook["clientConfig"]["service"]["namespace"] = site.namespace
        if webhook["name"] == "inject-sidecar.dinp.io":
            webhook["namespaceSelector"] = {
                "matchLabels": {"kubernetes.io/metadata.name": site.namespace}
            }
    site.api.must("DELETE", site.configuration_path)
    site.api.must("POST", REGISTRATION, whole)
    address: str = made["spec"]["clusterIP"]
    return address


def _deliver(site: Site, mounted: Path, load: Load) -> bool:
    """Be the kubelet: bring a Secret that has changed to where it is mounted."""
    with closing(Api(site.cluster)) as api:
        files = replace(site, api=api).secret("dinp-tls")
    if not files.get("tls.crt"):
        return False
    if load.leaves[-1:] == [files["tls.crt"]]:
        return True
    load.leaves.append(files["tls.crt"])
    write_mounted(mounted, files)
    return True


@contextmanager
def _served(address: str, mounted: Path) -> Iterator[None]:
    with serving(
        *("--bind-address", address, "--secure-port", "443"),
        *("--tls-cert-file", str(mounted / "tls.crt")),
        *("--tls-private-key-file", str(mounted / "tls.key")),
    ):
        yield


@contextmanager
def _every(seconds: float, act: Callable[[], object], load: Load) -> Iterator[None]:
    """Do it again and again in a thread; what goes wrong is a failure."""
    over = threading.Event()

    def work() -> None:
        due = time.monotonic() + seconds
        while not over.wait(max(0, due - time.monotonic())):
            due += seconds
            try:
                act()
            except (OSError, http.client.HTTPException) as error:
                load.failures.append(repr(error))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _creating(site: Site, load: Load) -> Iterator[None]:
    with closing(Api(site.cluster)) as api:

        def create() -> None:
            answer = _create(api, site)
            load.creates += 1
            if not is_injected(answer):
                load.failures.append(f"{answer.status} {answer.message}")

        with _every(1 / CREATES_PER_SECOND, create, load):
            yield


def _create(api: Api, site: Site) -> Answer:
    return api.create_pod(site.namespace, small_pod())


def _shake_hands(site: Site, address: str, load: Load) -> None:
    """Connect anew, as an API server that goes by the caBundle that is stored now."""
    with closing(Api(site.cluster)) as api:
        bundles = set(replace(site, api=api).bundles())
    for bundle in bundles:
        context = ssl.create_default_context(cadata=bundle.decode())
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        raw = socket.create_connection((address, 443), timeout=10)
        with raw, context.wrap_socket(raw, server_hostname=f"dinp.{site.namespace}.svc"):
            load.handshakes += 1


def _watch_rotations(
    site: Site, replicas: list[Certs], load: Load, rotations: int, restarts: list[float]
) -> None:
    """Wait for the rotations, and restart one replica of certs after the other meanwhile."""
    began = time.monotonic()
    while len(load.authorities) <= rotations:
        signing = site.secret("dinp-ca")["ca.crt"]
        if signing not in load.authorities:
            load.authorities.append(signing)
        elapsed = time.monotonic() - began
        assert elapsed < 70 * (rotations + 1), "the rotations do not come"
        if restarts and elapsed > restarts[0]:
            del restarts[0]
            replicas[len(restarts) % 2].stop()
            replicas[len(restarts) % 2].start()
        time.sleep(0.2)
