"""Pods of public repositories that build with the node's Docker, migrated and run.

Each keeps its shape: mounts, environment, securityContext, init containers. What this node
cannot have, or no API server takes, is replaced by `_RULES`, and by nothing else.
"""

from __future__ import annotations

import copy
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import pytest

from tests import selection
from tests.node import pods
from tests.node.cluster import NodeCluster
from tests.node.contents import CLIENT
from tools import corpus
from tools.corpus import CORPUS, Row
from webhook.asking import rules

pytestmark = pytest.mark.node

NAMESPACE: Final = "corpus"
ROWS: Final[Mapping[str, Row]] = {
    row.name: row
    for row in (corpus.read(CORPUS) if CORPUS.is_dir() else ())
    if row.expect == "migrate"
}
_SAMPLE: Final = 5  # one row of so many is not in the tail
_RUN_DIRECTORIES: Final = ("/run", "/var/run")

Pod = dict[str, Any]
Container = dict[str, Any]


def _containers(pod: Pod) -> Iterator[Container]:
    yield from pod["spec"].get("initContainers") or ()
    yield from pod["spec"]["containers"]


def _volumes(pod: Pod) -> list[dict[str, Any]]:
    return pod["spec"].get("volumes") or []


def _mounts(container: Container) -> list[dict[str, Any]]:
    return container.get("volumeMounts") or []


def _mounted(pod: Pod, container: Container) -> dict[str, str]:
    """By mountPath: the paths on the node that this container has Docker's socket by."""
    paths = {volume["name"]: (volume.get("hostPath") or {}).get("path") for volume in _volumes(pod)}
    found = {mount["mountPath"]: paths[mount["name"]] or "" for mount in _mounts(container)}
    return {
        at: path
        for at, path in found.items()
        if path in _RUN_DIRECTORIES or path.endswith("/docker.sock")
    }


def _sockets(pod: Pod, container: Container) -> list[str]:
    """Where it mounts the socket itself."""
    return [at for at, path in _mounted(pod, container).items() if path not in _RUN_DIRECTORIES]


# ---- what is replaced --------------------------------------------------------------------


def _name_by_row(pod: Pod) -> None:
    pod["metadata"]["name"] = f"corpus-{pod['metadata']['name']}"


def _drop_owners(pod: Pod) -> None:
    pod["metadata"].pop("ownerReferences", None)


def _ask(pod: Pod) -> None:
    if not any(_sockets(pod, container) for container in _containers(pod)):
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations[rules.INJECT] = "sidecar"


def _run_client(pod: Pod) -> None:
    for container in _containers(pod):
        container["image"] = CLIENT
        container["command"] = ["sh", "-euxc", _script(pod, container)]
        container.pop("args", None)


def _script(pod: Pod, container: Container) -> str:
    """Ask for the version by the environment, and by each mounted path without it."""
    if not _mounted(pod, container):
        return "true"
    lines = ["docker version --format 'by the environment: {{.Server.Version}}'"]
    for at in _sockets(pod, container):
        by_path = f"docker --host=unix://{at} version --format 'by {at}: {{{{.Server.Version}}}}'"
        lines.append(f"env -u DOCKER_HOST -u DOCKER_TLS_VERIFY {by_path}")
    return "\n".join(lines)


def _never_again(pod: Pod) -> None:
    pod["spec"]["restartPolicy"] = "Never"


def _drop_probes(pod: Pod) -> None:
    for container in _containers(pod):
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            container.pop(probe, None)


def _drop_names(pod: Pod) -> None:
    for name in ("runtimeClassName", "priorityClassName", "dnsPolicy"):
        if pod["spec"].get(name) == "tmpl":
            del pod["spec"][name]


def _ask_for_less(pod: Pod) -> None:
    less = {"30": "200m", "110Gi": "256Mi"}
    for container in _containers(pod):
        for asked in (container.get("resources") or {}).values():
            asked |= {name: less.get(value, value) for name, value in asked.items()}


def _claim_nothing(pod: Pod) -> None:
    for volume in _volumes(pod):
        if volume.pop("persistentVolumeClaim", None) is not None:
            volume["emptyDir"] = {}


def _drop_relative_paths(pod: Pod) -> None:
    for volume in _volumes(pod):
        path = volume.get("hostPath", {}).get("path", "")
        if "hostPath" in volume and not path.startswith("/"):
            del volume["hostPath"]
            volume["emptyDir"] = {}


def _part_mounts(pod: Pod) -> None:
    for container in _containers(pod):
        seen: Counter[str] = Counter()
        for mount in _mounts(container):
            path = mount["mountPath"]
            seen[path] += 1
            mount["mountPath"] = path if seen[path] == 1 else f"{path}-{seen[path]}"


# In this order. What a Pod refers to in its namespace is made: see `_objects`.
_RULES: Final[Mapping[Callable[[Pod], None], str]] = {
    _name_by_row: "several have the same name",
    _drop_owners: "the garbage collector deletes a Pod whose owner is not there",
    _ask: "a mount of the whole directory is no trigger: such a Pod asks by annotation",
    _run_client: "no image can be pulled",
    _never_again: "what they say is read at their end",
    _drop_probes: "they ask the application, which is not there",
    _drop_names: "values of a template: they name nothing, or are none of those allowed",
    _ask_for_less: "more than the node has",
    _claim_nothing: "the node has no storage for claims, and one claim has no name",
    _drop_relative_paths: "values of a template: a path on the node begins with /",
    _part_mounts: "values of a template: no two mounts may have one path",
}


def _runnable(row: Row) -> Pod:
    pod = copy.deepcopy(row.pod)
    pod["metadata"]["name"] = row.name
    for replace in _RULES:
        replace(pod)
    return pod


# ---- what they refer to ------------------------------------------------------------------


def _objects() -> dict[tuple[str, str], set[str]]:
    """Each ConfigMap and Secret by its kind and name, with the keys that some Pod wants."""
    wanted: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in ROWS.values():
        for kind, name, keys in (*_of_volumes(row.pod), *_of_environment(row.pod)):
            wanted[kind, name] |= keys
    return wanted


def _of_volumes(pod: Pod) -> Iterator[tuple[str, str, set[str]]]:
    for volume in _volumes(pod):
        if source := volume.get("secret"):
            yield "Secret", source["secretName"], _keys(pod, volume, source)
        if source := volume.get("configMap"):
            yield "ConfigMap", source["name"], _keys(pod, volume, source)


def _of_environment(pod: Pod) -> Iterator[tuple[str, str, set[str]]]:
    for container in _containers(pod):
        for source in container.get("envFrom") or ():
            yield "ConfigMap", source["configMapRef"]["name"], set()
        for variable in container.get("env") or ():
            if key := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield "Secret", key["name"], {key["key"]}


def _keys(pod: Pod, volume: Mapping[str, Any], source: Mapping[str, Any]) -> set[str]:
    """Those that the volume lists, else those that are mounted by themselves."""
    if items := source.get("items"):
        return {item["key"] for item in items}
    mounts = [mount for container in _containers(pod) for mount in _mounts(container)]
    return {it["subPath"] for it in mounts if it["name"] == volume["name"] and "subPath" in it}


def _make_namespace(node: NodeCluster) -> None:
    assert node.api.create_namespace(NAMESPACE, {rules.MIGRATE: "sidecar"}).status == 201
    for row in ROWS.values():
        spec = row.pod["spec"]
        if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
            node.api.create_service_account(NAMESPACE, account)
    for (kind, name), keys in _objects().items():
        # Such a text is a configuration of the docker CLI too, as which some are mounted.
        content = dict.fromkeys(keys, "{}")
        data = {"stringData" if kind == "Secret" else "data": content}
        path = f"/api/v1/namespaces/{NAMESPACE}/{kind.lower()}s"
        node.api.must("POST", path, {"metadata": {"name": name}, **data})


# ---- the tests ---------------------------------------------------------------------------

if not ROWS and "CI" in os.environ and CORPUS.parent.is_dir():

    def test_the_corpus_is_there() -> None:
        """CI has the corpus wherever it has the folder that it belongs to."""
        pytest.fail(f"{CORPUS} has no Pods that are to be migrated, and {CORPUS.parent} is there")


if ROWS:

    @pytest.fixture(scope="module")
    def ran(node: NodeCluster, request: pytest.FixtureRequest) -> dict[str, Pod]:
        """The Pod of each row that a test asks for, as the API server got it; all have ended."""
        _make_namespace(node)
        wanted = selection.asked(request, "name")
        given = {name: _runnable(row) for name, row in ROWS.items() if name in wanted}
        pods.run_in_turn(node.api, NAMESPACE, given.values())
        return given

    @pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=() if number % _SAMPLE == 0 else pytest.mark.tail)
            for number, name in enumerate(ROWS)
        ],
    )
    def test_a_real_pod_has_docker(node: NodeCluster, ran: dict[str, Pod], name: str) -> None:
        """`docker version` works in each container that mounted the socket, and by its path too."""
        pod = ran[name]
        clients = [one for one in _containers(pod) if _mounted(pod, one)]
        assert clients
        for client in clients:
            said = pods.said_at_end(
                node.cluster,
                NAMESPACE,
                pod["metadata"]["name"],
                api=node.api,
                container=client["name"],
            ).splitlines()
            ways = ["the environment", *_sockets(pod, client)]
            assert ways == [
                way for way in ways if any(it.startswith(f"by {way}: 29.") for it in said)
            ]

    @pytest.mark.parametrize("replace", _RULES, ids=lambda replace: replace.__name__.strip("_"))
    def test_a_rule_is_needed(replace: Callable[[Pod], None]) -> None:
        """Nothing is replaced but what some row has."""
        changed = [copy.deepcopy(row.pod) for row in ROWS.values()]
        for pod in changed:
            replace(pod)
        assert changed != [row.pod for row in ROWS.values()]
