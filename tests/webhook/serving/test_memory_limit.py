"""`dinp serve` in a memory cgroup of the manifest's limit: strangers neither kill nor occupy it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.webhook.serving.test_command import BODY, PATH, get, send
from tools.attack.cgroup import Cgroup, cgroup
from tools.serving import Serving, admission_review, serving
from webhook.pods import bounds
from webhook.serving import reviewer

pytestmark = pytest.mark.root

ROOT: Final = Path(__file__).parents[3]
# More than the server takes on either port, spread over processes that may have 1,024 files each.
CROWD: Final = 1100
PROCESSES: Final = 4


def manifest_limit() -> int:
    """Bytes, of the container in the Deployment."""
    deployment = yaml.safe_load((ROOT / "manifests/base/deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    limit = str(container["resources"]["limits"]["memory"])
    assert limit.endswith("Mi")
    return int(limit.removesuffix("Mi")) * bounds.MIB


@contextmanager
def limited() -> Iterator[tuple[Serving, Cgroup]]:
    """A server that has what its container would have."""
    with cgroup(manifest_limit()) as room, serving(within_cgroup=room.command) as server:
        yield server, room
        print(f"peak: {(room.peak() or 0) / bounds.MIB:.0f} MiB")  # noqa: T201 - shown where it fails
        assert server.process.poll() is None
        assert room.kills() == 0


@contextmanager
def crowd(server: Serving, kind: str, count: int) -> Iterator[None]:
    """So many clients of that kind; see crowd.py."""
    port = server.health_port if kind.startswith("plain") else server.port
    command = [sys.executable, "-m", "tests.webhook.serving.crowd", kind, str(port)]
    command += [str(server.directory / "ca.crt"), str(-(-count // PROCESSES))]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(  # noqa: S603 - our own program
                    command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for _ in range(PROCESSES if count > PROCESSES else 1)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()


def assert_served(server: Serving) -> None:
    """A fresh review and a fresh health check are answered."""
    assert send(server, BODY) == 200
    assert get(f"{server.health_url}/healthz") == (200, "ok\n")


def post(server: Serving, body: bytes) -> tuple[int, str]:
    server.connection.request("POST", PATH, body, {"Content-Type": "application/json"})
    answer = server.connection.getresponse()
    return answer.status, answer.read().decode()


def dense(path: tuple[str, ...], unit: str, size: int) -> bytes:
    """A review whose Pod is `size` bytes of `unit` in the list at `path`."""
    pod: dict[str, Any] = {
        "metadata": {"name": "a", "annotations": {"dinp.io/inject": "sidecar"}},
        "spec": {"containers": [{"name": "a"}]},
    }
    node: Any = pod
    for step in path[:-1]:
        node = node[0][step] if isinstance(node, list) else node.setdefault(step, {})
    target = node[0] if isinstance(node, list) else node
    target[path[-1]] = ["here"]
    text = json.dumps(admission_review(pod))
    units = ",".join([unit] * (size // (len(unit) + 1)))
    return text.replace('["here"]', f"[{units}]").encode()


AT_REST: Final = "the server at rest, after 100,000 reviews"
CONTAINER: Final = ("spec", "containers")
DENSE: Final = {
    "env": ((*CONTAINER, "env"), '{"name":"a"}'),
    "args": ((*CONTAINER, "args"), '"a"'),
    "empty objects": (("spec", "tolerations"), "{}"),
    "small objects": (("spec", "tolerations"), '{"a":1}'),
    "owners": (("metadata", "ownerReferences"), "{}"),
    "volumes": (("spec", "volumes"), '{"name":"a"}'),
    "lists in lists": ((*CONTAINER, "ports"), "[[],[]]"),
    "lists where maps belong": ((*CONTAINER, "securityContext"), "[]"),
    "numbers": (("spec", "securityContext", "supplementalGroups"), "1000"),
    "deep": (("spec", "tolerations"), "[" * 900 + "]" * 900),
    "too deep": (("spec", "tolerations"), "[" * 90_000 + "]" * 90_000),
    "what nobody reads": (("spec", "newIn2030"), "{}"),
}


def test_the_sum_is_the_manifests() -> None:
    """What the server may hold fits the memory limit of its Deployment, and that is the one in bounds."""
    assert manifest_limit() == bounds.MEMORY_LIMIT
    assert sum(bounds.MEMORY.values()) <= bounds.MEMORY_LIMIT
    assert bounds.BODY <= bounds.HELD


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        *((kind, CROWD) for kind in ("idle", "half_open", "slow")),
        *((kind, CROWD) for kind in ("plain_idle", "plain_slow")),
        *(("stalled", 20), ("large_heads", 64), ("deaf", 64), ("plain_deaf", 200)),
    ],
)
def test_crowd(kind: str, count: int) -> None:
    """While more clients than there is room for hold the port, others are served, within the limit."""
    with limited() as (server, room), crowd(server, kind, count):
        assert_served(server)
        peak = room.peak() or 0

    # Of which idle ones are no more than their part of the sum, and the reviewer at rest.
    parts = [value for name, value in bounds.MEMORY.items() if "connections" in name]
    assert "idle" not in kind or peak < sum(parts) + 3 * bounds.MEMORY[AT_REST] // 2


@pytest.mark.parametrize("name", DENSE)
def test_dense_body(name: str) -> None:
    """However dense: what an API server can send is reviewed, the largest body reviewed or refused in words."""
    path, unit = DENSE[name]
    with limited() as (server, _):
        status, said = post(server, dense(path, unit, 3 * bounds.MIB))
        largest, why = post(server, dense(path, unit, bounds.BODY - 4096))
        assert_served(server)

    no_pod = "deep" in name or "lists" in name  # as no API server sends it
    assert status == (413 if no_pod else 200), said[:300]
    assert largest == (200 if name == "numbers" else 413)
    assert "patch" in why or "would take more memory than the " in why


def test_everything_at_once() -> None:
    """Crowds of every kind together, and the densest bodies: all within the limit."""
    densest = dense(*DENSE["owners"], 3 * bounds.MIB)
    kinds = {"idle": 300, "slow": 300, "half_open": 300, "stalled": 20, "large_heads": 64}
    with limited() as (server, _), ExitStack() as stack:
        for kind, count in {**kinds, "plain_slow": 300, "deaf": 64}.items():
            stack.enter_context(crowd(server, kind, count))
        assert post(server, densest)[0] in {200, 503}
        assert_served(server)


# ---- what it takes -------------------------------------------------------------------------

PEAKS = """
import gc, itertools, json, re
from pathlib import Path
import msgspec
from tests.webhook import large_pods
from tools.serving import admission_review
from webhook import admission
from webhook.asking.config import Config
from webhook.asking.rules import RULES
from webhook.serving import memory

gc.disable()
SIZE = 1 << 19

def kib(what):
    return int(re.search(what + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def body(family, n):
    return msgspec.json.encode(admission_review(family.grown(n)))

def peak(family, path):
    few = len(body(family, 100))
    reviewed = body(family, int(SIZE / max((len(body(family, 1100)) - few) / 1000, 1)))
    memory.give_back(1 << 30)
    before = kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    admission.review(reviewed, RULES[path], Config())
    return (kib("VmHWM") - before) * 1024

families = [one for one in large_pods.families() if one.name.startswith("list")]
paths = ("/pods/inject/sidecar", "/pods/migrate/sidecar", "/pods/migrate/daemonset")
found = {family.name: peak(family, path) for family, path in zip(families, itertools.cycle(paths))}
print(json.dumps(found))
"""


def test_largest_pods_fit() -> None:
    """Whichever list of a Pod the API server's 3 MiB are made of: their review takes what the process has."""
    command = [sys.executable, "-c", PEAKS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    assert len(found) > 200
    most = (bounds.REVIEWER - reviewer._INTERPRETER) // 6  # for half a MiB
    assert {} == {name: took for name, took in found.items() if took > most}
