"""Part 3: what a create costs at a real API server, with four webhooks and without.

The same Pod, one create after another on one connection, in these namespaces by turns:
`none` and `none-again` are excluded by name, so no webhook is even considered; `unconcerned`
is one whose conditions the API server evaluates and finds false; in `dinp` dinp injects.
"""

from __future__ import annotations

import base64
import gc
import http.client
import json
import random
import re
import ssl
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

from bench import reviews, servers
from bench.report import Part
from bench.servers import BenchError
from tests.cluster import assets
from tests.cluster.api import Api, Cluster
from tests.cluster.assets import AssetsError
from tests.cluster.control_plane import control_plane
from tests.cluster.installation import REGISTRATION, Installation, installed
from tests.cluster.processes import StartError, wait_until
from tools.serving import ServingError

_ROUNDS: Final = 12
_CREATES: Final = 50  # in each namespace in each round
_LONGEST: Final = 240.0
_NAMESPACES: Final[Mapping[str, str]] = {
    "none": "dinp-daemons",
    "none-again": "kube-node-lease",
    "allow": "bench-allow",
    "annotate": "bench-annotate",
    "dinp": "inject-sidecar",
    "unconcerned": "bench-unconcerned",
}
_LABELS: Final[Mapping[str, str]] = {
    "none": "(i) no webhook",
    "none-again": "(i) once more, in another namespace",
    "allow": "(ii) bare aiohttp that allows",
    "annotate": "(iii) bare aiohttp that adds one annotation",
    "dinp": "(iv) dinp",
    "unconcerned": "a create that does not concern dinp",
}
TARGETS: Final = (
    ("added to p50 by dinp: (iv - i) / (iii - i)", "≤ 1.15 x"),
    ("added to p99 by dinp: (iv - i) / (iii - i)", "≤ 1.25 x"),
    ("not concerned: calls of dinp", "0 calls"),
    ("not concerned: p50 against (i)", "within the noise"),
)
_DURATION: Final = re.compile(
    r"^apiserver_admission_webhook_admission_duration_seconds_(sum|count)"
    r'\{name="([^"]+)".*\} ([0-9.e+-]+)$',
    re.MULTILINE,
)

Rounds = list[dict[str, list[float]]]  # milliseconds of each create, by namespace


def measure() -> Part:
    """Start an API server, measure, end it.

    Raises:
        BenchError: it cannot be had.
    """
    try:
        programs = assets.find_or_build(lambda line: print(f"bench: {line}", flush=True))
        with ExitStack() as stack:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="dinp-bench-cluster-"))
            cluster = stack.enter_context(control_plane(programs, Path(name)))
            dinp = stack.enter_context(installed(cluster, Path(name)))
            for mode in ("allow", "annotate"):
                stack.enter_context(_registered(dinp.api, mode))
            return _measure(dinp)
    except (AssetsError, StartError, ServingError) as error:
        raise BenchError(f"no API server: {error}") from error


@contextmanager
def _registered(api: Api, mode: str) -> Iterator[None]:
    """Serve a peer, and have the API server call it for the namespace that bears its name."""
    with servers.peer(mode) as running:
        ca = base64.b64encode((running.directory / "ca.crt").read_bytes()).decode()
        api.must("POST", REGISTRATION, _configuration(mode, running.port, ca))
        yield


def _configuration(mode: str, port: int, ca: str) -> dict[str, Any]:
    chosen = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [_NAMESPACES[mode]]}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    entry = {
        "name": f"{mode}.bench.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "rules": [{**rule, "operations": ["CREATE"]}],
        "namespaceSelector": {"matchExpressions": [chosen]},
        "clientConfig": {"url": f"https://127.0.0.1:{port}/", "caBundle": ca},
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": f"bench-{mode}"},
        "webhooks": [entry],
    }


def _measure(dinp: Installation) -> Part:
    for namespace in _NAMESPACES.values():
        if dinp.api.get(f"/api/v1/namespaces/{namespace}").status == 404:
            dinp.api.create_namespace(namespace)
        dinp.api.create_service_account(namespace, "default")
    with closing(_Client(dinp.cluster)) as client:
        wait_until(lambda: _all_called(dinp.api), "the bare webhooks are called")
        _round(client, 20)  # warm
        calls = _calls_of_unconcerned(dinp, client)
        before, reviewed = _durations(dinp.api), dinp.reviews().total()
        rounds = _rounds(client)
        after, reviewed = _durations(dinp.api), dinp.reviews().total() - reviewed
    return _part(rounds, _mean_durations(before, after), calls, reviewed)


def _all_called(api: Api) -> bool:
    counts = _durations(api)
    for mode in ("allow", "annotate"):
        api.create_pod(_NAMESPACES[mode], reviews.authored())
    return all(f"{mode}.bench.example.com" in counts for mode in ("allow", "annotate"))


class _Client:
    """Creates as fast as http.client can: the body is encoded before, the answer not decoded."""

    def __init__(self, cluster: Cluster) -> None:
        context = ssl.create_default_context(cafile=str(cluster.ca_file))
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", cluster.port, timeout=60, context=context
        )
        token = f"Bearer {cluster.token}"
        self._headers = {"Authorization": token, "Content-Type": "application/json"}
        pod = {"apiVersion": "v1", "kind": "Pod", **reviews.authored()}
        self._body = json.dumps(pod).encode()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def create(self, namespace: str) -> float:
        """Create the Pod, for show; milliseconds."""
        path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
        began = time.perf_counter()
        self._connection.request("POST", path, self._body, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        took = time.perf_counter() - began
        if answer.status != 201:
            raise BenchError(f"a create in {namespace}: {answer.status} {text.decode()[:500]}")
        return took * 1000


def _rounds(client: _Client) -> Rounds:
    deadline = time.monotonic() + _LONGEST
    rounds: Rounds = []
    gc.disable()
    try:
        while len(rounds) < _ROUNDS and time.monotonic() < deadline:
            rounds.append(_round(client, _CREATES))
    finally:
        gc.enable()
    return rounds


def _round(client: _Client, creates: int) -> dict[str, list[float]]:
    """The order is drawn anew each time, so that none always follows the heaviest."""
    took: dict[str, list[float]] = {name: [] for name in _NAMESPACES}
    order = list(_NAMESPACES)
    for _ in range(creates):
        random.shuffle(order)
        for name in order:
            took[name].append(client.create(_NAMESPACES[name]))
    return took


def _calls_of_unconcerned(dinp: Installation, client: _Client) -> int:
    before = dinp.reviews().total()
    for _ in range(_CREATES):
        client.create(_NAMESPACES["unconcerned"])
    return dinp.reviews().total() - before


def _durations(api: Api) -> dict[str, dict[str, float]]:
    """Sum and count of the API server's own metric, by the webhook's name."""
    found: dict[str, dict[str, float]] = {}
    text = str(api.get("/metrics").body.get("message", ""))
    for what, name, value in _DURATION.findall(text):
        entry = found.setdefault(name, {"sum": 0.0, "count": 0.0})
        entry[what] += float(value)
    return found


def _mean_durations(
    before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]
) -> dict[str, tuple[float, int]]:
    """Milliseconds a call and calls, in between."""
    means = {}
    for name, now in after.items():
        then = before.get(name, {"sum": 0.0, "count": 0.0})
        count = now["count"] - then["count"]
        if count:
            means[name] = ((now["sum"] - then["sum"]) / count * 1000, int(count))
    return means


def _part(
    rounds: Rounds, means: Mapping[str, tuple[float, int]], calls: int, reviewed: int
) -> Part:
    creates = sum(len(each["dinp"]) for each in rounds)
    part = Part(f"at a real API server, {creates} creates each")
    whole = {name: sorted(ms for each in rounds for ms in each[name]) for name in _NAMESPACES}
    p50 = {name: statistics.median(found) for name, found in whole.items()}
    p99 = {name: found[int(len(found) * 0.99)] for name, found in whole.items()}
    part.figures |= {"p50": p50, "p99": p99, "rounds": rounds, "admissionMillis": dict(means)}
    for name, label in _LABELS.items():
        more = f", +{p50[name] - p50['none']:.2f} to p50" if not name.startswith("none") else ""
        part.add(label, f"p50 {p50[name]:.2f}, p99 {p99[name]:.2f} ms{more}")
    for name, (mean, count) in sorted(means.items()):
        part.add(f"  the API server's own: {name}", f"{mean:.2f} ms a call, {count} calls")
    part.add("  dinp called a create", f"{reviewed / creates:.2f} times")
    for (what, target), quantile, most in zip(TARGETS, (p50, p99), (1.15, 1.25), strict=False):
        ours, floor = (quantile[name] - quantile["none"] for name in ("dinp", "annotate"))
        measured = f"{ours / floor:.2f} x ({ours:.2f} / {floor:.2f} ms)" if floor > 0 else "noise"
        part.add(what, measured, target, floor > 0 and ours / floor <= most)
    _add_unconcerned(part, rounds, calls)
    return part


def _add_unconcerned(part: Part, rounds: Rounds, calls: int) -> None:
    medians = [{name: statistics.median(found) for name, found in each.items()} for each in rounds]
    noise = statistics.pstdev(each["none-again"] - each["none"] for each in medians)
    off = statistics.median(each["unconcerned"] - each["none"] for each in medians)
    part.figures |= {"unconcernedMillis": off, "noiseMillis": noise}
    part.add(TARGETS[2][0], f"{calls} calls in {_CREATES}", TARGETS[2][1], calls == 0)
    measured = f"{off:+.2f} ms; (i) against itself: ± {noise:.2f} ms a round"
    part.add(TARGETS[3][0], measured, TARGETS[3][1], abs(off) <= noise)
