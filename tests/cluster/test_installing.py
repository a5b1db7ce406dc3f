"""The manifests applied, applied again, upgraded to and removed, as kubectl and the API server do it.

No controllers run here. So Deployments make no Pods, and what kube-controller-manager does to a
namespace that is deleted is done by `finish_namespace`. tests/installation has all of it on nodes.
"""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from certs import authority, calls
from certs.shared.names import Names
from certs.shared.policy import Policy
from certs.shared.rotation import Rotation
from certs.shared.store import Store
from tests.cluster.api import MERGE_PATCH, Api, Cluster, Object
from tests.cluster.installation import (
    BASE,
    CONFIGURATION,
    MANIFESTS,
    SHARED,
    is_injected,
    kustomization,
    publish,
    small_pod,
    write_kubeconfig,
)
from tests.cluster.processes import running, wait_until
from tests.cluster.test_certs import Site, installed_site, writes
from tests.terminal import teller
from tools.certificates import DAY
from tools.serving import post_review, serving
from webhook.asking import rules

pytestmark = pytest.mark.cluster

ROOT: Final = BASE.parents[1]
NAMESPACE: Final = "dinp-system"
DAEMONS: Final = "dinp-daemons"
NAMESPACES: Final = (NAMESPACE, DAEMONS)
CLIENT: Final = "dinp-client-tls"
WORKLOADS: Final = ("Deployment", "DaemonSet", "StatefulSet")
# What an administrator may have: the first alone, or with shared daemons.
PLAIN: Final = ("overlays/daemonset-plain", "overlays/service-plain")
WHOLES: Final = {
    "the base": ("base",),
    "all": ("base", "shared", "daemonset", "service"),
    "variants": ("base", "shared/namespace", *PLAIN),
}
PART_OF: Final = "app.kubernetes.io/part-of"
CLIENT_SIDE: Final = ("apply", "--validate=strict", "--kustomize")
SERVER_SIDE: Final = ("apply", "--validate=strict", "--server-side", "--kustomize")
WAYS: Final = {"client-side": CLIENT_SIDE, "server-side": SERVER_SIDE}
# kubectl sends the selector of every PodDisruptionBudget again, whatever is there: its patch
# strategy is `replace`. The API server sees that nothing changes.
QUIRK: Final = "poddisruptionbudget.policy/dinp configured"
# Who commits rarely has few, who commits often need not wait for all of them.
EARLIER: Final = 4
MEBIBYTE: Final = 1024 * 1024
UNITS: Final = {"Ki": 1024, "Mi": MEBIBYTE, "Gi": 1024 * MEBIBYTE}

# What the API server itself makes of what it is told.
OF_EVENTS: Final = {"events", "events.events.k8s.io"}
OF_API_SERVER: Final = OF_EVENTS | {"ipaddresses.networking.k8s.io"}

Name = tuple[str, str, str]  # resource.group, namespace, name
Tell = Callable[[str], None]


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Print a measured figure."""
    return teller(request)


@pytest.fixture(scope="module")
def admin(own_cluster: Cluster) -> Iterator[Api]:
    """The administrator's connection."""
    with closing(Api(own_cluster)) as api:
        yield api


@pytest.fixture
def empty(admin: Api) -> Iterator[Api]:
    """A cluster without dinp, before and after a test."""
    for namespace in NAMESPACES:
        assert admin.get(f"/api/v1/namespaces/{namespace}").status == 404
    yield admin
    remove(admin)
    finish_namespaces(admin)


@pytest.fixture(params=WHOLES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kustomization of manifests/base, alone and with what goes on top of it."""
    return kustomization(tmp_path_factory.mktemp("whole"), *WHOLES[request.param])


@pytest.fixture
def site(empty: Api, tmp_path: Path) -> Site:
    """manifests/base, where `dinp certs run` has done its first pass, and manifests/shared."""
    apply(empty)
    apply(empty, SHARED)
    made = installed_site(empty, tmp_path)
    assert asyncio.run(writes(made)) == 3
    return made


@pytest.fixture(scope="module")
def built(own_cluster: Cluster) -> list[Object]:
    """The objects that kubectl makes of manifests/base and manifests/shared."""
    return [*objects(own_cluster, BASE), *objects(own_cluster, SHARED)]


def objects(cluster: Cluster, directory: Path) -> list[Object]:
    """The objects that kubectl makes of a kustomization."""
    done = cluster.kubectl("kustomize", str(directory))
    assert done.code == 0, done.err
    return list(yaml.safe_load_all(done.out))


def apply(api: Api, directory: Path = BASE, way: tuple[str, ...] = CLIENT_SIDE) -> list[str]:
    """Apply; nobody may have to complain, or to warn. Return what kubectl says, a line an object."""
    done = api.cluster.kubectl(*way, str(directory))
    assert (0, "") == (done.code, done.err), done.err
    return done.out.splitlines()


def remove(api: Api, directory: Path | None = None) -> None:
    """Delete (all that the manifests have), without waiting for controllers that are not there."""
    with tempfile.TemporaryDirectory() as name:
        whole = directory or kustomization(Path(name), *WHOLES["all"])
        arguments = ("delete", "--wait=false", "--ignore-not-found", "--kustomize", str(whole))
        done = api.cluster.kubectl(*arguments)
    assert (0, "") == (done.code, done.err)


def collections(api: Api) -> Iterator[tuple[str, str, bool]]:
    """Every kind that can be listed: resource.group, path of all of them, is it namespaced."""
    groups = [
        (group["name"], f"/apis/{group['preferredVersion']['groupVersion']}")
        for group in api.must("GET", "/apis")["groups"]
    ]
    for group, path in (("", "/api/v1"), *groups):
        for resource in api.must("GET", path)["resources"]:
            if "list" in resource["verbs"]:
                name = f"{resource['name']}.{group}".rstrip(".")
                yield name, f"{path}/{resource['name']}", resource["namespaced"]


def everything(api: Api, query: str = "") -> dict[Name, Object]:
    """Every object of the cluster."""
    return {
        (resource, item["metadata"].get("namespace", ""), item["metadata"]["name"]): item
        for resource, path, _ in collections(api)
        for item in api.must("GET", f"{path}{query}")["items"]
    }


def labelled(api: Api) -> dict[Name, Object]:
    """Those that say that they are dinp's."""
    return everything(api, f"?labelSelector={PART_OF}%3Ddinp")


def finish_namespaces(api: Api) -> None:
    """Be kube-controller-manager: delete what is in namespaces that are deleted, and let them go."""
    for name in NAMESPACES:
        finish_namespace(api, name)


def finish_namespace(api: Api, name: str) -> None:
    path = f"/api/v1/namespaces/{name}"
    namespace = api.get(path)
    if namespace.status == 404:
        return
    assert namespace.body["status"]["phase"] == "Terminating"
    for resource, place, namespaced in collections(api):
        if namespaced and resource != "componentstatuses":
            prefix, _, plural = place.rpartition("/")
            api.request("DELETE", f"{prefix}/namespaces/{name}/{plural}")
    whole: Object = {"metadata": {"name": name}, "spec": {"finalizers": []}}
    api.must("PUT", f"{path}/finalize", whole)


def versions(api: Api) -> dict[Name, str]:
    return {name: item["metadata"]["resourceVersion"] for name, item in labelled(api).items()}


@pytest.mark.parametrize("way", WAYS)
def test_applied_again_it_changes_nothing(
    empty: Api, tmp_path: Path, whole: Path, way: str
) -> None:
    """No warning, no conflict, no write: not even after certs has written what is its own."""
    first = apply(empty, whole, WAYS[way])
    site = installed_site(empty, tmp_path)
    assert asyncio.run(writes(site)) == 3
    publish_cas(empty)
    before = versions(empty)
    second = apply(empty, whole, WAYS[way])
    assert before == versions(empty)
    assert site.is_right()
    assert len(first) == len(second) == len(before) - len(("dinp-ca", "dinp-tls"))
    if way == "client-side":
        assert {QUIRK} == {line for line in second if not line.endswith(" unchanged")}


def publish_cas(api: Api) -> None:
    """Fill in the ConfigMap of the shared daemons, if there is one, as `dinp certs run-shared` does."""
    data = {"data": {"client-ca.pem": "a", "server-ca.pem": "b"}}
    path = f"/api/v1/namespaces/{DAEMONS}/configmaps/dinp-docker-ca"
    assert api.request("PATCH", path, data, media_type=MERGE_PATCH).status in (200, 404)


@pytest.mark.parametrize("way", WAYS)
def test_changed_it_keeps_the_ca_bundle(empty: Api, tmp_path: Path, way: str) -> None:
    """A version that changes every entry of the registration leaves caBundle to certs."""
    apply(empty, way=WAYS[way])
    site = installed_site(empty, tmp_path)
    assert asyncio.run(writes(site)) == 3
    before = site.bundles()
    apply(empty, changed_base(tmp_path), WAYS[way])
    entries = empty.must("GET", CONFIGURATION)["webhooks"]
    assert {7} == {entry["timeoutSeconds"] for entry in entries}
    assert before == site.bundles()
    assert asyncio.run(writes(site)) == 0


@pytest.mark.parametrize("first", WAYS)
def test_who_applies_otherwise_has_no_conflict(empty: Api, tmp_path: Path, first: str) -> None:
    """Client-side and server-side apply can take over from each other, there and back."""
    whole = kustomization(tmp_path, *WHOLES["all"])
    (second,) = WAYS.keys() - {first}
    apply(empty, whole, WAYS[first])
    for way in (second, first):
        done = empty.cluster.kubectl(*WAYS[way], str(whole))
        assert done.code == 0, done.err
        assert "conflict" not in done.err


def changed_base(directory: Path) -> Path:
    """A copy with other timeouts."""
    folder = directory / "base"
    folder.mkdir()
    for file in BASE.iterdir():
        text = file.read_text(encoding="utf-8")
        (folder / file.name).write_text(
            text.replace("timeoutSeconds: 5\n", "timeoutSeconds: 7\n")
            if file.name == "webhook.yaml"
            else text,
            encoding="utf-8",
        )
    return folder


def test_removed_nothing_is_left(empty: Api, tmp_path: Path, whole: Path, tell: Tell) -> None:
    """Nothing at all that was not there before, of any kind; and what certs made goes, too."""
    before = everything(empty).keys()
    apply(empty, whole)
    assert asyncio.run(writes(installed_site(empty, tmp_path))) == 3
    installed = everything(empty).keys() - before
    assert labelled(empty).keys() == {name for name in installed if name[0] not in OF_API_SERVER}
    remove(empty, whole)
    left = everything(empty)
    namespaces = [it for it in NAMESPACES if ("namespaces", "", it) in installed]
    # What kube-controller-manager deletes with the namespace: nothing else may be left to it.
    assert {
        *(("namespaces", "", namespace) for namespace in namespaces),
        ("secrets", NAMESPACE, "dinp-ca"),
        ("secrets", NAMESPACE, "dinp-tls"),
    } == {name for name in left.keys() - before if name[0] not in OF_EVENTS}
    for namespace in namespaces:
        assert left["namespaces", "", namespace]["status"]["phase"] == "Terminating"
    finish_namespaces(empty)
    assert set() == everything(empty).keys() - before
    tell(f"{len(installed)} objects after the installation, 0 after the removal")


@pytest.mark.parametrize("name", ["daemonset", "service"])
def test_daemons_come_and_go_by_themselves(empty: Api, name: str) -> None:
    """On top of base and shared, which stay as they are when the daemons are removed."""
    apply(empty)
    apply(empty, SHARED)
    before = versions(empty)
    apply(empty, MANIFESTS / name)
    assert len(versions(empty)) > len(before)
    remove(empty, MANIFESTS / name)
    assert before == versions(empty)


@pytest.mark.parametrize("gone", ["daemonset", "service"])
@pytest.mark.parametrize(
    ("shared", "kind"), [("shared", "{}"), ("shared/namespace", "overlays/{}-plain")]
)
def test_of_two_modes_one_goes(empty: Api, shared: str, kind: str, gone: str) -> None:
    """The other has all that it had, and nothing of it was written; so have base and shared."""
    (stays,) = {"daemonset", "service"} - {gone}
    for name in ("base", shared, kind.format(stays)):
        apply(empty, MANIFESTS / name)
    before = versions(empty)
    apply(empty, MANIFESTS / kind.format(gone))
    assert versions(empty).keys() > before.keys()
    remove(empty, MANIFESTS / kind.format(gone))
    assert before == versions(empty)
    for name in ("base", shared, kind.format(stays)):
        there = empty.cluster.kubectl("get", "--kustomize", str(MANIFESTS / name))
        assert (0, "") == (there.code, there.err)


def test_installed_again_it_works(site: Site) -> None:
    """After a removal the same command brings a new CA, and all of it is right."""
    old = site.bundles()[0]
    remove(site.api)
    finish_namespaces(site.api)
    apply(site.api)
    again = installed_site(site.api, site.kubeconfig.parent)
    assert asyncio.run(writes(again)) == 3
    assert again.is_right()
    assert old not in again.bundles()


def earlier_versions() -> list[str]:
    """The commits in which manifests/base changed, the latest ones."""
    command = ("log", f"--max-count={EARLIER}", "--format=%H", "--", "manifests/base")
    return git(*command).decode().split()


@pytest.mark.parametrize("way", WAYS)
def test_upgrades(empty: Api, tmp_path: Path, way: str, tell: Tell) -> None:
    """From each earlier version in the history: no complaint, caBundle kept, and all is there."""
    found = earlier_versions()
    assert found, "git knows no version of manifests/base"
    ca = authority.issue_ca("dinp", now=datetime.now(UTC), lifetime=DAY)
    for commit in found:
        old = checked_out(commit, tmp_path / commit) / "base"
        apply(empty, old, WAYS[way])
        before = len(labelled(empty))
        publish(empty, ca.certificate)
        bundles = [it["clientConfig"] for it in empty.must("GET", CONFIGURATION)["webhooks"]]
        apply(empty, way=WAYS[way])
        assert bundles == [
            it["clientConfig"] for it in empty.must("GET", CONFIGURATION)["webhooks"]
        ]
        there = empty.cluster.kubectl("get", "--kustomize", str(BASE), "--output=name")
        assert (0, "") == (there.code, there.err)
        tell(f"{way} from {commit[:7]}: {before} -> {len(there.out.splitlines())} objects")
        remove(empty)
        remove(empty, old)
        finish_namespaces(empty)


def checked_out(commit: str, directory: Path) -> Path:
    """The manifests as they were then."""
    packed = git("archive", commit, "manifests")
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(directory, filter="data")
    return directory / "manifests"


def git(*arguments: str) -> bytes:
    """What git says."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S603, S607 - our own command


# ---- the shared daemons' permissions were in the base once ---------------------------------


@pytest.fixture
def undivided(tmp_path: Path) -> Path:
    """The manifests as they were the last time that the base had all for shared daemons."""
    file = "manifests/base/certs-daemons-permissions.yaml"
    commit = git("log", "--max-count=1", "--format=%H", "--", file).decode().strip()
    has_it = git("ls-tree", "--name-only", commit, file)  # not where that commit has removed it
    return checked_out(commit if has_it else f"{commit}^", tmp_path / "undivided")


@pytest.mark.parametrize("way", WAYS)
async def test_an_upgrade_takes_shared_daemons_along(
    empty: Api, tmp_path: Path, undivided: Path, way: str
) -> None:
    """CAs and certificates stay, the new certs goes on with them, and nothing of the old is left."""
    for name in ("base", "service"):
        apply(empty, undivided / name, WAYS[way])
    assert empty.create_namespace("tenant", {rules.SHARED_DAEMON: "allowed"}).status == 201
    try:
        assert await shared_writes(empty, "dinp-certs", tmp_path) == 4
        before = certificates(empty)
        wholes = [MANIFESTS / name for name in ("base", "shared", "service")]
        for whole in wholes:
            apply(empty, whole, WAYS[way])
        assert await shared_writes(empty, "dinp-certs-docker", tmp_path) == 0
        assert before == certificates(empty)
        known = {
            (it["kind"], it["metadata"]["name"])
            for at in wholes
            for it in objects(empty.cluster, at)
        }
        written = {
            ("Secret", name) for name in ("dinp-docker-server-ca", "dinp-docker-client-ca", CLIENT)
        }
        found = {(it["kind"], it["metadata"]["name"]) for it in kinds(empty)}
        assert known | written == {it for it in found if it in known or not is_former_config(it[1])}
        assert not empty.may(
            NAMESPACE, "dinp-certs", namespace="tenant", verb="create", resource="secrets"
        )
        empty.must("DELETE", f"/api/v1/namespaces/tenant/secrets/{CLIENT}")
        assert await shared_writes(empty, "dinp-certs-docker", tmp_path) == 1
    finally:
        empty.must("DELETE", "/api/v1/namespaces/tenant")
        finish_namespace(empty, "tenant")


def is_former_config(name: str) -> bool:
    """Whether this is a ConfigMap of the base: each config has its own, and apply leaves the former."""
    return name.startswith("dinp-config-")


async def shared_writes(api: Api, account: str, directory: Path) -> int:
    """Be the certs of shared daemons by this ServiceAccount for a pass; return how much it wrote."""
    kubeconfig = write_kubeconfig(api, account, directory / account)
    for verb in ("get", "create"):
        may = {"verb": verb, "resource": "secrets", "namespace": "tenant", "name": CLIENT}
        wait_until(lambda may=may: api.may(NAMESPACE, account, **may), "RBAC is known")  # type: ignore[misc]  # mypy sees no default
    async with calls.connected(kubeconfig) as connection:
        rotation = Rotation(Store(connection, Names()), Policy())
        passed = await rotation.run_pass()
    assert not rotation._failed
    return passed.writes


def certificates(api: Api) -> list[Object]:
    """What daemons and clients go by."""
    system = f"/api/v1/namespaces/{NAMESPACE}/secrets"
    paths = (
        f"{system}/dinp-docker-server-ca",
        f"{system}/dinp-docker-client-ca",
        f"/api/v1/namespaces/tenant/secrets/{CLIENT}",
        f"/api/v1/namespaces/{DAEMONS}/configmaps/dinp-docker-ca",
    )
    return [api.must("GET", path)["data"] for path in paths]


def kinds(api: Api) -> list[Object]:
    """What says that it is dinp's, each with its kind."""
    found: list[Object] = []
    for _, path, _ in collections(api):
        listed = api.must("GET", f"{path}?labelSelector={PART_OF}%3Ddinp")
        kind = listed["kind"].removesuffix("List")
        found += [{**item, "kind": kind} for item in listed["items"]]
    return found


def test_an_upgrade_without_shared_daemons(empty: Api, undivided: Path) -> None:
    """What apply leaves behind goes by the commands of docs/install.md, and those take nothing else."""
    apply(empty)
    expected = labelled(empty).keys()
    remove(empty)
    finish_namespaces(empty)
    apply(empty, undivided / "base")
    apply(empty)
    assert labelled(empty).keys() > expected
    for command in commands_of_the_docs():
        done = empty.cluster.kubectl(*command, "--wait=false")
        assert done.code == 0, done.err
    finish_namespace(empty, DAEMONS)
    left = labelled(empty).keys() - expected
    assert expected <= labelled(empty).keys()
    assert all(is_former_config(key[-1]) for key in left)


def commands_of_the_docs() -> list[list[str]]:
    """Those after an upgrade to a base without permissions for shared daemons."""
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    _, _, after = text.partition("## Upgrade")
    block = after.partition("```")[2].partition("```")[0]
    lines = [shlex.split(line) for line in block.splitlines() if line.strip()]
    assert lines
    assert {"kubectl"} == {line[0] for line in lines}
    return [line[1:] for line in lines]


def test_every_object_is_labelled(own_cluster: Cluster, whole: Path) -> None:
    """Templates too: what an administrator looks for by label is all there is."""
    found = objects(own_cluster, whole)
    specs = [it["spec"] for it in found if it["kind"] in WORKLOADS]
    inner = [spec["template"] for spec in specs]
    inner += [claim for spec in specs for claim in spec.get("volumeClaimTemplates", [])]
    assert len(inner) in (2, 5, 6)
    for item in (*found, *inner):
        assert item["metadata"]["labels"][PART_OF] == "dinp"


def templates(built: list[Object]) -> dict[str, Object]:
    """The Pods that the Deployments make."""
    return {
        it["metadata"]["name"]: it["spec"]["template"] for it in built if it["kind"] == "Deployment"
    }


@pytest.mark.parametrize("name", ["dinp", "dinp-certs", "dinp-certs-docker"])
def test_pods_are_restricted(site: Site, built: list[Object], name: str) -> None:
    """Pod Security takes each Pod without a warning, and sees what it would not take."""
    template = templates(built)[name]
    pod = {**template, "metadata": {**template["metadata"], "name": name}}
    answer = site.api.create_pod(NAMESPACE, pod, fieldValidation="Strict")
    assert (201, ()) == (answer.status, answer.warnings), answer.message
    assert answer.body["spec"]["priority"] == 1_000_000
    (container,) = pod["spec"]["containers"]
    privileged = {**container, "securityContext": {"privileged": True}}
    refused = {**pod, "spec": {**pod["spec"], "containers": [privileged]}}
    answer = site.api.create_pod(NAMESPACE, refused)
    assert answer.status == 403
    assert 'violates PodSecurity "restricted:latest"' in answer.message


DAEMON_VARIANTS: Final = (
    "daemonset",
    "service",
    *sorted(f"overlays/{path.name}" for path in (MANIFESTS / "overlays").iterdir()),
)


@pytest.mark.parametrize("name", DAEMON_VARIANTS)
def test_daemons_are_admitted_where_they_live(site: Site, name: str) -> None:
    """Pod Security takes each Pod in dinp-daemons without a warning, and nowhere that is stricter."""
    found = objects(site.cluster, MANIFESTS / name)
    for item in found:
        if item["kind"] == "ServiceAccount":
            site.api.create_service_account(DAEMONS, item["metadata"]["name"])
            site.api.create_service_account(NAMESPACE, item["metadata"]["name"])
    (template,) = (it["spec"]["template"] for it in found if it["kind"] in WORKLOADS)
    pod = {**template, "metadata": {**template["metadata"], "name": "daemon"}}
    # Of the claim a controller makes a volume.
    mounted = {mount["name"] for it in pod["spec"]["containers"] for mount in it["volumeMounts"]}
    claimed = mounted - {volume["name"] for volume in pod["spec"]["volumes"]}
    volumes = [*pod["spec"]["volumes"], *({"name": it, "emptyDir": {}} for it in claimed)]
    pod["spec"] = {**pod["spec"], "volumes": volumes}
    answer = site.api.create_pod(DAEMONS, pod, fieldValidation="Strict")
    assert (201, ()) == (answer.status, answer.warnings), answer.message
    assert answer.body["spec"]["priority"] == 1_000_000
    refused = site.api.create_pod(NAMESPACE, pod)
    assert refused.status == 403
    assert 'violates PodSecurity "restricted:latest"' in refused.message


@pytest.mark.parametrize("namespace", sorted(rules.EXCLUDED_NAMESPACES))
@pytest.mark.parametrize("label", [rules.INJECT, rules.MIGRATE])
def test_excluded_namespaces_do_without(site: Site, namespace: str, label: str) -> None:
    """Here nobody answers for dinp: whatever asks, a Pod there is created; elsewhere it is refused."""
    api, path = site.api, f"/api/v1/namespaces/{namespace}"
    assert api.create_namespace(namespace).status in (201, 409)
    api.create_service_account(namespace, "default")
    # Pod Security and the selectors of webhooks see labels a moment late, and all of them at once.
    warn, enforce = (f"pod-security.kubernetes.io/{mode}" for mode in ("warn", "enforce"))
    asks = {label: "sidecar", rules.SHARED_DAEMON: "allowed", warn: "restricted"}
    patch_labels(api, path, {**asks, **({enforce: None} if namespace == NAMESPACE else {})})
    try:
        wait_until(lambda: _is_warned(api, namespace), "the labels are seen")
        for inject in (None, "sidecar", "service"):
            answer = api.create_pod(namespace, with_socket(small_pod(inject)))
            assert answer.status == 201, answer.message
            assert not is_injected(answer)
        asked = api.create_pod("default", small_pod("sidecar"))
        assert 'failed calling webhook "annotated.dinp.io"' in asked.message
    finally:
        patch_labels(api, path, dict.fromkeys(asks))


def _is_warned(api: Api, namespace: str) -> bool:
    """Whether Pod Security lets a Pod with the socket in, and says that another level would not."""
    answer = api.create_pod(namespace, with_socket(small_pod()))
    return answer.status == 201 and "would violate PodSecurity" in "".join(answer.warnings)


def patch_labels(api: Api, path: str, labels: dict[str, str | None]) -> None:
    body: Object = {"metadata": {"labels": labels}}
    api.must("PATCH", path, body, media_type="application/merge-patch+json")


def with_socket(pod: dict[str, Any]) -> dict[str, Any]:
    volume = {"name": "docker", "hostPath": {"path": "/var/run/docker.sock"}}
    return {**pod, "spec": {**pod["spec"], "volumes": [volume]}}


def test_memory(site: Site, built: list[Object], tmp_path: Path, tell: Tell) -> None:
    """What each process takes is within what they ask for, and half of what they are limited to."""
    with serving() as server:
        for _ in range(2000):
            status, _review = post_review(server, "/pods/inject/sidecar", small_pod())
            assert status == 200
        check_memory("dinp", server.process.pid, built, tell)
    command = [sys.executable, "-c", "from certs.cli import certs; certs()", "run"]
    command += [f"--kubeconfig={site.kubeconfig}", "--health-port=0"]
    with running(command, tmp_path / "log") as process:
        for _ in range(3):
            site.patch_bundles(None, range(10))
            wait_until(site.is_right, "healed")
        check_memory("dinp-certs", process.pid, built, tell)
    kubeconfig = write_kubeconfig(site.api, "dinp-certs-docker", tmp_path / "shared")
    command = [*command[:3], "run-shared", f"--kubeconfig={kubeconfig}"]
    with running(command, tmp_path / "log") as process:
        ca = f"/api/v1/namespaces/{DAEMONS}/configmaps/dinp-docker-ca"
        wait_until(lambda: "data" in site.api.must("GET", ca), "the CAs are published")
        check_memory("dinp-certs-docker", process.pid, built, tell)


def check_memory(name: str, pid: int, built: list[Object], tell: Tell) -> None:
    (container,) = templates(built)[name]["spec"]["containers"]
    resources = container["resources"]
    request, limit = (quantity(resources[it]["memory"]) for it in ("requests", "limits"))
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    now, peak = (
        int(status.split(f"{field}:")[1].split()[0]) * 1024 for field in ("VmRSS", "VmHWM")
    )
    tell(
        f"{name}: {now / MEBIBYTE:.0f} MiB resident, {peak / MEBIBYTE:.0f} at most; "
        f"requests {request / MEBIBYTE:.0f}, limit {limit / MEBIBYTE:.0f}"
    )
    assert now < request
    assert peak * 2 < limit


def quantity(text: str) -> int:
    """Bytes of a quantity with one of these units."""
    return int(text[:-2]) * UNITS[text[-2:]]
