"""What others write costs `dinp certs run` neither memory nor many requests, at a real API server.

The process has the memory of its manifest. Whoever may create Secrets can name one as dinp names those
of clients; whoever is root on a shared daemon can send requests for certificates.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import yaml

from certs import calls, progress
from certs.shared.names import Names
from certs.shared.policy import Policy
from certs.shared.requests import SIGNER
from certs.shared.rotation import Rotation
from certs.shared.store import Store
from tests.certs.shared import objects
from tests.cluster.api import MERGE_PATCH, Api, Object
from tests.cluster.installation import SHARED
from tests.cluster.processes import running, wait_until
from tests.cluster.test_certs import Tell
from tests.cluster.test_self_check import Site, bare
from tests.terminal import teller
from tools.attack.cgroup import Cgroup, cgroup

pytestmark = pytest.mark.cluster
__all__ = ["bare"]  # the manifests, and who run-shared is there

MEBIBYTE: Final = 2**20
LARGE: Final = 60
REQUESTS: Final = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
ALLOWED: Final = {"dinp.io/shared-daemon": "allowed"}
OURS: Final = {"app.kubernetes.io/managed-by": "dinp-certs"}
_UNITS: Final = {"Mi": MEBIBYTE, "Gi": 1024 * MEBIBYTE}


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Print a measured figure."""
    return teller(request)


def secret_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets/dinp-client-tls"


def manifest_limit() -> int:
    """The bytes of memory that manifests/shared gives the container."""
    deployment = yaml.safe_load((SHARED / "certs-deployment.yaml").read_text(encoding="utf-8"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    number, unit = re.fullmatch(r"(\d+)(\w+)", container["resources"]["limits"]["memory"]).groups()  # type: ignore[union-attr]  # it has a limit
    return int(number) * _UNITS[unit]


@contextmanager
def certs(bare: Site, room: Cgroup, log: Path) -> Iterator[str]:
    """Run it with the memory of its manifest; yield the address of its health port."""
    program = [sys.executable, "-c", "from certs.cli import certs; certs()", "run-shared"]
    program += [f"--kubeconfig={bare.kubeconfig}", "--bind-address=127.0.0.1", "--health-port=0"]
    with running(room.command(program), log) as process:

        def port() -> str:
            assert process.poll() is None, log.read_text(encoding="utf-8")[-2000:]
            found = re.search(r'"health_port": (\d+)', log.read_text(encoding="utf-8"))
            return found[1] if found else ""

        wait_until(lambda: bool(port()), "certs runs")
        yield f"http://127.0.0.1:{port()}"
        assert process.poll() is None, log.read_text(encoding="utf-8")[-2000:]


def asked(address: str, path: str) -> str:
    """What the health port answers."""
    with urllib.request.urlopen(f"{address}{path}", timeout=30) as answer:  # noqa: S310 - by HTTP, of our own process
        return str(answer.read().decode())


def metrics_of(address: str) -> dict[str, float]:
    """dinp's own time series."""
    lines = asked(address, "/metrics").splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith("dinp_certs"))
    return {name: float(value) for name, _, value in found}


async def test_requests_in_a_large_cluster(bare: Site, tell: Tell) -> None:
    """Of 200 namespaces each is written once; a pass that finds all right sends a handful of requests."""
    api = bare.admin
    for at in range(200):
        assert api.create_namespace(f"many-{at}", {"dinp.io/inject": "service"}).status == 201
    sent: list[int] = []
    async with calls.connected(bare.kubeconfig) as connection:
        rotation = Rotation(Store(connection, Names()), Policy())

        async def count() -> int:
            sent.clear()
            with progress.told(lambda: sent.append(1)):
                await rotation.run_pass()
            return len(sent)

        first = await count()
        await count()  # what the first has failed to do
        steady = [await count() for _ in range(3)]
        patch: Object = {"data": {"cert.pem": ""}}
        api.must("PATCH", secret_path("many-7"), patch, media_type=MERGE_PATCH)
        one = await count()
        labels: Object = {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}
        api.must("PATCH", secret_path("many-8"), labels, media_type=MERGE_PATCH)
        await count()
    tell(f"200 namespaces: {first} requests, then {steady} a pass, {one} where one has changed")
    assert max(steady) <= 8
    assert one == steady[0] + 2
    found = [api.must("GET", secret_path(f"many-{at}")) for at in range(200)]
    assert all(OURS.items() <= it["metadata"]["labels"].items() for it in found)
    assert all("cert.pem" in it["data"] for it in found)


def make_large(api: Api, at: int) -> Object:
    """A Secret of a megabyte: somebody's, dinp's own with somebody's key, or where nobody may have one."""
    name = f"large-{at}"
    kind = at % 3
    assert api.create_namespace(name, {} if kind == 2 else ALLOWED).status == 201
    key = "other" if kind == 1 else "ca.pem"
    data = {key: b64encode(os.urandom(1_000_000)).decode()}
    metadata: Object = {"name": "dinp-client-tls", "annotations": {"a": "\n" * 250_000}}
    if kind == 1:
        metadata["labels"] = OURS
    whole: Object = {"metadata": metadata, "type": "Opaque", "data": data}
    created = api.must("POST", secret_path(name).rpartition("/")[0], whole)
    return {"data": data, "version": created["metadata"]["resourceVersion"]}


def send_large_request(api: Api) -> None:
    """A megabyte of text before a good request, which the API server takes."""
    pem = b"x" * 900_000 + b"\n" + objects.pem(("192.0.2.1",))
    spec = {"signerName": SIGNER, "usages": ["digital signature", "server auth"]}
    spec["request"] = b64encode(pem).decode()
    metadata = {"generateName": "dinp-docker-large-"}
    api.must("POST", REQUESTS, {"metadata": metadata, "spec": spec})


def test_what_others_write_costs_no_memory(bare: Site, tmp_path: Path, tell: Tell) -> None:
    """60 Secrets and 20 requests of a megabyte: never killed, others get theirs, nobody's data is lost."""
    api = bare.admin
    made = {f"large-{at}": make_large(api, at) for at in range(LARGE)}
    for _ in range(20):
        send_large_request(api)
    log, limit = tmp_path / "log", manifest_limit()
    with cgroup(limit) as room:
        with certs(bare, room, log) as address:
            for number in range(3):
                name = f"tenant-{number}"
                assert api.create_namespace(name, ALLOWED).status == 201
                wait_until(lambda name=name: api.get(secret_path(name)).status == 200, name)  # type: ignore[misc]  # mypy sees no default
            told = 'dinp_certs_not_done{of="shared-daemons"}'
            wait_until(lambda: metrics_of(address)[told] == LARGE / 3 + 20, "all are looked at")
            assert asked(address, "/readyz") == "ok\n"
            certificates = metrics_of(address)['dinp_certs_certificates{kind="client"}']
            wait_until(lambda: _told(log) == LARGE // 3 + 20, "each is told of")
        peak, kills = room.peak(), room.kills()
    tell(
        f"{LARGE} Secrets and 20 requests of 1 MB: at most {(peak or 0) / MEBIBYTE:.0f} of "
        f"{limit / MEBIBYTE:.0f} MiB, killed {kills} times, {certificates:.0f} certificates of clients"
    )
    assert kills == 0
    for at, (name, before) in enumerate(made.items()):
        _check(api.must("GET", secret_path(name)), before, renewed=at % 3 == 1)


def _told(log: Path) -> int:
    """How many failures have been told of; each once."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    errors = Counter(line["error"] for line in lines if line["event"].startswith("not done"))
    assert {1} >= set(errors.values())
    return len(errors)


def _check(now: Object, before: Object, *, renewed: bool) -> None:
    assert before["data"].items() <= now["data"].items()
    assert renewed is ("cert.pem" in now["data"])
    if not renewed:
        assert before["version"] == now["metadata"]["resourceVersion"]
